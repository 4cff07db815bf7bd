from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.cli.root import _COMMANDS
from mlrun.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Call = Callable[..., Any]

HEAVY = {"numpy", "pandas", "polars", "psutil", "pyarrow", "rich", "sqlglot"}


def shell(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mlrun.cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def test_version() -> None:
    assert shell("version").stdout == f"{mlrun.__version__}\n"
    assert shell("--version").stdout == f"{mlrun.__version__}\n"
    told = json.loads(shell("version", "--json").stdout)
    assert told == {"version": mlrun.__version__, "store_format": 1}
    assert shell("version", "--csv").stdout == f"version,store_format\n{mlrun.__version__},1\n"


@pytest.mark.parametrize(
    "words", [["version"], ["--version"], ["--help"], ["runs", "--help"], ["doctor", "-h"]]
)
def test_nothing_heavy_is_loaded_for_help_and_version(words: list[str]) -> None:
    code = f"import sys; from mlrun.cli.root import run; code = run({words!r}); "
    code += "print('LOADED', *sorted({m.partition('.')[0] for m in sys.modules})); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    loaded = done.stdout.rpartition("LOADED")[2].split()
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("name", list(_COMMANDS))
def test_every_command_has_help_and_is_listed(cli: Call, name: str) -> None:
    answer = cli(name, "--help")
    assert answer.code == 0
    assert answer.out.startswith("Usage: mlrun")
    assert name in cli("--help").out
    assert "--csv" in answer.out
    assert "--json" in answer.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["show", "nobody"], 3, "no run 'nobody'"),
        (["runs", "--where", "metrics.acc >"], 2, "^"),
        (["runs", "--columns", "nme"], 2, "name"),
        (["sql", "select * from nowhere"], 2, "nowhere"),
        (["rnus"], 2, "did you mean 'runs'"),
        (["runs", "--limit", "-1"], 2, "--limit"),
        (["runs", "--wher", "x"], 2, "--where"),
        (["runs", "--watch"], 2, "terminal"),
        (["runs", "a", "-p", "b"], 2, "once"),
        (["show"], 2, "RUN"),
        (["import", "nowhere.tar"], 3, "nowhere.tar"),
        (["export", "target"], 2, "say which runs"),
        (["export", "--all", "mlp0", "target"], 2, "say which runs"),
        (["export", "--where", "name = 'nobody'", "target"], 3, "no run fits"),
        (["metrics", "mlp0", "--x", "nonsense"], 2, "nonsense"),
    ],
)
def test_errors_have_a_code_and_no_traceback(
    cli: Call, words: list[str], code: int, message: str
) -> None:
    answer = cli(*words)
    assert answer.code == code
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""


def test_asking_makes_no_store(cli: Call, tmp_path: Path) -> None:
    answer = cli("runs", store=tmp_path / "absent")
    assert answer.code == 3
    assert "--store PATH" in answer.err
    assert not (tmp_path / "absent").exists()


def test_the_store_may_be_named_behind_the_verb(cli: Call, store: Store, tmp_path: Path) -> None:
    behind = cli("runs", "--json", "--store", store.folder, store=None)
    assert (behind.code, behind.out) == (0, cli("runs", "--json").out)
    nearer = cli("show", "mlp0", "--store", store.folder, "--json", store=tmp_path / "absent")
    assert nearer.code == 0, nearer.err
    assert "--store" in cli("doctor", "--help").out
    assert cli("version", "--store", store.folder).code == 2


def test_store_by_environment(store: Store, tmp_path: Path) -> None:
    done = shell(
        "runs", "--json", cwd=tmp_path, env={**os.environ, "MLRUN_DBPATH": str(store.folder)}
    )
    assert len(json.loads(done.stdout)) == 4
    assert not list(tmp_path.iterdir())


