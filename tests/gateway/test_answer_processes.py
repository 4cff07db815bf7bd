"""Answers from processes beside the gateway's: the same, also when one of them dies in the middle."""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.answered import Form
from mlrun.app.answering import ANSWERS
from mlrun.app.answerpool import AnswerPool, Asked
from mlrun.app.child import Child, Children, Limits
from mlrun.app.options import Options
from mlrun.app.pool import Pool
from mlrun.errors import NotFound, QueryError, StoreBusy, StoreError, WhereError
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
    found: list[int] = gateway.answers.processes()
    return found


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


def test_whoever_has_written_sees_it_whatever_others_ask_meanwhile(
    store: tuple[GatewayStore, Any],
) -> None:
    remote, _ = store
    done = threading.Event()

    def ask() -> None:
        own = GatewayStore(remote.url)
        while not done.is_set():
            mlrun.runs(store=own)
            mlrun.metrics("a", points=10, store=own)
        own.close()

    others = [threading.Thread(target=ask) for _ in range(6)]
    for other in others:
        other.start()
    try:
        with mlrun.init("p", "b") as run:
            for step in range(40):
                run.log({"x": float(step)}, step)
                assert mlrun.metrics(run.id, points=100, store=remote)["step"][-1] == step
                run.config["step"] = step
                assert mlrun.get_run(run.id, store=remote).params["step"] == step
    finally:
        done.set()
        for other in others:
            other.join()


def test_what_waits_shares_a_look_and_the_same_question_one_answer(own_folder: Any) -> None:
    with mlrun.init("p", "a") as run:
        run.log({"x": 1.0})
    asked = queue.SimpleQueue[tuple[str, bool]]()
    kept = threading.Event()

    class Held(Child):  # type: ignore[misc]  # mypy does not know the wings by this name
        def ask(self, sent: bytes, limits: Limits) -> tuple[int, bytes]:
            question, anew = pickle.loads(sent)
            asked.put((question.arguments[0] if question else "", anew))
            kept.wait(30)
            found: tuple[int, bytes] = super().ask(sent, limits)
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlrun.app.answerpool.Child", Held)
        pool = AnswerPool(open_store(), Options(answer_processes=1), Pool("none", 1, 1))
        first = pool._queued(question("projects"))
        assert asked.get(timeout=30) == ("projects", True)
        later = [pool._queued(question(name)) for name in ("runs", "projects", "runs")]
        assert pool.busy == 4
        kept.set()
        bodies = [found.result(30).body for found in (first, *later)]
    # the first of those that waited takes a new look, the others share it; then none is kept
    assert [asked.get(timeout=30) for _ in range(3)] == [
        ("runs", True), ("projects", False), ("", True),
    ]  # fmt: skip
    assert bodies[1] == bodies[3]
    assert pool.busy == 0
    pool.close()
    assert pool.processes() == []
    with pytest.raises(StoreBusy, match="is stopping"):
        pool._queued(question("runs"))


def question(noun: str) -> Asked:
    return Asked("ask", (noun, b"{}"), None, "URL", Form())


def test_what_takes_too_long_is_given_up(own_folder: Any) -> None:
    mlrun.init("p", "a").finish()
    told = Children(
        "mlrun.app.answerchild",
        open_store(),
        1,
        Limits(0.2, 8 << 30, lambda what: QueryError(what)),
    )
    with pytest.raises(QueryError, match=r"0\.2 s"):  # it takes longer to start
        told.run((Asked("ask", ("runs", b"{}"), None, "URL", Form()), True))
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
