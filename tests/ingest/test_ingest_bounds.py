"""What happens where there is no room: in the spool, on the gateway's disk, in its queue."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.config import settings
from mlrun.errors import StoreBusy
from mlrun.journal.upload import Speaker, Upload, pack_upload
from mlrun.journal.writer import Writer
from tests.ingest.conftest import House, run_ops, send_all

if TYPE_CHECKING:
    from pathlib import Path


def steps(house: House, run_id: str) -> list[int]:
    return mlrun.metrics(run_id, keys=["loss"], store=house.store)["step"].to_list()


def test_a_bounded_spool_drops_points_counts_them_and_goes_on(house: House) -> None:
    spool, uploader = house.spool()
    bound = settings(spool_max_bytes=400_000)
    writer = Writer.open(spool.journal, settings=bound)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    spool.http.cut = True
    for step in range(50_000):
        channel.log({"loss": 1.0}, step)
        if not step % 5_000:
            tag = {"run_id": "r", "tag": f"at {step}"}
            writer.record([("put", "tags", tag)])  # records are never dropped
    assert 0 < writer.dropped["r"] < 50_000
    spool.http.cut = False
    written = 50_000
    for _ in range(200):  # until the keeper has seen that there is room again
        send_all(uploader)
        before = writer.dropped["r"]
        channel.log({"loss": 1.0}, written)
        written += 1
        if writer.dropped["r"] == before:
            break
        time.sleep(0.05)
    writer.close()
    send_all(uploader)
    assert len(steps(house, "r")) == written - writer.dropped["r"]
    assert steps(house, "r")[-1] == written - 1
    tags = mlrun.runs(store=house.store, where="run_id = 'r'", columns=["tags"])["tags"][0]
    assert len(tags) == 10


def test_uploads_are_refused_while_too_much_waits(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlrun.app.ingest._QUEUE_BYTES", 10)
    upload = Upload("x" * 32, {"w-0123456789ab": Speaker(1, "h", True)}, [])
    with pytest.raises(StoreBusy):
        house.take(b"".join(pack_upload(upload)))


def test_a_full_disk_of_the_gateway_refuses_and_loses_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        house.kill()
        house.options["reserve"] = 1 << 60
        house.begin()
        way: Any = house.ingest._way  # type: ignore[union-attr]
        real = way._need_room

        def full(size: int) -> None:
            raise StoreBusy("the gateway's disk is full")

        way._need_room = full
        spool, uploader = house.spool()
        writer = Writer.open(spool.journal)
        writer.record(run_ops("r", writer))
        writer.channel("p", "r").log({"loss": 1.0}, 0)
        with pytest.raises(StoreBusy):
            uploader.step()
        way._need_room = real
        house.kill()
        house.options["reserve"] = 0
        house.begin()
        send_all(uploader)
        assert steps(house, "r") == [0]
        writer.close()
    finally:
        house.close()
