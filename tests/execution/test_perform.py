from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import polars as pl
import pytest

import mlrun
from mlrun.errors import ConfigError
from mlrun.execution.announce import announce
from mlrun.execution.law import Needs
from mlrun.execution.perform import perform
from mlrun.execution.task import Task
from mlrun.ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.view import RunView


def train(context: Any, lr: float, depth: int = 3) -> float:
    context.log({"loss": lr * depth})
    context.log_result("depth", depth)
    print("trained")
    return lr


def test_a_handler_gets_its_params_by_name_and_its_run_as_context(
    start: Callable[..., RunView],
) -> None:
    view = start(train, params={"lr": 0.5}, labels={"team": "cv"}, tags=["x"], name="n")
    assert (view.state, view.name, view.project, view.error) == ("completed", "n", "p", None)
    assert view.params == {"lr": 0.5}
    assert view.results == {"depth": 3, "return": 0.5}
    assert view.summary == {"loss": 1.5}
    assert view.tags == ["x"]
    assert view.labels["team"] == "cv"
    logs = view.logs()
    assert isinstance(logs, pl.DataFrame)
    assert logs["line"].to_list() == ["trained"]


def test_what_the_handler_prints_reaches_the_terminal_once(
    start: Callable[..., RunView], capsys: pytest.CaptureFixture[str]
) -> None:
    start(train, params={"lr": 0.5})
    assert capsys.readouterr().out == "trained\n"


def test_a_name_defaults_to_the_functions(start: Callable[..., RunView]) -> None:
    assert start(train, params={"lr": 1}).name == "train"


def test_leftovers_go_to_the_named_rest(start: Callable[..., RunView]) -> None:
    def rest(a: int, **others: Any) -> Any:
        return {"a": a, **others}

    assert start(rest, params={"a": 1, "b": 2, "c": 3}).results["return"] == {
        "a": 1,
        "b": 2,
        "c": 3,
    }


def test_the_context_is_found_by_its_annotation_too(start: Callable[..., RunView]) -> None:
    def named(run: mlrun.Run) -> str:
        return run.id

    view = start(named)
    assert view.results["return"] == view.id


def test_positional_only_parameters_are_bound(start: Callable[..., RunView]) -> None:
    def positional(a: int, /, b: int) -> int:
        return a - b

    assert start(positional, params={"a": 5, "b": 2}).results["return"] == 3


def test_inputs_arrive_as_the_signature_says(
    start: Callable[..., RunView], own_folder: Path
) -> None:
    (own_folder / "data.csv").write_text("a,b\n1,2\n")

    def read(item, path="", frame: pl.DataFrame | None = None):  # type: ignore[no-untyped-def]
        assert frame is not None
        return [type(item).__name__, Path(path).read_text(), frame.rows()]

    inputs = dict.fromkeys(("item", "path", "frame"), "data.csv")
    found = start(read, inputs=inputs).results["return"]
    assert found[0].endswith("Item")
    assert found[1:] == ["a,b\n1,2\n", [[1, 2]]]


def test_a_value_in_memory_is_an_input_too(start: Callable[..., RunView]) -> None:
    def count(frame: pl.DataFrame) -> int:
        return frame.height

    frame = pl.DataFrame({"a": [1, 2, 3]})
    assert start(count, inputs={"frame": frame}).results["return"] == 3
    assert (
        start(count, inputs={"frame": frame}, watch=False).wait_for_completion(60).results["return"]
        == 3
    )


def test_an_input_that_is_not_there_fails_with_its_name(failed: Callable[..., RunView]) -> None:
    def read(item: Any) -> None:
        raise AssertionError

    view = failed(read, inputs={"item": "./nothing.csv"})
    assert view.error is not None
    assert "input 'item'" in view.error


def test_a_param_that_is_missing_is_named_with_the_nearest_given(
    failed: Callable[..., RunView],
) -> None:
    view = failed(train, params={"lrr": 0.5})
    assert view.state == "error"
    assert view.error is not None
    assert "needs 'lr'; given: 'lrr' (did you mean 'lrr'?)" in view.error
    assert "Traceback" not in view.error


def test_the_traceback_shows_the_handler_and_none_of_our_frames(
    failed: Callable[..., RunView],
) -> None:
    def broken() -> None:
        raise ValueError("no such luck")

    view = failed(broken)
    assert view.error is not None
    assert "in broken" in view.error
    assert "no such luck" in view.error
    assert "execution/perform.py" not in view.error.replace("tests/execution", "")


def test_async_handlers_are_awaited(start: Callable[..., RunView]) -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        run = mlrun.current_run()
        assert run is not None
        run.log_result("seen", True)
        return x

    assert start(later, params={"x": 3}).results == {"return": 3, "seen": True}


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


def hidden_generator() -> Any:
    return generator()


@pytest.mark.parametrize("handler", [generator, async_generator, hidden_generator])
def test_generators_are_refused(failed: Callable[..., RunView], handler: Any) -> None:
    view = failed(handler)
    assert view.state == "error"
    assert view.error is not None
    assert "a handler that yields cannot be run" in view.error


def test_a_result_without_a_json_form_ends_the_run_in_error(failed: Callable[..., RunView]) -> None:
    def odd(context: Any) -> None:
        context.log_result("bad", object())

    view = failed(odd)
    assert view.state == "error"
    assert view.error is not None
    assert "'bad': a object has no JSON form" in view.error


def test_a_return_that_cannot_be_kept_as_hinted_ends_the_run_in_error(
    failed: Callable[..., RunView],
) -> None:
    def odd() -> Any:
        return object()

    view = failed(odd, returns=["bad : result"])
    assert view.error is not None
    assert "'bad' cannot be a result" in view.error
    assert "Traceback" not in view.error  # it was none of the handler's lines


