"""A signal in the middle of a run's end: the run is ended all the same, and nobody waits for ever."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.tracking import capture

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Python = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

# the end of a run begins with `detach`; one end is interrupted
PREPARE = """
import multiprocessing, os, signal, sys, time
import mlrun
from mlrun.tracking import capture

def detach(run, detach=capture.detach):
    capture.detach = detach
    {what}
    detach(run)

capture.detach = detach
"""
TERM = "os.kill(os.getpid(), signal.SIGTERM)"


@pytest.mark.parametrize(
    "end", ["run.finish()", "with run: pass", "mlrun.init(id='s')"], ids=["call", "block", "init"]
)
def test_a_term_inside_finish_aborts_the_run(python: Python, end: str) -> None:
    done = python(
        PREPARE.format(what=TERM) + f"run = mlrun.init(id='r')\nrun.log({{'a': 1}})\n{end}\n"
    )
    assert done.returncode == 143, done.stderr
    view = mlrun.get_run("r")
    assert (view.state, view.error) == ("aborted", "SIGTERM")
    assert view.finished_at is not None
    assert view.summary == {"a": 1.0}
    assert mlrun.runs().height == 1


def test_a_term_after_the_state_was_recorded_changes_it_no_more(python: Python) -> None:
    done = python(f"""
    import os, signal
    import mlrun
    from mlrun.store import Store

    def absorb(self):
        {TERM}

    run = mlrun.init(id="r")
    Store.absorb_records_now = absorb
    run.finish()
    """)
    assert done.returncode == 143
    assert mlrun.get_run("r").state == "completed"


def test_a_second_interrupt_at_the_interpreters_end_costs_no_run(python: Python) -> None:
    script = PREPARE.format(what="raise KeyboardInterrupt") + (
        "for name in 'rst':\n"
        "    mlrun.tracking.start.open_run(mlrun.open_store(), mlrun.config.settings(), run_id=name)\n"
        "mlrun.tracking.lifecycle.install()\n"
    )
    python(script)
    states = dict(mlrun.runs(columns=["run_id", "state"]).iter_rows())
    assert states == {"r": "aborted", "s": "completed", "t": "completed"}


def test_a_caught_interrupt_leaves_the_run_open(monkeypatch: pytest.MonkeyPatch) -> None:
    run = mlrun.init(id="r")

    def interrupted(run: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(capture, "detach", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.finish()
    assert run.state == "running"
    assert mlrun.current_run() is run
    run.finish()
    assert mlrun.get_run("r").state == "completed"
    assert mlrun.current_run() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("finish", ["run.finish()", "pass"], ids=["finish", "left open"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_that_is_terminated_while_it_ends_a_run_ends_it(
    python: Python, finish: str, method: str
) -> None:
    script = (
        PREPARE.format(what=f"if multiprocessing.parent_process(): {TERM}")
        + f"""
def work():
    run = mlrun.init(id="w")
    run.log({{"a": 1.0}})
    {finish}

if __name__ == "__main__":
    worker = multiprocessing.get_context("{method}").Process(target=work)
    worker.start()
    worker.join(60)
    print(worker.exitcode)
"""
    )
    assert python(script).stdout == "143\n"
    view = mlrun.get_run("w")
    assert (view.state, view.error) == ("aborted", "SIGTERM")
    assert view.summary == {"a": 1.0}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("finish", ["run.finish()", "pass"], ids=["finish", "left open"])
def test_a_pool_that_is_terminated_while_its_workers_end_runs_is_gone_and_so_are_they(
    python: Python, finish: str
) -> None:
    script = (
        PREPARE.format(what="time.sleep(0.3)")
        + f"""
def work(number):
    run = mlrun.init(id=f"r{{number}}", quiet=True)
    run.log({{"a": number}})
    {finish}
    time.sleep(60)

if __name__ == "__main__":
    pool = multiprocessing.get_context("fork").Pool(2)
    pool.map_async(work, range(2), chunksize=1)
    while mlrun.runs().height < 2:
        time.sleep(0.01)
    time.sleep(0.1)
    pool.terminate()
    pool.join()
    print("gone")
"""
    )
    done = python(script)
    assert done.stdout == "gone\n", done.stderr
    states = mlrun.runs()["state"].to_list()
    assert len(states) == 2
    assert set(states) <= {"aborted", "completed"}, done.stderr
