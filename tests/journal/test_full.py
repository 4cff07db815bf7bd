"""A full disk, a limit, a bound: points are dropped and counted, records say so, and both go on afterwards."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.config import Settings
from mlrun.journal import Writer, segment
from mlrun.journal.files import DICT, LOG, SEGMENT, list_slots, numbered
from mlrun.journal.snapshot import read_journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"cannot mount a small disk: {made.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def count(journal: Path, run_id: str = "r") -> int:
    rows: int = read_journal(journal).points("metrics", after={}, run_ids=[run_id]).num_rows
    return rows


def unlink_sealed(journal: Path) -> None:
    """Do what an absorber does."""
    for info in read_journal(journal).writers.values():
        done = [(s.number, k) for s in info.segments if s.sealed for k in (SEGMENT, DICT)]
        done += [(log.number, LOG) for log in info.logs if log.sealed]
        for number, kind in done:
            numbered(info.folder, number, kind).unlink()


def fill(disk: Path) -> Path:
    path = disk / "ballast"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)

    def write_for_ever() -> None:
        while True:
            os.write(fd, bytes(4096))

    with pytest.raises(OSError, match="No space"):
        write_for_ever()
    os.close(fd)
    return path


def test_a_full_disk_drops_and_counts_and_recovers(small_disk: Path) -> None:
    journal = small_disk / "journal"
    writer = Writer.open(journal, settings=Settings(), reserve_bytes=0)
    channel, other = writer.channel("p", "r"), writer.channel("p", "s")
    for i in range(20_000):
        assert channel.log({"a": i, "b": i}, i)
    assert other.log({"a": 1}, 1)
    dropped = writer.dropped["r"]
    assert dropped > 0
    assert writer.dropped["s"] == 1
    assert count(journal) + dropped == 40_000
    ballast = fill(small_disk)
    with pytest.raises(OSError, match="No space"):
        writer.record([("put", "runs", {"run_id": "x" * 8192})])
    ballast.unlink()
    unlink_sealed(journal)
    writer.record([("put", "runs", {"run_id": "y"})])
    until(lambda: channel.log({"a": 0.0}, 0) and count(journal) > 0)
    before = count(journal)
    kept = writer.dropped["r"]
    assert channel.log({"a": 1.0}, 1)
    assert count(journal) == before + 1
    assert writer.dropped["r"] == kept
    assert [ops[0][2]["run_id"] for _, _, ops in read_journal(journal).ops({}) if ops] == ["y"]
    writer.close()
    assert [f for f in read_journal(journal).findings if f.severity == "lost"] == []


def test_a_full_disk_still_seals_what_is_there(small_disk: Path) -> None:
    journal = small_disk / "journal"
    writer = Writer.open(journal, settings=Settings(), reserve_bytes=0)
    writer.channel("p", "r").log({"a": 1.0}, 0)
    writer.record([("put", "runs", {"run_id": "r"})])
    fill(small_disk)
    writer.close()
    (info,) = read_journal(journal).writers.values()
    assert [info.segments[0].sealed, info.logs[0].sealed] == [True, True]
    assert not info.alive


def test_a_disk_that_is_full_from_the_start_leaves_no_trail(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = Writer.open(journal, settings=Settings())
    channel = writer.channel("p", "r")
    writer.close()
    (journal / list_slots(journal)[0].name / "0000000099.rec").touch()  # not free any more
    monkeypatch.setattr("mlrun.journal.slots.write_owner", full)
    for i in range(50):
        assert channel.log({"a": 1.0}, i)
    assert writer.dropped == {"r": 50}
    assert len(list_slots(journal)) == 1
    monkeypatch.undo()
    until(lambda: channel.log({"a": 1.0}, 0) and count(journal) > 0)
    writer.close()


def test_a_file_size_limit_drops_and_counts(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from mlrun.config import Settings
from mlrun.journal import Writer
writer = Writer.open(Path(sys.argv[1]), settings=Settings())
channel = writer.channel("p", "r")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for i in range(10_000):
    assert channel.log({"a": i}, i)
try:
    for _ in range(200):
        writer.record([("put", "runs", {"run_id": "x" * 1000})])
except OSError as error:
    print("refused", error.errno)
writer.close()
print(writer.dropped.get("r", 0))
"""
    journal = tmp_path / "journal"
    done = subprocess.run(
        [sys.executable, "-c", code, str(journal)], capture_output=True, text=True, check=True
    )
    refused, dropped = done.stdout.splitlines()
    assert refused == f"refused {errno.EFBIG}"
    assert count(journal) + int(dropped) == 10_000
    assert len(list(read_journal(journal).ops({}))) > 50
    assert read_journal(journal, verify=True).findings == []