def test_unexpected_errors_are_one_line_and_secrets_are_hidden(
    cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("cannot reach https://me:hunter2@host/db\nsecond line")

    monkeypatch.setattr(mlrun, "runs", fail)
    answer = cli("runs")
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert "hunter2" not in answer.err
    monkeypatch.setenv("MLRUN_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli("runs")


def test_a_reader_that_has_enough_is_no_error(store: Store) -> None:
    command = (
        f"{sys.executable} -m mlrun.cli --store {store.folder} metrics mlp0 mlp1 mlp2 | head -n 1"
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("run_id\tkey")
    assert done.stderr == ""
    assert done.returncode == 0


def test_export_import_compact_doctor(cli: Call, tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    exported = cli("export", "ALL", out, "--json")
    assert {r["table"]: r["rows"] for r in json.loads(exported.out)}["metrics"] == 600
    assert "writing metrics" in exported.err
    assert cli("export", "--all", out).code == 1  # not overwritten
    new = tmp_path / "new"
    counts = {
        r["what"]: r["count"] for r in json.loads(cli("import", out, "--json", store=new).out)
    }
    assert (counts["runs"], counts["points"]) == (5, 600)
    assert json.loads(cli("import", out, "--json", store=new).out)[0] == {
        "what": "runs",
        "count": 0,
    }
    assert cli("compact", "--json", store=new).code == 0
    clean = cli("doctor", store=new)
    assert (clean.code, clean.err.splitlines()[-1]) == (0, "clean")
    assert cli("doctor", "--quick", "--json", store=new).out == "[]\n"
    some = cli("export", "-p", "digits", "-w", "name = 'mlp2'", tmp_path / "some")
    assert some.code == 0
    assert cli("import", tmp_path / "some", store=tmp_path / "small").code == 0
    assert len(json.loads(cli("runs", "--children", "--json", store=tmp_path / "small").out)) == 2


def test_doctor_tells_by_its_exit_code(cli: Call, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    store.objects.put(b"spare")
    noted = cli("doctor", "--json", store=store)
    assert noted.code == 1
    assert json.loads(noted.out)[0]["severity"] == "note"
    [spare] = [store.objects.path(o.sha256) for o in store.objects.list()]
    spare.chmod(0o600)
    spare.write_bytes(b"flipped")
    lost = cli("doctor", store=store)
    assert lost.code == 2
    assert "1 lost" in lost.err


def _terminal(words: list[str], until: str, end: Callable[[int], None]) -> tuple[int, str]:
    """Run a command on a pseudo-terminal until it shows `until`; then end it. Returns exit code and screen."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", COLUMNS="120", LINES="40")
        os.execv(sys.executable, [sys.executable, "-m", "mlrun.cli", *words])
    seen, deadline, ended = "", time.monotonic() + 60, False
    while time.monotonic() < deadline:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:
                break  # Linux: the other side is closed
            if not data:
                break
            seen += data.decode("utf-8", "replace")
        if not ended and until in seen:
            ended = True
            end(pid)
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


def test_watch_refreshes_until_ctrl_c(store: Store) -> None:
    words = ["--store", str(store.folder), "runs", "digits", "--watch", "--interval", "0.1"]
    code, seen = _terminal(words, "Ctrl-C ends", lambda pid: os.kill(pid, signal.SIGINT))
    assert code == 0
    assert "mlp2" in seen
    assert "Traceback" not in seen


def test_follow_shows_lines_as_they_come(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    quiet: dict[str, Any] = {"quiet": True, "console": False, "system_metrics": False, "git": False}
    run = mlrun.init(project="p", name="live", store=store, **quiet)
    store.writer().text("p", run.id, [(1, "stdout", "first")])
    command = [
        sys.executable,
        "-m",
        "mlrun.cli",
        "--store",
        str(store.folder),
        "logs",
        "live",
        "-f",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        assert reader.stdout.readline() == "first\n"
        store.writer().text("p", run.id, [(2, "stdout", "second")])
        assert reader.stdout.readline() == "second\n"
        run.finish()
        assert reader.wait(60) == 0
        assert "completed" in reader.stderr.read()
