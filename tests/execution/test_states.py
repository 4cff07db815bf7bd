from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import mlrun
from mlrun.errors import NotFound
from mlrun.execution.announce import announce
from mlrun.execution.states import ENDED, FOLLOWS, IllegalMove, move
from mlrun.execution.task import Task
from mlrun.ids import uuid7

if TYPE_CHECKING:
    from mlrun.store import Store


def pending(store: Store, state: str = "pending") -> str:
    task = Task(uuid7(), "n", "p", params={"lr": 0.1})
    announce(store, task, state=state)
    return task.run_id


@pytest.mark.parametrize("end", sorted(ENDED - {"lost"}))
def test_every_state_is_reached_from_pending_and_kept(end: str) -> None:
    store = mlrun.open_store()
    run_id = pending(store)
    way = {"aborted": ["aborting"], "skipped": [], "error": ["running"], "completed": ["running"]}
    for state in [*way[end], end]:
        move(store, run_id, state)
        assert mlrun.get_run(run_id).state == state
    assert mlrun.get_run(run_id).finished_at is not None
    mlrun.compact()
    assert mlrun.get_run(run_id).state == end


def test_an_illegal_move_is_refused_and_changes_nothing() -> None:
    store = mlrun.open_store()
    run_id = pending(store)
    move(store, run_id, "running")
    move(store, run_id, "completed")
    for state in ("aborting", "pending", "error", "pending_retry", "aborted"):
        with pytest.raises(IllegalMove, match=f"is completed: it cannot become {state}"):
            move(store, run_id, state)
    assert mlrun.get_run(run_id).state == "completed"


def test_a_move_to_the_same_state_is_no_change() -> None:
    store = mlrun.open_store()
    run_id = pending(store)
    assert move(store, run_id, "pending") == "pending"


def test_a_move_of_a_run_that_is_not_there_says_so() -> None:
    with pytest.raises(NotFound, match="no run 'x'"):
        move(mlrun.open_store(), "x", "running")


def test_every_arrow_leads_to_a_state_that_has_arrows() -> None:
    assert {s for follows in FOLLOWS.values() for s in follows} <= set(FOLLOWS)


def test_an_announced_run_shows_what_it_will_be() -> None:
    store = mlrun.open_store()
    view = mlrun.get_run(pending(store))
    assert (view.state, view.name, view.project, view.params) == ("pending", "n", "p", {"lr": 0.1})
