"""Steps that are not run again: cached, resumed, retried; drivers that were interrupted or killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import ConfigError, MlrunError, RunError
from mlrun.functions.making import new_function
from mlrun.workflows.workflow import Plan, run_workflow

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.view import RunView


def file(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def steps_of(view: RunView) -> dict[str, RunView]:
    frame = mlrun.runs(where=f"parent = '{view.id}'", children=True)
    return {name: mlrun.get_run(i) for name, i in frame.select("name", "run_id").iter_rows()}


def states_of(view: RunView) -> dict[str, str]:
    return {name: found.state for name, found in steps_of(view).items()}


class Counted:
    """A workflow of one step, that says how often its function was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.code = (
            "import pathlib\n"
            "def count(context, data, calls, x=1):\n"
            "    with open(calls, 'a') as out:\n        out.write('.')\n"
            "    context.log_artifact('copy', body=data.get())\n"
            "    return x\n"
        )
        self.calls = folder / "calls"
        self.data = folder / "data.bin"
        self.data.write_bytes(b"abc")

    def __call__(self, x: int = 1, cache: bool | None = True, name: str = "count") -> RunView:
        path = file(self.folder / "count.py", self.code)
        params = {"x": x, "calls": str(self.calls)}
        fn = new_function("count", command=path, handler="count")

        def flow() -> Any:
            step = fn.as_step(
                params=params, inputs={"data": str(self.data)}, returns=["y"], cache=cache, local=True
            )  # fmt: skip
            return {"y": step.outputs["y"], "copy": step.outputs["copy"]}

        return run_workflow(Plan(flow, name), engine="local")

    @property
    def count(self) -> int:
        return len(self.calls.read_text())


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


def test_a_step_that_did_the_same_is_not_run_again(counted: Counted) -> None:
    first, second = counted(), counted()
    assert counted.count == 1
    assert first.results == second.results == {"y": 1, "copy": first.results["copy"]}
    step = steps_of(second)["count"]
    assert (step.state, step.error) == ("skipped", None)
    assert step.labels["mlrun/cached-from"] == steps_of(first)["count"].id
    assert step.params["x"] == 1
    assert step.artifact("copy").get() == b"abc"
    assert second.provenance["graph"][0]["state"] == "cached"


def test_without_cache_every_step_runs(counted: Counted) -> None:
    counted()
    counted(cache=None)
    counted(cache=False)
    assert counted.count == 3


def test_other_params_inputs_code_or_name_of_the_handler_miss(counted: Counted) -> None:
    counted()
    counted(x=2)
    assert counted.count == 2
    counted.data.write_bytes(b"abd")
    counted()
    assert counted.count == 3
    counted.code += "# another version\n"
    counted()
    assert counted.count == 4
    counted.data.write_bytes(b"abc")
    counted.code = counted.code.replace("# another version\n", "")
    counted()
    assert counted.count == 4


def test_a_run_outside_workflows_is_not_taken(counted: Counted, tmp_path: Path) -> None:
    first = counted()
    step = steps_of(first)["count"]
    mlrun.get_run(step.id).update(labels={"mlrun/cache-key": None})
    fn = new_function("count", command=str(tmp_path / "count.py"), handler="count")
    fn.run(
        params={"x": 1, "calls": str(counted.calls)}, inputs={"data": str(counted.data)},
        labels={"mlrun/cache-key": step.labels["mlrun/cache-key"]}, local=True,
    )  # fmt: skip
    counted()
    assert counted.count == 3


def test_the_workflows_cache_holds_unless_a_step_says_otherwise(counted: Counted) -> None:
    from mlrun.workflows.workflow import workflow

    path = file(counted.folder / "count.py", counted.code)
    fn = new_function("count", command=path, handler="count")
    params = {"x": 1, "calls": str(counted.calls)}

    def once(cache: bool | None) -> None:
        fn.as_step(params=params, inputs={"data": str(counted.data)}, cache=cache, local=True)

    flow = workflow(cache=True)(once)
    flow(None)
    flow(None)
    assert counted.count == 1
    flow(cache=False)
    assert counted.count == 2


def test_a_sweeps_iterations_are_not_taken_for_it() -> None:
    def square(context, x):  # type: ignore[no-untyped-def]
        context.log_result("y", x * x)

    def flow() -> Any:
        step = new_function(handler=square).as_step(
            hyperparams={"x": [1, 3, 2]}, hyper_param_options={"selector": "max.y"}, cache=True,
            local=True,
        )  # fmt: skip
        return step.outputs["y"]

    plan = Plan(flow, "flow")
    first, second = run_workflow(plan, engine="local"), run_workflow(plan, engine="local")
    assert (first.results, second.results) == ({"return": 9}, {"return": 9})
    assert states_of(second) == {"square": "skipped"}


def test_a_value_in_memory_is_never_cached() -> None:
    import numpy as np

    def total(data):  # type: ignore[no-untyped-def]
        return 1

    def flow() -> None:
        fn = new_function(handler=total)
        fn.as_step(inputs={"data": np.arange(3)}, cache=True, local=True)

    plan = Plan(flow, "flow")
    run_workflow(plan, engine="local")
    assert states_of(run_workflow(plan, engine="local")) == {"total": "completed"}


