"""Hyperparameter jobs whose workers, drivers and iterations die or are told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.executors.local import LocalExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.view import RunView

    Start = Callable[..., RunView]

ROOT = Path(__file__).parents[2]
OPEN = {"created", "pending", "running", "aborting"}


def wait_until(holds: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)


def children(view: Any) -> Any:
    return mlrun.runs(where=f"parent = '{view.id}'", order_by="iteration")


def bomb() -> Any:
    """Return a param that kills the process which unpickles it."""

    class Bomb:
        def __reduce__(self) -> Any:
            return signal.raise_signal, (signal.SIGKILL,)

    return Bomb()


def mortal(context: Any, x: int) -> int:
    import os
    import signal

    context.log({"seen": x})
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def check_one_died(view: RunView) -> None:
    table = view.iterations
    assert table["iter"].to_list() == list(range(1, 21))
    assert table.filter(table["state"] != "completed").select("state", "iter").rows() == [
        ("error", 6)
    ]
    assert view.results["best_iteration"] == 20
    assert view.error is not None
    assert view.error.startswith("1 of 20 tasks failed")
    found = children(view)
    assert "died" in found["error"][5]
    assert found["metrics.seen"].to_list() == [float(x) for x in range(20)]  # the dying one's, too


def test_a_killed_worker_costs_the_iteration_that_it_was_performing(failed: Start) -> None:
    check_one_died(failed(mortal, {"x": list(range(20))}, selector="return", parallel_runs=2))


@pytest.mark.soak
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_killed_worker_of_ray_costs_the_iteration_that_it_was_performing(
    failed: Start, ray_session: Any
) -> None:
    check_one_died(failed(mortal, {"x": list(range(20))}, selector="return", executor=ray_session))


def test_an_iteration_that_kills_its_worker_before_it_begins_is_tried_once_more_and_ends(
    failed: Start,
) -> None:
    def handler(x: Any) -> Any:
        return x

    view = failed(handler, {"x": [1, 2, bomb(), 4, 5]}, selector="return", parallel_runs=2)
    assert view.iterations["state"].to_list() == [
        "completed", "completed", "error", "completed", "completed",
    ]  # fmt: skip
    assert view.results == {"best_iteration": 5, "return": 5}
    assert children(view)["iteration"].to_list() == [1, 2, 3, 4, 5]


def test_an_iteration_that_cannot_be_sent_ends_the_job_with_the_reason(failed: Start) -> None:
    def handler(x: Any) -> None:
        pass

    view = failed(handler, {"x": [1, threading.Lock()]}, parallel_runs=2)
    assert view.state == "error"
    assert view.error is not None
    assert "cannot be sent" in view.error
    assert not set(children(view)["state"]) & OPEN


# -- the driver dies ------------------------------------------------------------------------------

DRIVER = """
import sys, time
import mlrun
from mlrun.functions.making import new_function

def slow(context, x):
    context.log({{"seen": x}})
    if x >= 2:
        open(f"begun-{{x}}", "w").close()
        {wait}
    return x

