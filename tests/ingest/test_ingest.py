"""The law of uploads, both sides in one process: real spools, a real store, and a line between them that fails."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import MlrunError, StoreBusy, StoreUnreachable
from mlrun.journal.absorb import absorb
from mlrun.journal.files import list_numbers, list_slots
from mlrun.journal.upload import START, Speaker, Upload, pack_upload
from mlrun.journal.uploadcut import cut_slot
from mlrun.journal.uploader import Uploader
from mlrun.journal.verify import verify_journal
from mlrun.journal.writer import Writer
from tests.ingest.conftest import House, run_ops, send_all

if TYPE_CHECKING:
    from pathlib import Path


def steps(house: House, run_id: str, key: str = "loss") -> list[int]:
    return mlrun.metrics(run_id, keys=[key], store=house.store)["step"].to_list()


def state(house: House, run_id: str) -> str:
    frame = mlrun.runs(store=house.store, where=f"run_id = '{run_id}'")
    return str(frame["state"][0])


def test_what_arrived_is_visible_when_it_is_acknowledged(house: House) -> None:
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    for step in range(100):
        channel.log({"loss": 1.0 / (step + 1), "acc": float(step)}, step)
    writer.text("p", "r", [(5, "stdout", "hello")])
    send_all(uploader)
    assert steps(house, "r") == list(range(100))
    assert mlrun.logs("r", store=house.store)["line"].to_list() == ["hello"]
    assert state(house, "r") == "running"
    writer.close()


def test_a_finished_writer_leaves_nothing_in_the_spool(house: House) -> None:
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    writer.channel("p", "r").log({"loss": 1.0}, 0)
    writer.text("p", "r", [(5, "stdout", "hello")])
    writer.record([("put", "runs", {"run_id": "r", "state": "completed"})])
    writer.close()
    send_all(uploader)
    assert not any(any(list_numbers(slot).values()) for slot in list_slots(spool.journal))
    assert not uploader.left()
    assert state(house, "r") == "completed"


def test_the_absorber_takes_what_arrived_and_the_slot_goes(house: House) -> None:
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer, state="completed"))
    channel = writer.channel("p", "r")
    for step in range(5_000):
        channel.log({"loss": float(step)}, step)
    writer.close()
    send_all(uploader)
    send_all(uploader)  # says that nobody lives
    absorb(house.store, wait=True)
    assert house.ingest is not None
    house.ingest._way.tidy()
    assert steps(house, "r") == list(range(5_000))
    assert list_slots(house.store.journal) == []


def test_many_segments_arrive_in_order_whatever_the_budget(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlrun.journal.uploader._BUDGET", 10_000)
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    for step in range(30_000):
        channel.log({f"k{step % 7}": float(step), "loss": float(step)}, step)
    writer.close()
    send_all(uploader)
    assert spool.http.sent > 50
    assert steps(house, "r") == list(range(30_000))


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_or_doubled_whatever_fails(house: House, seed: int) -> None:
    """Random faults between random writes; in the end every row is there once, and so is every record and line."""
    chance = random.Random(seed)
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    written = lines = 0
    for _ in range(60):
        for _ in range(chance.choice((0, 1, 50, 2_000))):
            channel.log({"loss": float(written)}, written)
            written += 1
        if chance.random() < 0.3:
            writer.text("p", "r", [(lines, "stdout", f"line {lines}")])
            lines += 1
        if chance.random() < 0.3:
            writer.record(
                [
                    (
                        "put",
                        "params",
                        {"run_id": "r", "key": f"k{written}", "value": "1", "type": "int"},
                    )
                ]
            )
        if chance.random() < 0.15:
            writer.close()
        fault = chance.random()
        spool.http.cut = fault < 0.1
        spool.http.deaf = 0.1 < fault < 0.3
        spool.http.twice = 0.3 < fault < 0.5
        if 0.5 < fault < 0.6:
            house.kill()
            if chance.random() < 0.5:
                absorb(house.store, wait=True)
            house.begin()
        if 0.6 < fault < 0.7:
            absorb(house.store, wait=True)
        if 0.7 < fault < 0.8:
            uploader = Uploader(spool)  # type: ignore[arg-type]
        if 0.8 < fault < 0.9:
            let_go_of_everybody(house)
        with contextlib.suppress(StoreUnreachable):
            uploader.step()
    spool.http.cut = spool.http.deaf = False
    writer.close()
    send_all(uploader)
    assert steps(house, "r") == list(range(written))
    assert mlrun.logs("r", store=house.store)["line"].to_list() == [
        f"line {i}" for i in range(lines)
    ]
    absorb(house.store, wait=True)
    assert steps(house, "r") == list(range(written))
    assert mlrun.logs("r", store=house.store)["line"].to_list() == [
        f"line {i}" for i in range(lines)
    ]
    count = mlrun.runs(store=house.store, where="run_id = 'r'", columns=["metrics.loss.count"])
    assert count.rows() == [(written,)]


def let_go_of_everybody(house: House) -> None:
    """Do what a long silence does."""
    assert house.ingest is not None
    done: Any = house.ingest._life
    for session in list(house.ingest._sessions.values()):
        done._let_go(session)


def test_a_silent_writer_is_lost_and_comes_back(house: House) -> None:
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    channel.log({"loss": 1.0}, 0)
    send_all(uploader)
    assert house.ingest is not None
    session = house.ingest._sessions[writer.name]
    session.heard -= 61
    house.ingest._life._looked = 0.0
    house.ingest._life.look()
    assert state(house, "r") == "lost"
    channel.log({"loss": 1.0}, 1)
    send_all(uploader)
    assert state(house, "r") == "running"
    let_go_of_everybody(house)
    assert state(house, "r") == "lost"
    absorb(house.store, wait=True)
    channel.log({"loss": 1.0}, 2)
    send_all(uploader)
    assert state(house, "r") == "running"
    assert steps(house, "r") == [0, 1, 2]
    writer.close()


def test_a_writer_that_died_is_lost_at_once(house: House) -> None:
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    send_all(uploader)
    assert state(house, "r") == "running"
    writer.close()  # without a word about its run
    send_all(uploader)
    send_all(uploader)
    assert state(house, "r") == "lost"


def test_repairs_leave_open_files_of_a_silent_writer_alone(house: House) -> None:
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    channel.log({"loss": 1.0}, 0)
    writer.text("p", "r", [(0, "stdout", "zero")])
    send_all(uploader)
    house.kill()
    verify_journal(house.store.journal, repair=True)
    absorb(house.store, wait=True)
    house.begin()
    channel.log({"loss": 1.0}, 1)
    writer.text("p", "r", [(1, "stdout", "one")])
    writer.close()
    send_all(uploader)
    assert steps(house, "r") == [0, 1]
    assert mlrun.logs("r", store=house.store)["line"].to_list() == ["zero", "one"]


def test_a_poisoned_upload_harms_its_sender_only(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two uploads are committed together, and the store takes one of them only."""
    assert house.ingest is not None
    bodies = []
    for name in ("good", "bad"):
        spool, _ = house.spool(name)
        writer = Writer.open(spool.journal)
        writer.record(run_ops(name, writer))
        parts = cut_slot(writer.folder / writer.name, START, 1 << 20).parts
        about = {writer.name: Speaker(1, "host", True)}
        bodies.append(b"".join(pack_upload(Upload("x" * 32, about, parts))))
        writer.close()
    real = house.store.records.apply

    def apply(ops: Any, **options: Any) -> None:
        if any(op[2].get("run_id") == "bad" for op in ops):
            raise ValueError("no store takes this")
        real(ops, **options)

    monkeypatch.setattr(house.store.records, "apply", apply)
    with house.ingest._changed:
        answers = [house.ingest.offer(house.caller, body) for body in bodies]
    assert answers[0].result(30)["refused"] == {}
    with pytest.raises(StoreBusy):
        answers[1].result(30)
    assert state(house, "good") == "running"


