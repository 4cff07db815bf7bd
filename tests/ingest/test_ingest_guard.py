"""Bounds of an ingest: metric keys of a run, points a second; records are never left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.figures import Figures
from mlrun.app.ingest_guard import Guard
from mlrun.app.limits import Limits
from mlrun.care.doctor import examine
from mlrun.errors import RateLimited
from mlrun.journal.absorb import absorb
from mlrun.journal.writer import Writer
from mlrun.tables import POLICIES
from tests.ingest.conftest import House, run_ops, send_all

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl


def guarded(house: House, most: int) -> Figures:
    house.kill()
    figures = Figures()
    house.options["guard"] = Guard(house.store.records, most, figures)
    house.begin()
    return figures


def logged(house: House, keys: int, steps: int = 3) -> Any:
    """Log metrics of so many keys, one key after the other joining in, and send them."""
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    for step in range(steps):
        channel.log({f"k{n}": float(step) for n in range(keys)}, step)
    channel.log({"k0": 9.0, "late": 1.0}, steps)
    writer.record([("put", "params", {"run_id": "r", "key": "lr", "value": "1", "type": "int"})])
    writer.record([("put", "runs", {"run_id": "r", "state": "completed", "dropped": None})])
    writer.close()
    send_all(uploader)
    return uploader


def points(house: House) -> pl.DataFrame:
    return mlrun.metrics("r", store=house.store)


def check(house: House, uploader: Any, figures: Figures) -> None:
    found = points(house)
    assert found["key"].unique().sort().to_list() == [f"k{n}" for n in range(5)]
    assert found.height == 3 * 5 + 1  # what has a key goes on
    row = mlrun.runs(store=house.store).row(0, named=True)
    assert (row["state"], row["dropped"], row["params.lr"]) == ("completed", 3 * 3 + 1, 1)
    assert uploader._dropped == {"r": 10}
    told = figures.text()
    assert "mlrun_ingest_dropped_total 10" in told
    assert "mlrun_ingest_many_keys_total 1" in told


def test_a_run_gets_no_more_keys_than_it_may_have(house: House) -> None:
    figures = guarded(house, 5)
    uploader = logged(house, 8)
    check(house, uploader, figures)
    absorb(house.store, wait=True)
    check(house, uploader, figures)
    assert [f for f in examine(house.store) if f.severity != "note"] == []


@pytest.mark.clickhouse
@pytest.mark.xdist_group("clickhouse")
def test_also_where_every_batch_is_committed(tmp_path: Path, clickhouse_url: str) -> None:
    house = House(tmp_path, series=clickhouse_url)
    figures = guarded(house, 5)
    check(house, logged(house, 8), figures)
    house.close()


def test_a_policy_counts_for_more_than_the_gateway_s_bound(house: House) -> None:
    house.store.records.apply([("put", POLICIES.name, {"project": "p", "max_metric_keys": 2})])
    guarded(house, 5)
    logged(house, 8)
    assert points(house)["key"].unique().sort().to_list() == ["k0", "k1"]


def test_keys_that_a_run_has_from_before_are_counted(house: House) -> None:
    guarded(house, 5)
    logged(house, 4)
    absorb(house.store, wait=True)
    guarded(house, 5)
    spool, uploader = house.spool("another")
    writer = Writer.open(spool.journal)
    channel = writer.channel("p", "r")
    channel.log({"k1": 5.0, "new": 1.0, "newer": 1.0}, 7)
    writer.close()
    send_all(uploader)
    assert points(house)["key"].unique().sort().to_list() == ["k0", "k1", "k2", "k3", "late"]


def test_a_bucket_that_is_empty_fills_again() -> None:
    now = [0.0]
    figures = Figures()
    limits = Limits(figures, clock=lambda: now[0])
    limits.take("points", "ann", 5_000, 1_000.0)  # more than the bucket holds: a debt
    with pytest.raises(RateLimited, match="ann sends more than 1,000 points") as error:
        limits.take("points", "ann", 1, 1_000.0)
    limits.take("points", "bob", 1, 1_000.0)
    now[0] += error.value.seconds
    limits.take("points", "ann", 1, 1_000.0)
    assert error.value.seconds == pytest.approx(3.001)
    assert 'mlrun_rate_limited_total{what="points"} 1' in figures.text()


def test_an_upload_that_comes_too_soon_is_sent_again(house: House) -> None:
    house.kill()
    refused: list[int] = []

    def admit(caller: Any, count: int, shares: Any) -> None:
        if len(refused) < 3:
            refused.append(count)
            raise RateLimited("a moment", 0.0)

    house.options["admit"] = admit
    house.begin()
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    writer.channel("p", "r").log({"loss": 1.0}, 0)
    writer.close()
    for _ in range(3):
        with pytest.raises(RateLimited):
            uploader.step()
    send_all(uploader)
    assert (points(house).height, refused) == (1, [1, 1, 1])
