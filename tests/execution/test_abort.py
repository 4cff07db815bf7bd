from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.execution.announce import announce
from mlrun.execution.task import Task
from mlrun.ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.view import RunView

REPOSITORY = Path(__file__).parents[2]


def wait_for(view: RunView, state: str, seconds: float = 60) -> RunView:
    end = time.monotonic() + seconds
    while view.refresh().state != state:
        assert time.monotonic() < end, f"{view} did not become {state}: {view.error}"
        time.sleep(0.02)
    return view


def sleeps(context: Any) -> None:
    context.log({"a": 1.0})
    time.sleep(600)


def sleeps_natively() -> None:
    ctypes.CDLL(None).sleep(600)


def does_not_listen() -> None:
    while True:
        with suppress(BaseException):
            time.sleep(600)


def holds_the_interpreter() -> None:
    ctypes.PyDLL(None).sleep(
        600
    )  # the GIL is not released: no thread of the process can do anything


def deaf_to_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGURG, signal.SIG_IGN)
    time.sleep(600)


@pytest.mark.parametrize(
    "handler", [sleeps, sleeps_natively, does_not_listen, holds_the_interpreter, deaf_to_signals]
)
def test_abort_ends_a_run_beside_the_caller(
    start: Callable[..., RunView], handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlrun.execution.watching._GRACE", 0.7)
    monkeypatch.setattr("mlrun.executors.localjob._GRACE", 0.7)
    view = wait_for(start(handler, watch=False), "running")
    view.abort("enough")
    assert (view.state, view.error) == ("aborted", "enough")
    assert view.finished_at is not None
    assert view.abort().state == "aborted"


def aborts_when_it_runs(views: list[str]) -> threading.Thread:
    def work() -> None:
        while not (found := mlrun.runs(where="state = 'running'")).height:
            time.sleep(0.02)
        run_id = found["run_id"][0]
        time.sleep(0.2)
        mlrun.get_run(run_id).abort()
        views.append(run_id)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("handler", [sleeps, sleeps_natively])
def test_abort_interrupts_a_run_in_the_callers_main_thread(
    failed: Callable[..., RunView], handler: Any
) -> None:
    mlrun.open_store().prepare()
    done: list[str] = []
    thread = aborts_when_it_runs(done)
    view = failed(handler)
    thread.join()
    assert view.refresh().state == "aborted"
    assert done == [view.id]
    assert threading.active_count() < 20


def test_abort_interrupts_python_code_on_another_thread(failed: Callable[..., RunView]) -> None:
    def spins() -> None:
        while True:
            time.sleep(0.01)

    mlrun.open_store().prepare()
    views: list[RunView] = []
    runner = threading.Thread(target=lambda: views.append(failed(spins)))
    runner.start()
    aborts_when_it_runs([]).join()
    runner.join(30)
    assert views[0].state == "aborted"


def test_a_pending_run_is_aborted_before_it_begins(start: Callable[..., RunView]) -> None:
    views = [start(sleeps, watch=False) for _ in range(6)]
    last = views[-1]
    assert last.state == "pending"
    last.abort()
    assert (last.state, last.summary) == ("aborted", {})
    for view in views[:-1]:
        view.abort(timeout=0)
    for view in views[:-1]:
        assert view.wait_for_completion(60).state == "aborted"


def test_a_run_that_nobody_has_in_hand_is_aborted_at_once() -> None:
    store = mlrun.open_store()
    task = Task(uuid7(), "n", "p")
    announce(store, task, state="created", owned=False)
    assert mlrun.get_run(task.run_id).abort("changed my mind").error == "changed my mind"


def test_a_run_that_has_ended_keeps_its_end(start: Callable[..., RunView]) -> None:
    def quick() -> int:
        return 1

    view = start(quick)
    assert view.abort().state == "completed"


def test_abort_of_a_parent_ends_its_open_children(start: Callable[..., RunView]) -> None:
    def parent(context: Any) -> None:
        with context.get_child_context(x=1):
            time.sleep(600)

    view = wait_for(start(parent, watch=False), "running")
    while not mlrun.runs(where=f"parent = '{view.id}'").height:
        time.sleep(0.05)
    view.abort()
    assert view.state == "aborted"
    children = mlrun.runs(where=f"parent = '{view.id}'")
    assert children["state"].to_list() == ["aborted"]


DRIVER = """
import sys, time, base64, cloudpickle
sys.path.insert(0, {tests!r})
import mlrun
from mlrun.execution import launch

class F:
    spec = property(lambda self: self)
    def to_dict(self):
        data = base64.b64encode(cloudpickle.dumps(work)).decode()
        return dict(name="work", code=dict(kind="pickle", data=data))

def work(context):
    context.log(dict(a=1.0))
    time.sleep(600)

{how}
"""


def driver(how: str) -> subprocess.Popen[str]:
    script = DRIVER.format(tests=str(REPOSITORY), how=how)
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )


