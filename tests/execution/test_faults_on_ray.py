"""A single run on Ray whose driver dies, whose handler is wrong, or that is aborted before and while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.execution.states import ENDED
from mlrun.testing.raysession import ray_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.view import RunView

__all__ = ["ray_session"]

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

ROOT = Path(__file__).parents[2]

DRIVER = """
import sys, time
import mlrun
from mlrun.functions.making import new_function
from mlrun.registry import executor_class

def slow(context):
    context.log({"seen": 1.0})
    open("begun", "w").close()
    time.sleep(60)

with executor_class("ray")("auto") as executor:
    new_function("slow", project="p", handler=slow).run(executor=executor)
print("went on")
"""


def wait_until(holds: Callable[[], Any], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)


@pytest.fixture
def driver(ray_session: Any) -> subprocess.Popen[str]:
    """Start a process that runs a slow function on the session's Ray; it is in the handler when this returns."""
    import ray

    assert ray_session.slots == 2
    address = ray.get_runtime_context().gcs_address
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": address}
    Path("driver.py").write_text(textwrap.dedent(DRIVER).replace('"auto"', repr(address)))
    driver = subprocess.Popen(
        [sys.executable, "driver.py"], env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: driver.poll() is not None or Path("begun").exists())
    assert driver.poll() is None, driver.communicate()[1]
    return driver


def the_run() -> RunView:
    [run_id] = mlrun.runs("p")["run_id"]
    return mlrun.get_run(run_id)


def test_the_run_of_a_killed_driver_ends_with_what_it_logged(
    driver: subprocess.Popen[str],
) -> None:
    driver.kill()
    driver.communicate(timeout=60)
    wait_until(lambda: the_run().state in ENDED)
    assert the_run().state in ("lost", "aborted", "error")
    assert the_run().metrics("seen")["value"].to_list() == [1.0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-C", "SIGTERM"])
def test_the_run_of_an_interrupted_driver_is_aborted(
    driver: subprocess.Popen[str], number: int
) -> None:
    driver.send_signal(number)
    said, _ = driver.communicate(timeout=60)
    assert "went on" not in said
    wait_until(lambda: the_run().state in ENDED)
    assert the_run().state == "aborted"
    assert the_run().metrics("seen")["value"].to_list() == [1.0]


def test_a_handler_that_is_not_there_is_told_with_the_nearest(
    ray_session: Any, tmp_path: Path
) -> None:
    (tmp_path / "trainer.py").write_text("def train():\n    return 1\n")
    fn = mlrun.code_to_function("t", project="p", filename=str(tmp_path / "trainer.py"))
    with pytest.raises(mlrun.errors.RunError, match=r"no handler 'trian' in trainer.py \(did you"):
        fn.run(handler="trian", executor=ray_session)
    assert the_run().state == "error"


def test_a_result_without_a_json_form_is_the_same_run_as_in_this_process(
    ray_session: Any, start: Callable[..., RunView]
) -> None:
    def give(context: Any) -> Any:
        context.log_result("odd", {1, 2})
        return {"deep": [1, 2.5, None]}

    here = start(give, returns=["made"])
    there = start(give, returns=["made"], executor=ray_session)
    assert there.state == here.state == "completed"
    assert there.results == here.results
    assert there.outputs.keys() == here.outputs.keys()


def is_running(view: RunView) -> bool:
    return view.refresh().state == "running"


def sleepy() -> None:
    time.sleep(60)


def test_a_run_that_waits_for_room_is_aborted_before_it_begins(
    ray_session: Any, start: Callable[..., RunView]
) -> None:
    holders = [start(sleepy, executor=ray_session, watch=False) for _ in range(2)]
    for view in holders:
        wait_until(partial(is_running, view))
    waiting = start(sleepy, executor=ray_session, watch=False)
    time.sleep(0.5)
    assert waiting.refresh().state == "pending"
    assert waiting.abort("changed my mind").state == "aborted"
    assert waiting.error == "changed my mind"
    assert waiting.metrics().is_empty()
    for view in holders:
        assert view.abort("enough").state == "aborted"
        assert view.abort("again").state == "aborted"
        assert view.error == "enough"