def test_two_spools_may_write_to_one_run(house: House) -> None:
    writers = []
    for name in ("one", "two"):
        spool, uploader = house.spool(name)
        writer = Writer.open(spool.journal)
        writer.record(run_ops("r", writer))
        channel = writer.channel("p", "r")
        for step in range(100):
            channel.log({name: float(step)}, step)
        writers.append((writer, uploader))
    for _, uploader in writers:
        send_all(uploader)
    for name in ("one", "two"):
        assert steps(house, "r", name) == list(range(100))
    for writer, _ in writers:
        writer.close()


def test_a_record_that_fits_no_table_is_set_aside_and_holds_up_nothing(house: House) -> None:
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record([("put", "tags", {"run_id": "r", "tag": 7})])
    writer.record(run_ops("r", writer))
    send_all(uploader)
    assert state(house, "r") == "running"
    assert "is string, not 7" in (house.store.journal / "rejected.jsonl").read_text()
    writer.close()


def test_what_a_restored_gateway_lacks_is_passed_over_and_the_rest_goes_on(
    house: House, tmp_path: Path
) -> None:
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    for step in range(
        3_000
    ):  # more than the first segment holds: the part that arrived whole is gone here
        channel.log({"loss": float(step)}, step)
    send_all(uploader)
    house.close()
    later = House(tmp_path / "restored")
    spool.http.take = later.take
    try:
        channel.log({"loss": 1.0}, 3_000)
        for _ in range(4):
            send_all(uploader)
        found = steps(later, "r")
        assert found[-1] == 3_000
        assert found == sorted(set(found))
    finally:
        writer.close()
        later.close()
        house.begin()


def test_a_fault_of_the_store_is_told_and_sent_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    writer.channel("p", "r").log({"loss": 1.0}, 0)
    real = house.store.records.apply
    calls = 0

    def failing(*args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        real(*args, **options)

    monkeypatch.setattr(house.store.records, "apply", failing)
    with pytest.raises(MlrunError, match="No space left"):
        uploader.step()
    send_all(uploader)
    assert steps(house, "r") == [0]
    assert state(house, "r") == "running"
    writer.close()