FLOW = """
import os, pathlib, time
import mlrun
from mlrun.functions.making import new_function
from mlrun.workflows.workflow import on_exit, workflow

def load(calls):
    with open(calls, "a") as out:
        out.write("load ")
    return 20

def train(calls, n, ok):
    with open(calls, "a") as out:
        out.write("train ")
    if not os.path.exists(ok):
        {trouble}
    return n + 1

@workflow
def flow(calls, ok):
    loaded = new_function(handler=load).as_step(params={{"calls": calls}}, returns=["n"])
    trained = new_function(handler=train).as_step(
        params={{"calls": calls, "n": loaded.outputs["n"], "ok": ok}}, returns=["m"])
    return {{"m": trained.outputs["m"]}}
"""
MAIN = """
if __name__ == "__main__":
    flow({calls!r}, {ok!r})
"""


class Failing:
    """A workflow of two steps, the second of which comes into trouble until a file is there."""

    def __init__(self, folder: Path, trouble: str = "raise ValueError('boom')") -> None:
        self.calls, self.ok = folder / "calls", folder / "ok"
        self.arguments = {"calls": str(self.calls), "ok": str(self.ok)}
        self.text = FLOW.format(trouble=trouble)
        self.script = folder / "flow.py"
        self.script.write_text(self.text + MAIN.format(**self.arguments))

    def plan(self) -> Plan:
        from mlrun.functions.module import load_source

        return Plan.of(load_source(self.script.read_text(), "flow.py", str(self.script)).flow)

    def process(self, folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(self.script)], cwd=folder, start_new_session=True
        )

    def fail(self) -> RunView:
        with pytest.raises(RunError, match="boom") as caught:
            run_workflow(self.plan(), self.arguments, engine="local")
        view: Any = caught.value.run
        found: RunView = view
        return found

    def wait_until_training(self) -> RunView:
        end = time.monotonic() + 60
        while not self.calls.exists() or "train" not in self.calls.read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        return mlrun.get_run(mlrun.runs(where="kind = 'workflow'")["run_id"][0])


def test_a_failed_workflow_goes_on_from_the_failed_step(tmp_path: Path) -> None:
    failing = Failing(tmp_path)
    bad = failing.fail()
    failing.ok.touch()
    view = run_workflow(failing.plan(), engine="local", resume=bad.id)
    assert view.results == {"m": 21}
    assert failing.calls.read_text() == "load train train "
    assert states_of(view) == {"load": "skipped", "train": "completed"}
    again = run_workflow(failing.plan(), engine="local", resume=view.id)
    assert states_of(again) == {"load": "skipped", "train": "skipped"}
    assert steps_of(again)["load"].labels["mlrun/cached-from"] == steps_of(bad)["load"].id


def test_a_view_retries_a_failed_workflow(tmp_path: Path) -> None:
    failing = Failing(tmp_path)
    bad = failing.fail()
    bad.retry()
    assert bad.state == "error"
    failing.ok.touch()
    bad.retry()
    assert (bad.state, bad.results, bad.error) == ("completed", {"m": 21}, None)
    assert failing.calls.read_text() == "load train train train "
    with pytest.raises(MlrunError, match="completed"):
        bad.retry()


def test_what_is_no_workflow_is_not_resumed(tmp_path: Path) -> None:
    with mlrun.init() as run:
        pass
    with pytest.raises(ConfigError, match="no workflow"):
        run_workflow(Failing(tmp_path).plan(), resume=run.id)


def test_an_argument_without_a_json_form_is_asked_for_again() -> None:
    def flow(data: Any, fail: bool = True) -> None:
        if fail:
            raise ValueError(data)

    plan = Plan(flow, "flow")
    with pytest.raises(RunError) as caught:
        run_workflow(plan, {"data": {1, 2}})
    view: Any = caught.value.run
    with pytest.raises(ConfigError, match=r"'data'.*give it again"):
        run_workflow(plan, {"fail": False}, resume=view.id)
    assert run_workflow(plan, {"data": {1}, "fail": False}, resume=view.id).state == "completed"


def test_ctrl_c_aborts_the_steps_that_run(tmp_path: Path) -> None:
    failing = Failing(tmp_path, trouble="time.sleep(600)")
    process = failing.process(tmp_path)
    view = failing.wait_until_training()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert view.refresh().state == "aborted"
    assert states_of(view) == {"load": "completed", "train": "aborted"}


def test_a_workflow_whose_driver_was_killed_is_lost_and_can_be_resumed(tmp_path: Path) -> None:
    failing = Failing(tmp_path, trouble="time.sleep(600)")
    process = failing.process(tmp_path)
    view = failing.wait_until_training()
    process.kill()
    process.wait()
    assert view.wait_for_completion(60).state == "lost"
    assert steps_of(view)["train"].wait_for_completion(60).state in ("lost", "aborted")
    failing.ok.touch()
    found = run_workflow(failing.plan(), engine="local", resume=view.id)
    assert (found.results, states_of(found)["load"]) == ({"m": 21}, "skipped")
    assert failing.calls.read_text() == "load train train "
    view.retry()
    assert view.state == "completed"
