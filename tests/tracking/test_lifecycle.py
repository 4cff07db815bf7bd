from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.config import settings
from mlrun.store import open_store
from mlrun.tracking import lifecycle
from mlrun.tracking.start import About, open_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Python = Callable[..., subprocess.CompletedProcess[str]]

OPEN = "import mlrun, sys, os, signal, time\nrun = mlrun.init(id='r')\nrun.log({'a': 1.0})\n"


@pytest.mark.parametrize(
    ("end", "state", "error", "code"),
    [
        ("pass", "completed", None, 0),
        ("sys.exit()", "completed", None, 0),
        ("sys.exit(0)", "completed", None, 0),
        ("sys.exit(3)", "error", "exit code 3", 3),
        ("sys.exit('no data')", "error", "no data", 1),
        ("raise KeyboardInterrupt", "aborted", "KeyboardInterrupt", 130),
        (
            "os.kill(os.getpid(), signal.SIGINT); time.sleep(30)",
            "aborted",
            "KeyboardInterrupt",
            130,
        ),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", "aborted", "SIGTERM", 143),
    ],
)
@pytest.mark.parametrize("block", [False, True], ids=["open", "with"])
def test_how_a_process_ends_is_how_its_run_ends(
    python: Python, end: str, state: str, error: str | None, code: int, block: bool
) -> None:
    script = OPEN + (f"with run:\n    {end}\n" if block else f"{end}\n")
    done = python(script)
    view = mlrun.get_run("r")
    assert (view.state, view.error) == (state, error)
    assert view.finished_at is not None
    assert view.summary == {"a": 1.0}
    assert done.returncode in {code, -signal.SIGINT if code == 130 else code}
    assert done.stdout == ""


@pytest.mark.parametrize("block", [False, True], ids=["open", "with"])
def test_an_exception_leaves_its_traceback_without_values_and_credentials(
    python: Python, block: bool
) -> None:
    body = "raise ValueError('bad token=ghp_abcdefghij0123456789abcd')"
    script = f"""
    import mlrun
    def train(hidden):
        {body}
    run = mlrun.init(id="r")
    {"with run: " if block else ""}train("secret-local-value")
    """
    done = python(script)
    view = mlrun.get_run("r")
    assert view.state == "error"
    assert view.error is not None
    assert view.error.startswith("Traceback (most recent call last):")
    assert "in train" in view.error
    assert "ValueError: bad" in view.error
    assert "ghp_" not in view.error
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def test_an_exit_that_somebody_caught_does_not_count(python: Python) -> None:
    script = OPEN + "try:\n    sys.exit(3)\nexcept SystemExit:\n    pass\nrun.log({'a': 2.0})\n"
    assert python(script).returncode == 0
    assert mlrun.get_run("r").state == "completed"


def test_an_exit_in_a_thread_does_not_count(python: Python) -> None:
    script = OPEN + (
        "import threading\nt = threading.Thread(target=sys.exit, args=(3,))\nt.start()\nt.join()\n"
    )
    python(script)
    assert mlrun.get_run("r").state == "completed"


def test_a_handler_of_the_users_stays(python: Python) -> None:
    script = "import signal\nsignal.signal(signal.SIGTERM, lambda *a: print('mine'))\n" + OPEN
    done = python(script + "os.kill(os.getpid(), signal.SIGTERM)\n")
    assert done.stdout == "mine\n"
    assert mlrun.get_run("r").state == "completed"


