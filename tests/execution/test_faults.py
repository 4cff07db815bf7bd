"""What goes wrong before, in and beside a handler: each has a clear message, and nothing stays open."""

from __future__ import annotations

import threading
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mlrun
from mlrun.errors import ConfigError, RunError
from mlrun.execution.announce import announce
from mlrun.execution.states import ENDED, FOLLOWS, move
from mlrun.execution.task import Task
from mlrun.ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlrun.view import RunView


def quick(x: Any = 1) -> int:
    return 1


def ended(call: Callable[[], RunView]) -> RunView:
    """Make a run, wait for its end, however it ends."""
    try:
        return call().wait_for_completion(60)
    except RunError as error:
        view: Any = error.run
        found: RunView = view
        return found


def open_runs() -> list[str]:
    found = mlrun.runs(children=True)
    return [s for s in found["state"].to_list() if s not in ENDED]


@pytest.mark.parametrize("how", [{}, {"watch": False}])
@pytest.mark.parametrize(
    ("requirement", "met"),
    [
        ("no-such-package-of-ours", False),
        ("polars>=999", False),
        ("polars>=1", True),
        ("no-such-package-of-ours; python_version < '3'", True),
        ("git+https://example.org/some/thing.git", True),
    ],
)
def test_a_requirement_that_is_not_met_is_named(
    start: Callable[..., RunView], how: dict[str, Any], requirement: str, met: bool
) -> None:
    view = ended(lambda: start(quick, spec={"requirements": [requirement]}, **how))
    assert view.state == ("completed" if met else "error")
    assert met or f"not installed here: {requirement}" in str(view.error)
    assert open_runs() == []


@pytest.mark.parametrize("what", ["params", "inputs"])
def test_what_cannot_be_sent_to_a_worker_is_told(start: Callable[..., RunView], what: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a param without a JSON form
        view = start(quick, **{what: {"x": threading.Lock()}}, watch=False)
    view.wait_for_completion(60)
    assert view.state == "error"
    assert "cannot be sent: TypeError: cannot pickle" in str(view.error)
    assert open_runs() == []


def test_a_handler_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "trainer.py").write_text("def train():\n    return 1\n")
    fn = mlrun.code_to_function("t", project="p", filename=str(tmp_path / "trainer.py"))
    for watch in (True, False):
        view = ended(partial(fn.run, handler="trian", local=True, watch=watch))
        assert "no handler 'trian' in trainer.py (did you mean 'train'?)" in str(view.error)
    assert open_runs() == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"returns": ["out : modle"]}, "no type 'modle' .did you mean 'model'"),
        ({"returns": ["a", "a"]}, "two values have the key 'a'"),
        ({"params": [1]}, "params is a dict of names and values, not list"),
        ({"labels": "x"}, "labels is a dict of names and values, not str"),
        ({"inputs": {"x": None}}, r"inputs\['x'\] is None"),
        ({"retry": "often"}, "retry is a number"),
    ],
)
def test_what_has_no_meaning_is_refused_before_a_run_is_made(
    start: Callable[..., RunView], asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        start(quick, **asked)
    assert not mlrun.open_store().exists() or mlrun.runs().is_empty()


def test_an_input_says_what_it_becomes(start: Callable[..., RunView], tmp_path: Path) -> None:
    pl.DataFrame({"a": [1, 2]}).write_csv(tmp_path / "d.csv")

    def kinds(data: Any, other: Any, **rest: Any) -> str:
        return " ".join(type(v).__module__.partition(".")[0] for v in (data, other, rest["more"]))

    path = str(tmp_path / "d.csv")
    for watch in (True, False):
        inputs = {"data : pl.DataFrame": path, "other:pandas.DataFrame": path, "more": path}
        view = start(kinds, inputs=inputs, watch=watch).wait_for_completion(60)
        assert view.results == {"return": "polars pandas mlrun"}


def test_an_input_cannot_become_what_is_not_there(failed: Callable[..., RunView]) -> None:
    view = failed(quick, inputs={"x : no_such.Thing": __file__})
    assert (
        view.error
        == "ConfigError: input 'x' is to become a no_such.Thing: there is no such class here"
    )


# how a run that nobody performs comes into each state
WAYS = {
    "created": [], "pending": ["pending"], "running": ["pending", "running"],
    "pending_retry": ["pending", "running", "pending_retry"],
    "aborting": ["pending", "running", "aborting"], "aborted": ["aborted"], "error": ["error"],
    "lost": ["lost"], "skipped": ["skipped"], "completed": ["pending", "running", "completed"],
}  # fmt: skip


@pytest.mark.parametrize("state", sorted(FOLLOWS))
def test_abort_ends_a_run_in_every_state_and_leaves_an_end_alone(state: str) -> None:
    store = mlrun.open_store()
    task = Task(uuid7(), "n", "p")
    announce(store, task, state="created", owned=False)
    for step in WAYS[state]:
        move(store, task.run_id, step)
    view = mlrun.get_run(task.run_id)
    assert view.state == state
    if state in ENDED:
        assert view.abort("why").state == state
        assert view.error is None
    else:
        assert (view.abort("why", timeout=30).state, view.error) == ("aborted", "why")
    assert open_runs() == []
