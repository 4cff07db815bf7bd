"""States that two clients move at once: one over HTTP, one beside the store, or both over HTTP."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.errors import RowConflict
from mlrun.execution import states
from mlrun.execution.announce import announce
from mlrun.execution.states import IllegalMove, move
from mlrun.execution.task import Task
from mlrun.gatewaystore import GatewayStore
from mlrun.ids import uuid7
from mlrun.store import Store, open_store
from mlrun.tables import RUNS
from mlrun.wire import APPLY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlrun.testing.gatewaythread import GatewayThread


@pytest.fixture
def run_id() -> str:
    task = Task(uuid7(), "n", "p")
    announce(open_store(), task, state="running")
    return task.run_id


def moved_between(monkeypatch: pytest.MonkeyPatch, first: Callable[[], Any]) -> None:
    """Let somebody else move the state after it was looked at, and before it is changed."""
    look = states.state_of
    done: list[bool] = []

    def state_of(store: Store, row: dict[str, Any]) -> str:
        found = look(store, row)
        if not done:
            done.append(True)
            first()
        return found

    monkeypatch.setattr(states, "state_of", state_of)


@pytest.mark.parametrize("first", ["aborting", "completed"])
def test_of_a_client_and_one_beside_the_store_one_wins(
    serve: Callable[..., GatewayThread], run_id: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    remote = GatewayStore(serve(store).url)
    second = {"aborting": "error", "completed": "aborting"}[first]
    # as a client that has no lock of ours: from another host
    moved_between(
        monkeypatch,
        lambda: store.records.apply([("put", RUNS.name, {"run_id": run_id, "state": first})]),
    )
    if first == "completed":
        with pytest.raises(IllegalMove, match="is completed"):
            move(remote, run_id, second)
    else:
        assert move(remote, run_id, second) == "aborting"  # and not `running`
    [row] = store.records.lookup(RUNS, {"run_id": run_id})
    assert row["state"] == (first if first == "completed" else second)
    remote.close()


def test_two_who_end_a_run_over_http_do_not_both_win(
    serve: Callable[..., GatewayThread], run_id: str, tmp_path: Path
) -> None:
    url = serve(open_store()).url
    clients = [GatewayStore(url) for _ in range(4)]
    for number, client in enumerate(clients):  # each is a host with a spool of its own
        client.folder = tmp_path / f"spool-{number}"
    barrier, told = threading.Barrier(4), {}

    def end(number: int) -> None:
        barrier.wait()
        try:
            told[number] = move(clients[number], run_id, ("completed", "error")[number % 2])
        except IllegalMove as error:
            told[number] = f"refused: {error.state}"

    threads = [threading.Thread(target=end, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(told.values()).count("running") == 1
    [row] = open_store().records.lookup(RUNS, {"run_id": run_id})
    assert set(told.values()) == {"running", row["state"], f"refused: {row['state']}"}
    for client in clients:
        client.close()


def test_an_answer_that_was_lost_is_no_defeat(
    serve: Callable[..., GatewayThread], run_id: str
) -> None:
    remote = GatewayStore(serve(open_store()).url)
    apply = remote.records.apply

    def twice(ops: Any) -> None:
        apply(ops)
        apply(ops)  # as the connection does when it breaks before the answer

    remote.gateway.apply = twice
    assert move(remote, run_id, "completed") == "running"
    remote.close()


def test_a_condition_is_checked_over_http_and_told_as_a_conflict(
    serve: Callable[..., GatewayThread], run_id: str
) -> None:
    remote = GatewayStore(serve(open_store()).url)
    end: Any = ("put", "runs", {"run_id": run_id, "state": "error"})
    with pytest.raises(RowConflict, match="somebody else was first"):
        remote.records.apply([("expect", "runs", {"run_id": run_id, "state": ["lost"]}), end])
    bad: list[Any] = [["expect", "runs", {"run_id": run_id}], ["expect", "users", {"name": "u"}]]
    for op in bad:
        body = json.dumps({"ops": [op]}).encode()
        with pytest.raises(ValueError, match="op does not fit"):
            remote.gateway.http.send("POST", APPLY, body, again=False)
    remote.close()
