"""Forked children and workers of pools: they write to the run, and end only their own."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

import mlrun
from mlrun.tracking import lifecycle

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Python = Callable[..., subprocess.CompletedProcess[str]]


def fork_and_wait(child: Callable[[], None]) -> int:
    """Run `child` in a forked process that ends as a script does; returns its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        finally:
            lifecycle.end_all()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_writes_to_the_run_and_never_ends_it() -> None:
    run = mlrun.init()
    run.log({"a": 0.0})

    def child() -> None:
        assert mlrun.current_run() is run
        for i in range(100):
            mlrun.log({"a": 1.0}, step=1000 + i)
        run.log_result("from", "child")
        run.finish("error")

    assert fork_and_wait(child) == 0
    run.log({"a": 2.0}, step=2000)
    view = mlrun.get_run(run.id)
    assert view.state == "running"
    assert view.results == {"from": "child"}
    assert view.summaries["count"].item() == 102
    run.finish()
    assert view.refresh().state == "completed"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_may_open_a_run_of_its_own() -> None:
    run = mlrun.init(name="parent")

    def child() -> None:
        with mlrun.init(name="child") as own:
            own.log({"a": 1.0})

    assert fork_and_wait(child) == 0
    states = dict(mlrun.runs().select("name", "state").iter_rows())
    assert states == {"parent": "running", "child": "completed"}
    assert run.state == "running"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_forked_while_others_log_is_no_deadlock() -> None:
    run = mlrun.init()
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            run.log({"a": 1.0})
            run.log_result("r", 1)

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        codes = [fork_and_wait(lambda: run.log({"b": 1.0})) for _ in range(10)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * 10
    run.finish()
    rows = mlrun.get_run(run.id).summaries
    assert dict(rows.select("key", "count").iter_rows())["b"] == 10


@pytest.mark.parametrize(
    ("end", "state", "error"),
    [
        ("pass", "completed", None),
        ("raise ValueError('boom')", "error", "ValueError: boom"),
        ("sys.exit(3)", "error", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", "aborted", "SIGTERM"),
    ],
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_how_a_forked_worker_ends_is_how_its_own_run_ends(
    python: Python, end: str, state: str, error: str | None
) -> None:
    script = f"""
    import multiprocessing, os, signal, sys, time
    import mlrun

    def work():
        run = mlrun.init(id="w")
        run.log({{"a": 1.0}})
        {end}

    mlrun.init(id="parent")
    try:
        raise LookupError("of the parent")
    except LookupError:  # it is being handled as the child is forked
        worker = multiprocessing.get_context("fork").Process(target=work)
        worker.start()
    worker.join()
    print(mlrun.get_run("parent").state)
    """
    assert python(script).stdout == "running\n"
    view = mlrun.get_run("w")
    assert view.state == state, view.error
    assert view.summary == {"a": 1.0}
    assert view.finished_at is not None
    assert (view.error is None) if error is None else (error in (view.error or ""))
    assert mlrun.get_run("parent").state == "completed"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_runs_that_the_workers_of_a_pool_leave_open_end_with_them(python: Python) -> None:
    script = """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    import mlrun

    def work(number):
        mlrun.init(id=f"r{number}", quiet=True).log({"a": number})

    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        list(pool.map(work, range(4)))
    """
    done = python(script)
    assert done.returncode == 0, done.stderr
    assert mlrun.runs()["state"].to_list() == ["completed"] * 4


def test_workers_that_know_the_id_join_the_run(python: Python) -> None:
    script = """
    import multiprocessing, os

    def work(rank):
        import mlrun
        with mlrun.init() as run:
            assert run.attached, run
            run.log({f"loss/{rank}": float(rank)})

    if __name__ == "__main__":
        import mlrun
        run = mlrun.init(id="job", config={"lr": 0.1})
        os.environ["MLRUN_RUN_ID"] = run.id
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=work, args=(rank,)) for rank in range(2)]
        [w.start() for w in workers]
        [w.join() for w in workers]
        assert [w.exitcode for w in workers] == [0, 0]
        print(mlrun.get_run(run.id).state)
        run.log({"main": 1.0})
    """
    done = python(script)
    assert done.stdout == "running\n", done.stderr
    view = mlrun.get_run("job")
    assert view.state == "completed"
    assert view.summary == {"loss/0": 0.0, "loss/1": 1.0, "main": 1.0}