new_function("slow", project="p", handler=slow).run(
    hyperparams={{"x": list(range(8))}}, hyper_param_options={options}, local=True
)
print("went on")
"""


def drive(options: str, wait: str = "__import__('time').sleep(60)") -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    text = textwrap.dedent(DRIVER).format(options=options, wait=wait)
    Path("driver.py").write_text(text)
    driver = subprocess.Popen(
        [sys.executable, "driver.py"], env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: driver.poll() is not None or (Path("begun-2").exists() and completed() == 2))
    return driver


def completed() -> int:
    return mlrun.runs("p", where="state = 'completed'", children=True).height


def the_job() -> RunView:
    [run_id] = mlrun.runs("p")["run_id"]
    return mlrun.get_run(run_id)


HERE, POOL = "{'selector': 'return'}", "{'selector': 'return', 'parallel_runs': 2}"


@pytest.mark.parametrize("options", [HERE, POOL], ids=["here", "pool"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-C", "SIGTERM"])
def test_an_interrupted_driver_leaves_nothing_that_runs(options: str, number: int) -> None:
    driver = drive(options)
    driver.send_signal(number)
    said, errors = driver.communicate(timeout=60)
    assert "went on" not in said, errors
    assert driver.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT)
    view = the_job()
    assert view.state == "aborted"
    assert view.results == {"best_iteration": 2, "return": 1}
    found = children(view)
    assert set(found["state"][:2]) == {"completed"}
    assert set(found["state"][2:]) == {"aborted"}
    assert 3 <= found.height <= 4


@pytest.mark.parametrize("options", [HERE, POOL], ids=["here", "pool"])
def test_the_job_of_a_killed_driver_is_lost_and_its_workers_end(options: str) -> None:
    driver = drive(options)
    driver.kill()
    driver.communicate(timeout=60)
    view = the_job()
    assert view.state == "lost"
    wait_until(lambda: not set(children(view)["state"]) & OPEN)
    assert children(view)["state"][:2].to_list() == ["completed"] * 2


# -- it is aborted --------------------------------------------------------------------------------


def sleepy(x: int) -> int:
    import time

    if x >= 2:
        time.sleep(60)
    return x


def two_ended_and_more_began(run_id: str) -> bool:
    states: list[str] = children(mlrun.get_run(run_id))["state"].to_list()
    return len(states) >= 3 and states.count("completed") >= 2


def abort_soon(reason: str) -> threading.Thread:
    def abort() -> None:
        wait_until(lambda: not mlrun.runs("p", where="state = 'running'").is_empty())
        [run_id] = mlrun.runs("p")["run_id"]
        wait_until(lambda: two_ended_and_more_began(run_id))
        mlrun.get_run(run_id).abort(reason)

    thread = threading.Thread(target=abort)
    thread.start()
    return thread


@pytest.mark.parametrize("parallel", [None, 2])
def test_aborting_the_job_ends_its_iterations(parallel: int | None, failed: Start) -> None:
    thread = abort_soon("enough")
    view = failed(sleepy, {"x": list(range(8))}, selector="return", parallel_runs=parallel)
    thread.join()
    assert (view.state, view.error) == ("aborted", "enough")
    assert view.results == {"best_iteration": 2, "return": 1}
    found = children(view)
    assert found["state"].to_list()[:2] == ["completed"] * 2
    assert set(found["state"].to_list()[2:]) == {"aborted"}
    assert "enough" in found["error"].to_list()[2:]  # one that began in that moment says SIGTERM


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_aborting_a_job_on_ray_ends_its_iterations(failed: Start, ray_session: Any) -> None:
    thread = abort_soon("enough")
    view = failed(sleepy, {"x": list(range(8))}, selector="return", executor=ray_session)
    thread.join()
    assert (view.state, view.error) == ("aborted", "enough")
    assert not set(children(view)["state"]) & OPEN


def test_an_executor_that_loses_the_kind_of_interrupt_loses_no_abort(
    failed: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # native code that polls for signals, Ray's among it, raises a plain KeyboardInterrupt for ours
    def plain(self: Any, *given: Any, **options: Any) -> Any:
        try:
            yield from whole(self, *given, **options)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    whole = LocalExecutor.map
    monkeypatch.setattr(LocalExecutor, "map", plain)
    thread = abort_soon("enough")
    view = failed(sleepy, {"x": list(range(8))}, selector="return", parallel_runs=2)
    thread.join()
    assert (view.state, view.error) == ("aborted", "enough")


def test_a_job_beside_the_caller_is_aborted_too(sweep: Start) -> None:
    view = sweep(sleepy, {"x": list(range(8))}, watch=False)
    wait_until(lambda: children(view).height >= 3)
    assert view.abort("enough").state == "aborted"
    assert view.error == "enough"
    wait_until(lambda: not set(children(view)["state"]) & OPEN)


def test_aborting_one_iteration_ends_that_one_only(sweep: Start) -> None:
    def abort() -> None:
        wait_until(lambda: mlrun.runs(where="iteration = 3", children=True).height > 0)
        [run_id] = mlrun.runs(where="iteration = 3", children=True)["run_id"]
        mlrun.get_run(run_id).abort("not this one")

    def handler(x: int) -> int:
        import time

        time.sleep(60 if x == 2 else 0)
        return x

    thread = threading.Thread(target=abort)
    thread.start()
    view = sweep(handler, {"x": list(range(5))}, selector="return")
    thread.join()
    assert view.state == "completed"
    assert view.iterations["state"].to_list()[2] == "aborted"
    assert view.results["best_iteration"] == 5
    assert children(view)["error"].to_list()[2] == "not this one"


def test_a_job_beside_a_script_that_ends_is_aborted() -> None:
    script = """
    from mlrun.functions.making import new_function
    import time
    def sleepy(x):
        time.sleep(60)
    view = new_function("sleepy", project="p", handler=sleepy).run(
        hyperparams={"x": [1, 2, 3]}, local=True, watch=False)
    import mlrun
    while mlrun.runs(where=f"parent = '{view.id}'").is_empty():
        time.sleep(0.05)
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=env, timeout=60, text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    view = the_job()
    assert view.state == "aborted"
    assert set(children(view)["state"]) == {"aborted"}