def the_run(where: str) -> RunView:
    end = time.monotonic() + 60
    mlrun.open_store().prepare()
    while not (found := mlrun.runs(where=where)).height:
        assert time.monotonic() < end
        time.sleep(0.05)
    return mlrun.get_run(found["run_id"][0])


@pytest.mark.parametrize("watch", [True, False])
def test_abort_from_another_process_reaches_the_handler(watch: bool) -> None:
    process = driver(f"launch.run(F(), local=True, watch={watch}).wait_for_completion()")
    try:
        view = the_run("state = 'running'")
        assert view.abort().state == "aborted"
        process.wait(30)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("place", ["'local'", "executor_class('local')(2)"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-C", "SIGTERM"])
def test_an_interrupted_driver_aborts_its_run_and_goes_no_further(place: str, number: int) -> None:
    process = driver(
        "from mlrun.registry import executor_class\n"
        f"launch.run(F(), executor={place})\nprint('went on')"
    )
    try:
        view = the_run("state = 'running'")
        end = time.monotonic() + 60
        while view.metrics("a").is_empty():  # until it is in the handler
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert "went on" not in said
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT)
    assert view.refresh().state == "aborted"
    assert view.metrics("a").height == 1


def test_a_driver_that_is_killed_leaves_no_run_running() -> None:
    process = driver(
        "views = [launch.run(F(), watch=False) for _ in range(8)]; print('go', flush=True); time.sleep(600)"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    the_run("state = 'running'")
    process.kill()
    process.communicate()
    end = time.monotonic() + 60
    while (states := set(mlrun.runs()["state"])) & {"running", "pending"}:
        assert time.monotonic() < end, states
        time.sleep(0.1)
    assert states <= {"aborted", "lost"}
    assert "lost" in states
    mlrun.compact()
    assert set(mlrun.runs()["state"]) == states


def test_a_script_that_ends_cancels_what_still_runs_beside_it() -> None:
    process = driver(
        "v = launch.run(F(), watch=False)\nwhile v.refresh().state != 'running': time.sleep(.05)"
    )
    process.wait(60)
    process.communicate()
    assert set(mlrun.runs()["state"]) == {"aborted"}


def test_time_limits_abort(start: Callable[..., RunView], failed: Callable[..., RunView]) -> None:
    view = failed(sleeps, time_limit=0.5)
    assert view.state == "aborted"
    assert view.error == "it took longer than its time limit of 0.5 s"
    beside = start(sleeps, state_thresholds={"executing": "1s"}, watch=False)
    assert beside.wait_for_completion(60).state == "aborted"
    assert beside.error is not None
    assert "1 s" in beside.error


def test_a_run_that_is_pending_for_too_long_is_aborted(start: Callable[..., RunView]) -> None:
    first = [start(sleeps, watch=False) for _ in range(4)]
    late = start(sleeps, watch=False, state_thresholds={"pending_scheduled": "1s"})
    assert late.wait_for_completion(60).state == "aborted"
    assert late.error == "it was pending_scheduled for longer than 1 s"
    for view in first:
        view.abort(timeout=0)
