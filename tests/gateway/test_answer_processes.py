"""Answers from processes beside the gateway's: the same, also when one of them dies in the middle."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.answering import ANSWERS
from mlrun.app.child import Children, Limits
from mlrun.errors import NotFound, QueryError, StoreError, WhereError
from mlrun.gatewaystore import GatewayStore
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.testing.gatewaythread import GatewayThread


@pytest.fixture
def store(serve: Callable[..., GatewayThread]) -> Iterator[tuple[GatewayStore, Any]]:
    with mlrun.init("p", "a", {"lr": 0.1}) as run:
        run.log({"loss": float("nan"), "acc": 0.5}, step=3)
    thread = serve(answer_processes=1)
    found = GatewayStore(thread.url)
    yield found, thread.gateway
    found.close()


def children(gateway: Any) -> list[int]:
    return [child._process.pid for child in gateway.answers._children._idle]


def test_answers_and_errors_are_the_same(store: tuple[GatewayStore, Any]) -> None:
    remote, gateway = store
    assert mlrun.runs(store=remote).equals(mlrun.runs())
    view = mlrun.get_run("a", store=remote)
    assert view.params == {"lr": 0.1}
    assert view.metrics().equals(mlrun.get_run("a").metrics())
    for ask in (
        lambda where: mlrun.runs(where="metrics.acc >", store=where),
        lambda where: mlrun.get_run("nobody", store=where),
    ):
        told = []
        for where in (remote, open_store()):
            with pytest.raises((WhereError, NotFound)) as raised:
                ask(where)
            told.append((type(raised.value), str(raised.value).replace(where.url, "URL")))
        assert told[0] == told[1]
    assert len(children(gateway)) == 1


def test_a_process_that_dies_is_replaced(store: tuple[GatewayStore, Any]) -> None:
    remote, gateway = store
    assert mlrun.runs(store=remote).height == 1
    [before] = children(gateway)
    os.kill(before, signal.SIGKILL)
    assert mlrun.runs(store=remote).height == 1
    [after] = children(gateway)
    assert after != before
    os.kill(after, signal.SIGSTOP)  # it lives, is asked, and dies in the middle
    try:
        os.kill(after, signal.SIGKILL)
        assert mlrun.runs(store=remote).height == 1
    finally:
        assert after not in children(gateway)


def test_what_takes_too_long_is_given_up(own_folder: Any) -> None:
    mlrun.init("p", "a").finish()
    told = Children(
        "mlrun.app.answerchild",
        open_store(),
        1,
        Limits(0.2, 8 << 30, lambda what: QueryError(what)),
    )
    with pytest.raises(QueryError, match=r"0\.2 s"):  # it takes longer to start
        told.run(("ask", ("runs", b"{}"), None, "URL"))
    assert told._idle == []
    told.close()


def test_an_error_that_is_not_ours_shows_nothing_of_this_machine(
    serve: Callable[..., GatewayThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("/a/path/of/the/host")

    monkeypatch.setitem(ANSWERS, "ask", fail)
    remote = GatewayStore(serve().url)
    with pytest.raises(StoreError, match="its log says why") as raised:
        mlrun.runs(store=remote)
    assert "path" not in json.dumps(str(raised.value))
    remote.close()
