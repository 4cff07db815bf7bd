"""Marks of writers that have said farewell go, and nothing is taken twice because of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.ingest_forget import forget
from mlrun.errors import UploadRefused
from mlrun.journal.absorb import absorb
from mlrun.journal.writer import Writer
from tests.ingest.conftest import House, run_ops, send_all

if TYPE_CHECKING:
    from mlrun.journal.uploader import Uploader
    from mlrun.testing.uploads import Spool


def play(spool: Spool, run_id: str, rows: int = 10) -> tuple[str, int]:
    """Log to a run and end it, without sending anything; returns slot and claim."""
    writer = Writer.open(spool.journal)
    writer.record(run_ops(run_id, writer))
    channel = writer.channel("p", run_id)
    for step in range(rows):
        channel.log({"loss": float(step)}, step)
    writer.text("p", run_id, [(5, "stdout", "hello")])
    writer.record([("put", "runs", {"run_id": run_id, "state": "completed"})])
    held = writer.name, writer.claim
    writer.close()
    return held


def noted(spool: Spool) -> list[bytes]:
    """Return a list to which every body is added that is sent from now on."""
    sent: list[bytes] = []
    send = spool.gateway.http.send

    def keep(method: str, path: str, body: bytes, *rest: Any, **more: Any) -> Any:
        sent.append(bytes(body))
        return send(method, path, body, *rest, **more)

    spool.gateway.http.send = keep  # type: ignore[method-assign]
    return sent


def let_go(house: House, uploader: Uploader) -> None:
    """Send everything, say farewell, absorb, and remove the slot."""
    send_all(uploader)
    assert uploader.step() is False
    absorb(house.store, wait=True)
    assert house.ingest is not None
    house.ingest._way.tidy()


def told(house: House, run_id: str) -> tuple[int, int, list[str]]:
    """Return how many points a run has, how many its summary counts, and its lines."""
    points = mlrun.metrics(run_id, store=house.store)
    counts = mlrun.get_run(run_id, store=house.store).summaries["count"].to_list()
    return points.height, sum(counts), mlrun.logs(run_id, store=house.store)["line"].to_list()


def test_a_writer_that_said_farewell_is_forgotten_and_its_slot_goes_on(house: House) -> None:
    spool, uploader = house.spool()
    name, claim = play(spool, "r")
    let_go(house, uploader)
    assert forget(house.store) == 0  # it is not long ago
    assert forget(house.store, days=-1) == 1
    assert house.store.records.marks() == {}
    assert told(house, "r") == (10, 10, ["hello"])
    assert play(spool, "s") == (name, claim + 1)
    let_go(house, uploader)
    assert told(house, "r") == (10, 10, ["hello"])
    assert told(house, "s") == (10, 10, ["hello"])


def test_what_is_sent_again_after_that_is_refused(house: House) -> None:
    spool, uploader = house.spool()
    sent = noted(spool)
    play(spool, "r")
    let_go(house, uploader)
    assert forget(house.store, days=-1) == 1
    for again in sent:
        with pytest.raises(UploadRefused, match="has arrived long ago"):
            house.take(again)
    assert told(house, "r") == (10, 10, ["hello"])
    assert house.store.records.marks() == {}


def test_what_comes_again_before_that_is_passed_over(house: House) -> None:
    spool, uploader = house.spool()
    sent = noted(spool)
    play(spool, "r")
    let_go(house, uploader)
    for again in sent[:-1]:
        house.take(again)
    assert forget(house.store, days=-1) == 0  # it was heard again
    house.take(sent[-1])
    assert house.ingest is not None
    house.ingest._way.tidy()
    assert forget(house.store, days=-1) == 1
    assert told(house, "r") == (10, 10, ["hello"])


def test_a_writer_without_a_farewell_is_never_forgotten(house: House) -> None:
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    channel.log({"loss": 1.0}, 0)
    send_all(uploader)
    before = house.store.records.marks()
    assert forget(house.store, days=-1) == 0
    assert house.store.records.marks() == before
    writer.close()


def test_a_writer_whose_points_wait_for_the_absorber_is_not_forgotten(house: House) -> None:
    spool, uploader = house.spool()
    play(spool, "r")
    send_all(uploader)
    uploader.step()
    assert forget(house.store, days=-1) == 0
    assert told(house, "r") == (10, 10, ["hello"])
