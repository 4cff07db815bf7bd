"""What SIGKILL leaves: every row of every call that returned, once."""

from __future__ import annotations

import os
import random
import signal
import struct
import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from mlrun.config import Settings
from mlrun.journal import Writer
from mlrun.journal.files import list_slots
from mlrun.journal.slots import adopt
from mlrun.journal.snapshot import JournalSnapshot, read_journal
from mlrun.journal.verify import verify_journal

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.contracts import Mark

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


def log_for_ever(journal: Path, name: str, ack: int) -> None:
    """Log and record, saying after each call on `ack` that it returned."""
    writer = Writer.open(journal, settings=Settings())
    channel = writer.channel("p", name)
    step = 0
    while True:
        step += 1
        channel.log({"a": step, "b": -step, f"k{step % 97}": 0.5}, step)
        if step % 64 == 0:
            writer.record([("put", "results", {"run_id": name, "num": step})])
        os.write(ack, struct.pack("q", step))


def start(journal: Path, name: str) -> tuple[int, int]:
    reader, ack = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            log_for_ever(journal, name, ack)
        finally:
            os._exit(1)
    os.close(ack)
    return pid, reader


def drain(reader: int, into: list[int]) -> None:
    data = os.read(reader, 1 << 16)
    into += [step for (step,) in struct.iter_unpack("q", data)]


def check(snapshot: JournalSnapshot, name: str, acknowledged: int) -> int:
    """Every acknowledged call is there whole, at most one more is, nothing is doubled. Returns the last step."""
    table = snapshot.points("metrics", after={}, run_ids=[name])
    steps = table.column("step").to_pylist()
    last = len(steps) // 3
    assert steps == [s for s in range(1, last + 1) for _ in range(3)]
    assert acknowledged <= last
    values = table.column("value").to_pylist()
    assert values[0::3] == [float(s) for s in range(1, last + 1)]
    assert values[1::3] == [float(-s) for s in range(1, last + 1)]
    seqs = table.column("seq").to_pylist()
    assert all(a < b for a, b in pairwise(seqs))
    return last


def recorded(snapshot: JournalSnapshot, name: str) -> list[int]:
    return [op[2]["num"] for _, _, ops in snapshot.ops({}) for op in ops if op[2]["run_id"] == name]


@pytest.mark.parametrize(("writers", "rounds"), [(1, 24), (3, 8)])
def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(
    tmp_path: Path, writers: int, rounds: int
) -> None:
    chance = random.Random(writers)
    for turn in range(rounds):
        journal = tmp_path / f"journal-{turn}"
        names = [f"r{i}" for i in range(writers)]
        started = [start(journal, name) for name in names]
        acks: list[list[int]] = [[] for _ in names]
        end = time.monotonic() + chance.random() * 0.12
        try:
            for (_, reader), got in zip(started, acks, strict=True):
                drain(reader, got)  # the first call has returned
            while time.monotonic() < end:
                for (_, reader), got in zip(started, acks, strict=True):
                    drain(reader, got)
                live = read_journal(journal)
                for name, got in zip(names, acks, strict=True):
                    check(live, name, got[-1])
                assert live.findings == []
        finally:
            for pid, _ in started:
                os.kill(pid, signal.SIGKILL)
            for pid, _ in started:
                os.waitpid(pid, 0)
        for (_, reader), got in zip(started, acks, strict=True):
            while got and (before := len(got)) is not None:
                drain(reader, got)
                if len(got) == before:
                    break
            os.close(reader)
        dead = read_journal(journal)
        lasts = []
        for name, got in zip(names, acks, strict=True):
            lasts.append(check(dead, name, got[-1]))
            assert got[-1] >= lasts[-1] - 1
            assert recorded(dead, name)[: got[-1] // 64] == list(range(64, got[-1] + 1, 64))
        assert not any(info.alive for info in dead.writers.values())
        for slot in list_slots(journal):
            with adopt(slot) as adoption:
                assert adoption is not None
        sealed = read_journal(journal, verify=True)
        assert sealed.findings == []
        assert [check(sealed, n, a[-1]) for n, a in zip(names, acks, strict=True)] == lasts
        assert all(s.sealed for i in sealed.writers.values() for s in i.segments)
        assert verify_journal(journal) == []


def test_no_record_is_seen_twice_by_a_reader_that_follows(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    pid, reader = start(journal, "r0")
    seen: Counter[int] = Counter()
    marks: dict[str, Mark] = {}
    try:
        got: list[int] = []
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            drain(reader, got)
            for name, mark, ops in read_journal(journal).ops(marks):
                marks[name] = mark
                seen.update(op[2]["num"] for op in ops)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
    for _, _, ops in read_journal(journal).ops(marks):
        seen.update(op[2]["num"] for op in ops)
    assert len(seen) > 2
    assert seen == Counter(range(64, 64 * len(seen) + 1, 64))