def test_a_smaller_segment_is_tried_before_points_are_dropped(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = segment.allocate

    def fragmented(fd: int, size: int) -> None:
        if size > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd, size)

    monkeypatch.setattr(segment, "allocate", fragmented)
    writer = Writer.open(journal, settings=Settings())
    channel = writer.channel("p", "r")
    for i in range(10_000):
        channel.log({"a": i}, i)
    assert writer.dropped == {}
    assert count(journal) == 10_000
    writer.close()


def test_without_fallocate_zeros_are_written(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    writer = Writer.open(journal, settings=Settings())
    channel = writer.channel("p", "r")
    for i in range(5_000):
        channel.log({"a": i}, i)
    for path in list_slots(journal)[0].glob("*.seg"):
        assert path.stat().st_blocks * 512 >= path.stat().st_size
    assert count(journal) == 5_000
    writer.close()


def test_the_spool_bound_drops_points_never_records(journal: Path) -> None:
    writer = Writer.open(journal, settings=Settings(spool_max_bytes=300_000))
    channel = writer.channel("p", "r")
    for i in range(30_000):
        assert channel.log({"a": i}, i)
    assert count(journal) + writer.dropped["r"] == 30_000
    assert 0 < count(journal) < 9_000
    for i in range(400):
        writer.record([("put", "runs", {"run_id": "x" * 1000, "iteration": i})])
    assert len([1 for _, _, ops in read_journal(journal).ops({}) if ops]) == 400
    assert sum(p.stat().st_size for p in journal.rglob("*.seg")) <= 300_000
    until(lambda: all(s.sealed for s in read_journal(journal).writers[writer.name].segments))
    unlink_sealed(journal)
    until(lambda: channel.log({"a": 1.0}, 0) and count(journal) > 0)
    writer.close()


def test_points_stop_when_the_reserve_of_the_disk_is_reached_and_go_on_later(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer.open(journal, settings=Settings())
    channel = writer.channel("p", "r")
    assert channel.log({"a": 1.0}, 0)
    real = os.statvfs

    class Full:
        def __init__(self, path: Any) -> None:
            self.f_frsize = 4096
            self.f_blocks = real(path).f_blocks
            self.f_bavail = 10

    monkeypatch.setattr(os, "statvfs", Full)
    until(lambda: channel.log({"a": 2.0}, 1) and "r" in writer.dropped)
    writer.record([("put", "runs", {"run_id": "r"})])
    assert len(list(read_journal(journal).ops({}))) == 1
    monkeypatch.setattr(os, "statvfs", real)
    stored = count(journal)
    until(lambda: channel.log({"a": 3.0}, 2) and count(journal) > stored)
    writer.close()


def test_a_small_disk_keeps_a_twentieth_free_not_a_gigabyte(small_disk: Path) -> None:
    writer = Writer.open(small_disk / "journal", settings=Settings())
    channel = writer.channel("p", "r")
    assert channel.log({"a": 1.0}, 0)
    assert count(small_disk / "journal") == 1
    assert writer.dropped == {}
    writer.close()
