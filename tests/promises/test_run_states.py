"""How runs end, are lost, return, and are changed afterwards."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import mlrun

if TYPE_CHECKING:
    from collections.abc import Callable


def state_of(run_id: str) -> str:
    return mlrun.get_run(run_id).state


LOOP = """
    import sys, time, mlrun
    run = mlrun.init(project="p", id=sys.argv[1])
    run.log({"a": 1.0})
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("number", "code", "state"),
    [
        (signal.SIGTERM, 143, "aborted"),
        (signal.SIGINT, -signal.SIGINT, "aborted"),
        (signal.SIGKILL, -signal.SIGKILL, "lost"),
    ],
)
def test_a_signal_ends_a_run_as_what_it_means(
    start: Callable[..., Any], number: int, code: int, state: str
) -> None:
    process = start(LOOP, "r")
    assert process.stdout.readline() == "ready\n"
    assert state_of("r") == "running"
    process.send_signal(number)
    process.wait(60)
    assert process.returncode == code
    view = mlrun.get_run("r")
    assert (view.state, view.summary) == (state, {"a": 1.0})
    mlrun.compact()
    assert mlrun.get_run("r").state == state
    assert mlrun.runs(where=f"state = '{state}'").height == 1


def test_a_lost_run_returns_to_running_and_keeps_its_points(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(LOOP, "r")
    process.stdout.readline()
    process.kill()
    process.wait()
    assert state_of("r") == "lost"
    mlrun.compact()
    monkeypatch.setenv("MLRUN_RUN_ID", "r")
    run = mlrun.init(project="p")
    assert (run.id, state_of("r"), run.step) == ("r", "running", 1)
    run.log({"a": 2.0})
    run.finish()
    assert mlrun.get_run("r").record["error"] is None
    assert state_of("r") == "completed"
    assert mlrun.metrics("r").select("step", "value").rows() == [(0, 1.0), (1, 2.0)]


def test_two_processes_may_write_one_run_and_one_of_them_ends_it(
    start: Callable[..., Any], python: Callable[..., Any]
) -> None:
    owner = start(LOOP, "shared")
    owner.stdout.readline()
    python(
        "import mlrun\nrun = mlrun.init()\nassert run.attached\nfor i in range(100): run.log({'b': float(i)})",
        MLRUN_RUN_ID="shared",
    )
    assert state_of("shared") == "running"
    owner.terminate()
    owner.wait(60)
    view = mlrun.get_run("shared")
    assert view.state == "aborted"
    assert view.metrics("b").height == 100
    assert view.metrics("a").height == 1


def test_a_killed_run_beside_a_living_one_is_lost_alone(start: Callable[..., Any]) -> None:
    first, second = start(LOOP, "first"), start(LOOP, "second")
    for process in (first, second):
        process.stdout.readline()
    first.kill()
    first.wait()
    assert dict(mlrun.runs(columns=["name", "run_id", "state"]).select("run_id", "state").rows()) == {
        "first": "lost", "second": "running",
    }  # fmt: skip


def test_the_automatic_step_follows_an_explicit_one_and_goes_on_when_resumed() -> None:
    run = mlrun.init(project="p", id="r")
    for step in (None, None, 10, None, 3, None):
        run.log({"a": 0.0}, step)
    run.finish()
    assert sorted(mlrun.metrics("r")["step"]) == [0, 1, 3, 4, 10, 11]
    assert mlrun.init(project="p", id="r", resume="must").step == 12


def test_threads_of_one_run_lose_no_point() -> None:
    run = mlrun.init(project="p")

    def work(number: int) -> None:
        for step in range(500):
            run.log({f"t{number}": float(step)}, step)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()
    counts = mlrun.metrics(run.id).group_by("key").len().rows()
    assert sorted(counts) == [(f"t{n}", 500) for n in range(4)]


def test_a_child_never_ends_its_parents_run(python: Callable[..., Any]) -> None:
    done = python("""
        import os, warnings, mlrun
        warnings.simplefilter("ignore", DeprecationWarning)
        run = mlrun.init(project="p", id="r")
        pid = os.fork()
        if pid == 0:
            run.log({"child": 1.0}); run.finish(); raise SystemExit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
        print(mlrun.get_run("r").state)
        run.log({"parent": 1.0})
    """)
    assert done.stdout == "running\n"
    view = mlrun.get_run("r")
    assert (view.state, view.summary) == ("completed", {"child": 1.0, "parent": 1.0})


def test_dropped_values_are_a_column_and_one_warning(warned: Callable[[], Any]) -> None:
    with warned() as messages, mlrun.init(project="p", max_metric_keys=10) as run:
        for n in range(25):
            run.log({f"k{n}": 1.0})
        run.log({"odd": object()})
    assert run.dropped == 16
    assert mlrun.runs()["dropped"].to_list() == [16]
    assert len([m for m in messages if "metric keys" in m]) == 2  # at 80 % and at 100 %
    assert mlrun.metrics(run.id)["key"].n_unique() == 10


def test_finish_and_log_after_the_end_change_nothing(warned: Callable[[], Any]) -> None:
    with warned() as messages:
        run = mlrun.init(project="p")
        run.finish()
        run.finish("error")
        run.log({"a": 1.0})
        run.log({"a": 1.0})
    assert state_of(run.id) == "completed"
    assert len(messages) == 1


def test_a_deleted_run_can_be_restored_and_an_archived_one_hidden(
    finished: Callable[..., str],
) -> None:
    view = mlrun.get_run(finished())
    view.archive()
    assert (mlrun.runs().height, mlrun.runs(archived=True).height) == (0, 1)
    view.restore()
    view.delete()
    assert (mlrun.runs().height, mlrun.runs(deleted=True).height) == (0, 1)
    mlrun.compact()
    assert view.restore().state == "completed"
    assert mlrun.metrics(view.id).height == 1


def test_the_clock_may_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    run = mlrun.init(project="p")
    run.log({"a": 1.0})
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 3600 * 10**9)
    for step in range(1, 100):
        run.log({"a": float(step)}, step)
    run.finish()
    times = mlrun.metrics(run.id)["time"]
    assert times.is_sorted()
    row = mlrun.runs().row(0, named=True)
    assert row["started_at"] <= row["finished_at"]
    assert mlrun.metrics(run.id, keys="a", last=True)["value"][-1] == 99.0
