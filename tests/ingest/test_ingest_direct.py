"""Uploads into a store that commits every batch: nothing of a writer stays with the gateway."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.ingest_direct import Direct
from mlrun.errors import MlrunError, StoreUnreachable
from mlrun.journal.files import list_slots
from mlrun.journal.uploader import Uploader
from mlrun.journal.writer import Writer
from tests.ingest.conftest import House, run_ops, send_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.clickhouse, pytest.mark.xdist_group("clickhouse")]


@pytest.fixture
def direct(tmp_path: Path, clickhouse_url: str) -> Iterator[House]:
    house = House(tmp_path, series=clickhouse_url)
    yield house
    house.close()


def steps(house: House, run_id: str = "r") -> list[int]:
    return mlrun.metrics(run_id, keys=["loss"], store=house.store)["step"].to_list()


def count(house: House) -> int:
    frame = mlrun.runs(store=house.store, where="run_id = 'r'", columns=["metrics.loss.count"])
    return int(frame.item())


def test_rows_lines_and_summaries_are_there_when_they_are_acknowledged(direct: House) -> None:
    assert direct.ingest is not None
    assert isinstance(direct.ingest._way, Direct)
    spool, uploader = direct.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    system = writer.channel("p", "r", "system_metrics")
    for step in range(500):
        channel.log({"loss": float(step)}, step)
        system.log({"cpu": 1.0}, step)
    writer.text("p", "r", [(1, "stdout", "one"), (2, "stdout", "two")])
    send_all(uploader)
    assert steps(direct) == list(range(500))
    assert count(direct) == 500
    assert mlrun.logs("r", store=direct.store)["line"].to_list() == ["one", "two"]
    assert list_slots(direct.store.journal) == []
    writer.close()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_doubled_whatever_fails(direct: House, seed: int) -> None:
    chance = random.Random(seed)
    spool, uploader = direct.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    real = direct.store.records.apply
    written = lines = 0
    for _ in range(25):
        for _ in range(chance.choice((0, 1, 50, 1_500))):
            channel.log({"loss": float(written)}, written)
            written += 1
        if chance.random() < 0.3:
            writer.text("p", "r", [(lines, "stdout", f"line {lines}")])
            lines += 1
        if chance.random() < 0.1:
            writer.close()
        fault = chance.random()
        spool.http.cut = fault < 0.1
        spool.http.deaf = 0.1 < fault < 0.3
        spool.http.twice = 0.3 < fault < 0.4
        if 0.4 < fault < 0.5:
            direct.kill()
            direct.begin()
        if 0.5 < fault < 0.6:
            uploader = Uploader(spool)  # type: ignore[arg-type]  # it has what an uploader needs
        if 0.6 < fault < 0.9:
            _fail_after(direct, chance.randrange(1, 3))
        with contextlib.suppress(StoreUnreachable, MlrunError):
            uploader.step()
        direct.store.records.apply = real  # type: ignore[method-assign]
    spool.http.cut = spool.http.deaf = spool.http.twice = False
    writer.close()
    send_all(uploader)
    assert steps(direct) == list(range(written))
    assert count(direct) == written
    found = mlrun.logs("r", store=direct.store)["line"].to_list()
    assert found == [f"line {i}" for i in range(lines)]


def _fail_after(house: House, calls: int) -> None:
    """Let the records store fail as a gateway does that dies after rows were appended, before marks were moved."""
    records: Any = house.store.records
    real, left = records.apply, [calls]

    def failing(*args: Any, **options: Any) -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(5, "the machine is gone")
        real(*args, **options)

    records.apply = failing


def test_two_gateways_serve_one_store(direct: House, tmp_path: Path) -> None:
    from mlrun.app.ingest import Ingest
    from mlrun.store import Store

    other = Ingest(
        Store(
            tmp_path / "other",
            records=f"sqlite:///{direct.store.folder}/mlrun.db",
            series=direct.store._urls["series"],
        )
    )
    try:
        spool, uploader = direct.spool()
        writer = Writer.open(spool.journal)
        writer.record(run_ops("r", writer))
        channel = writer.channel("p", "r")
        takes = [direct.take, lambda body: other.offer(direct.caller, body).result(30)]
        for step in range(40):
            channel.log({"loss": float(step)}, step)
            spool.http.take = takes[step % 2]
            with contextlib.suppress(MlrunError):
                uploader.step()
        writer.close()
        spool.http.take = direct.take
        for _ in range(5):
            with contextlib.suppress(MlrunError):
                send_all(uploader)
                break
        assert steps(direct) == list(range(40))
        assert count(direct) == 40
    finally:
        other.close()