def test_an_artifact_that_cannot_be_stored_ends_the_run_in_error(
    failed: Callable[..., RunView],
) -> None:
    def logs(context: Any) -> None:
        try:
            context.log_artifact("nowhere.bin")
        except Exception:  # noqa: BLE001  hiding it does not help
            return

    view = failed(logs)
    assert view.state == "error"
    assert view.error is not None
    assert "nowhere.bin" in view.error


def test_sys_exit_in_a_handler_is_an_end_like_a_scripts(
    start: Callable[..., RunView], failed: Callable[..., RunView]
) -> None:
    def leave(code: int) -> None:
        sys.exit(code)

    assert start(leave, params={"code": 0}).state == "completed"
    assert failed(leave, params={"code": 3}).error == "exit code 3"


def test_init_and_finish_inside_a_handler_are_its_own_run(start: Callable[..., RunView]) -> None:
    def script_like() -> None:
        run = mlrun.init(project="other", config={"epochs": 2})
        run.log({"a": 1})
        run.finish()
        assert mlrun.current_run() is run

    view = start(script_like)
    assert (view.project, view.params, view.summary) == ("p", {"epochs": 2}, {"a": 1.0})
    assert mlrun.runs(children=True).height == 1


def test_local_and_another_executor_do_not_go_together(start: Callable[..., RunView]) -> None:
    with pytest.raises(ConfigError, match="local=True is executor='local'"):
        start(train, local=True, executor="ray")
    assert mlrun.open_store().exists() is False or mlrun.runs().is_empty()


def test_an_unknown_argument_of_run_is_hinted_at(start: Callable[..., RunView]) -> None:
    with pytest.raises(ConfigError, match=r"no argument 'parms' \(did you mean 'params'\?\)"):
        start(train, parms={})


def test_secrets_are_read_where_the_work_runs_and_stored_nowhere(
    start: Callable[..., RunView], monkeypatch: pytest.MonkeyPatch, own_folder: Path
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "s3cr3t-value")

    def reads(context: Any) -> bool:
        import os

        return bool(context.get_secret("TOKEN") == os.environ["TOKEN"] == "s3cr3t-value")

    for watch in (True, False):
        view = start(reads, secrets={"TOKEN": "env:VAULT_TOKEN"}, watch=watch)
        assert view.wait_for_completion(60).results["return"] is True
    for file in own_folder.rglob("*"):
        assert not file.is_file() or b"s3cr3t-value" not in file.read_bytes()
    with pytest.raises(ConfigError) as caught:
        start(reads, secrets={"TOKEN": "s3cr3t-value"})
    assert "s3cr3t" not in str(caught.value)


def test_disabled_mode_runs_and_stores_nothing(own_folder: Path) -> None:
    from mlrun.execution.perform import perform
    from mlrun.execution.task import Task

    data = base64.b64encode(cloudpickle.dumps(train)).decode()
    task = Task(
        "r",
        "n",
        function={"code": {"kind": "pickle", "data": data}},
        params={"lr": 2},
        settings={"mode": "disabled"},
    )
    assert perform(task)["results"] == {"depth": 3, "return": 2}
    assert not (own_folder / ".mlrun").exists()


def test_needs_can_be_given_with_the_call(start: Callable[..., RunView]) -> None:
    def reads() -> str:
        import os

        return os.environ["COLOUR"]

    view = start(reads, needs=Needs(env={"COLOUR": "blue"}), watch=False)
    assert view.wait_for_completion(60).results["return"] == "blue"


def waiting(store: Any, **changed: Any) -> Task:
    """Announce a run as a driver does; returns the task that its worker gets."""
    code = base64.b64encode(cloudpickle.dumps(seen)).decode()
    function = {"name": "seen", "code": {"kind": "pickle", "data": code}}
    task = Task(uuid7(), "n", "p", function, params={"a": {"b": 1}, "c": 2.5}, tags=["one"])
    task = task.but(labels={"team": "cv"}, store={"dbpath": store.url}, **changed)
    return task.but(announced=announce(store, task))


def seen(context: Any) -> None:
    found = {"labels": context.labels, "tags": sorted(context.tags), "params": context.config}
    context.log_result("seen", {k: dict(v) if k != "tags" else v for k, v in found.items()})


def test_a_worker_takes_over_what_was_announced_without_asking_for_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = mlrun.open_store()
    store.prepare()
    task = waiting(store)
    asked: list[str] = []
    lookup = type(store.records).lookup

    def noted(self: Any, table: Any, key: Any) -> Any:
        asked.append(table.name)
        return lookup(self, table, key)

    monkeypatch.setattr(type(store.records), "lookup", noted)
    outcome = perform(task)
    assert set(asked) == {"runs"}
    assert outcome["results"]["seen"] == {
        "labels": {"team": "cv"},
        "tags": ["one"],
        "params": {"a": {"b": 1}, "c": 2.5},
    }


def test_a_run_that_was_changed_while_it_waited_begins_as_it_is_now() -> None:
    store = mlrun.open_store()
    store.prepare()
    task = waiting(store)
    mlrun.get_run(task.run_id).update(add_tags=["two"], labels={"team": "nlp"}, notes="new")
    assert perform(task)["results"]["seen"]["tags"] == ["one", "two"]
    view = mlrun.get_run(task.run_id)
    assert (sorted(view.tags), view.labels["team"], view.notes) == (["one", "two"], "nlp", "new")
    assert view.params == {"a.b": 1, "c": 2.5}