def test_a_user_can_chain_to_our_handler(python: Python) -> None:
    script = OPEN + (
        "ours = signal.getsignal(signal.SIGTERM)\n"
        "def mine(*a):\n    print('mine')\n    ours(*a)\n"
        "signal.signal(signal.SIGTERM, mine)\nos.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = python(script)
    assert (done.stdout, done.returncode) == ("mine\n", 143)
    assert mlrun.get_run("r").state == "aborted"


def test_init_in_a_thread_installs_no_handler(python: Python) -> None:
    script = """
    import mlrun, signal, threading
    t = threading.Thread(target=mlrun.init)
    t.start()
    t.join()
    print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    """
    assert python(script).stdout == "True\n"
    assert mlrun.runs()["state"].to_list() == ["completed"]


def test_a_term_while_records_are_written_is_no_deadlock(python: Python) -> None:
    script = OPEN + (
        "import threading\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "i = 0\nwhile True:\n    i += 1\n    run.log({'a': i})\n    run.log_result('i', i)\n"
    )
    assert python(script).returncode == 143
    view = mlrun.get_run("r")
    assert view.state == "aborted"
    assert view.summary["a"] - view.results["i"] in {0, 1}


def test_a_script_that_logged_much_ends_without_a_heavy_import(python: Python) -> None:
    script = OPEN + "import atexit\nfor i in range(5000):\n    run.log({'a': float(i)})\n"
    heavy = "atexit.register(lambda: print('polars' in sys.modules))\n"  # asked last: it is registered first
    done = python("import atexit, sys\n" + heavy + script, MLRUN_SYSTEM_METRICS="0")
    assert (done.stdout, done.stderr) == ("False\n", "")
    view = mlrun.get_run("r")
    assert (view.state, view.summaries["count"].item()) == ("completed", 5001)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs kill -9")
def test_a_killed_process_leaves_a_lost_run_with_all_its_points(own_folder: Path) -> None:
    script = textwrap.dedent(
        """
        import mlrun, sys
        run = mlrun.init(id="r", config={"lr": 0.1}, tags=["t"])
        for i in range(1000):
            run.log({"a": float(i)})
        run.log_result("best", 1)
        print("ready", flush=True)
        sys.stdin.read()
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert mlrun.get_run("r").state == "running"
    process.kill()
    process.communicate()
    view = mlrun.get_run("r")
    assert view.state == "lost"
    assert (view.params, view.results, view.tags) == ({"lr": 0.1}, {"best": 1}, ["t"])
    assert view.summaries.select("count", "last", "sum").row(0) == (1000, 999.0, 499_500.0)
    run = mlrun.init(id="r", resume="must")
    assert run.step == 1000
    run.log({"a": 1.0})
    assert mlrun.get_run("r").state == "running"
    run.finish()
    view.refresh()
    assert (view.state, view.summaries["count"].item()) == ("completed", 1001)


@pytest.mark.parametrize(
    ("error", "state", "text"),
    [
        (KeyboardInterrupt(), "aborted", "KeyboardInterrupt"),
        (SystemExit(), "completed", None),
        (SystemExit(2), "error", "exit code 2"),
        (GeneratorExit(), "aborted", "GeneratorExit"),
    ],
)
def test_the_block_decides_the_state_and_the_exception_goes_on(
    error: BaseException, state: str, text: str | None
) -> None:
    with pytest.raises(type(error)), mlrun.init(id="r"):
        raise error
    view = mlrun.get_run("r")
    assert (view.state, view.error) == (state, text)


def test_finish_is_final_and_says_what_is_said() -> None:
    run = mlrun.init()
    run.finish("error", error="out of data")
    run.finish("completed")
    view = mlrun.get_run(run.id)
    assert (view.state, view.error) == ("error", "out of data") == (run.state, view.error)


def test_finish_takes_the_words_of_others_and_warns_about_the_rest(
    warned: Callable[[], Any],
) -> None:
    one = mlrun.init()
    one.finish("failed", error=ValueError("no"))
    assert one.state == "error"
    assert "ValueError: no" in (mlrun.get_run(one.id).error or "")
    two = mlrun.init()
    with warned() as messages:
        two.finish("splendid")
    assert two.state == "error"
    assert "splendid" in messages[0]


def test_an_exception_whose_text_fails_still_ends_the_run() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text today")

    with pytest.raises(Rude), mlrun.init(id="r"):
        raise Rude
    view = mlrun.get_run("r")
    assert view.state == "error"
    assert "Rude" in (view.error or "")


def test_a_huge_traceback_is_cut_at_its_beginning() -> None:
    text = lifecycle.traceback_text(ValueError("x" * 200_000 + "the end"))
    assert len(text) < 70_000
    assert text.rstrip().endswith("the end")


def test_a_term_while_the_runs_are_ended_leaves_none_behind(python: Python) -> None:
    script = """
    import os, signal
    import mlrun
    from mlrun.tracking import capture

    def detach(run, detach=capture.detach):  # the end of a run begins with this
        os.kill(os.getpid(), signal.SIGTERM)
        detach(run)

    capture.detach = detach
    for name in "rs":
        mlrun.tracking.start.open_run(mlrun.open_store(), mlrun.config.settings(), run_id=name)
    mlrun.init(id="t")
    """
    done = python(script)
    assert "Traceback" not in done.stderr
    assert mlrun.runs()["state"].to_list() == ["completed"] * 3, done.stderr


def test_provenance_is_there_when_the_process_has_ended(python: Python) -> None:
    python("import mlrun; mlrun.init(id='r')", MLRUN_API_KEY="secret")
    provenance = mlrun.get_run("r").provenance
    assert provenance["python"] == sys.version.split()[0]
    assert provenance["command"][-1].endswith("script.py")
    assert provenance["packages"]["count"] > 5


def test_what_is_printed_is_kept(python: Python) -> None:
    script = "import mlrun\nrun = mlrun.init(id='r')\nprint('one')\nrun.finish()\nprint('two')\n"
    assert python(script).stdout == "one\ntwo\n"
    assert mlrun.logs("r")["line"].to_list() == ["one"]
    script = "import mlrun\nrun = mlrun.init(id='s')\nprint('one')\n"
    python(script, MLRUN_CONSOLE="0")
    assert mlrun.logs("s").height == 0


@pytest.mark.parametrize("end", ["run.finish()", "", "raise SystemExit(2)"])
def test_a_last_line_without_a_newline_is_kept(python: Python, end: str) -> None:
    python(
        f"import mlrun, sys\nrun = mlrun.init(id='r')\nprint('one')\nsys.stdout.write('tail')\n{end}"
    )
    assert mlrun.logs("r")["line"].to_list() == ["one", "tail"]


def test_a_line_that_has_not_ended_is_of_the_runs_that_heard_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = mlrun.init(id="first")
    print("tail of first", end="")
    first.finish()
    print("between", end="")
    outer = mlrun.init(id="outer")
    print("step 1 ", end="")
    inner = open_run(open_store(), settings(), About(), run_id="inner", watch=True)
    print("step 2 ", end="")
    inner.finish()
    print("step 3")
    outer.finish()
    lines = {r: mlrun.logs(r)["line"].to_list() for r in ("first", "outer", "inner")}
    assert lines == {
        "first": ["tail of first"],
        "outer": ["step 1 step 2 step 3"],
        "inner": ["step 1 step 2 "],
    }


def test_two_runs_in_a_row_get_their_own_lines(capsys: pytest.CaptureFixture[str]) -> None:
    ids = []
    for i in range(3):
        with mlrun.init() as run:
            print(f"line {i}")
            ids.append(run.id)
        print("between")
    assert [mlrun.logs(r)["line"].to_list() for r in ids] == [["line 0"], ["line 1"], ["line 2"]]
