from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from mlrun.config import Settings
from mlrun.contracts import Mark
from mlrun.journal import Writer
from mlrun.journal.files import list_slots
from mlrun.journal.snapshot import read_journal
from mlrun.journal.verify import verify_journal, verify_segment
from mlrun.tables import LOGS, METRICS

if TYPE_CHECKING:
    from pathlib import Path


def fill(writer: Writer, calls: int = 4_000) -> None:
    channels = [writer.channel("p", f"r{i}") for i in range(3)]
    for i in range(calls):
        channels[i % 3].log({"a": i, f"k{i % 5}": -i}, i)


@pytest.fixture
def closed(journal: Path) -> Path:
    """The slot of a writer that wrote three sealed segments or more, a log and some text."""
    writer = Writer.open(journal, settings=Settings())
    fill(writer)
    writer.record([("put", "runs", {"run_id": "r0"})])
    writer.text("p", "r0", [(1, "stdout", "x")])
    name = writer.name
    writer.close()
    return journal / name


def test_the_columns_are_those_of_the_tables(journal: Path, closed: Path) -> None:
    snapshot = read_journal(journal)
    table = snapshot.points("metrics", after={})
    plain = pa.schema([pa.field(f.name, _decoded(f.type), f.nullable) for f in table.schema])
    assert plain == METRICS.schema
    assert snapshot.text(after={}).schema == LOGS.schema
    assert (
        snapshot.points("metrics", after={}, run_ids=[]).schema
        == snapshot.points("system_metrics", after={}).schema
    )


def _decoded(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def test_an_absent_journal_is_empty(journal: Path) -> None:
    snapshot = read_journal(journal)
    assert snapshot.writers == {}
    assert snapshot.points("metrics", after={}).num_rows == 0
    assert snapshot.text(after={}).num_rows == 0
    assert list(snapshot.ops({})) == []


def test_a_whole_segment_is_read_where_it_lies(journal: Path, writer: Writer) -> None:
    channel = writer.channel("p", "r")
    for i in range(60_000):
        channel.log({"a": float(i)}, i)
    column = read_journal(journal).points("metrics", after={}, run_ids=["r"]).column("value")
    before = pa.total_allocated_bytes()
    total = sum(int(np.asarray(chunk).sum()) for chunk in column.chunks)
    assert total == sum(range(60_000))
    assert pa.total_allocated_bytes() == before
    assert not np.asarray(column.chunks[-1]).flags.owndata


@given(
    runs=st.none() | st.sets(st.sampled_from(["r0", "r1", "r2", "none"])),
    keys=st.none() | st.sets(st.sampled_from(["a", "k0", "k1", "none"])),
    skip=st.integers(0, 8_100),
)
@settings(max_examples=40)
def test_filters_and_marks_agree_with_a_plain_scan(
    shared_journal: Path, runs: set[str] | None, keys: set[str] | None, skip: int
) -> None:
    snapshot = read_journal(shared_journal)
    (writer,) = snapshot.writers
    every = list(snapshot.rows("metrics", after={}))
    seq = every[skip][-1] if skip < len(every) else every[-1][-1] + 1
    mark = Mark(segment=seq >> 32, row=seq & 0xFFFF_FFFF)
    found = snapshot.points("metrics", after={writer: mark}, run_ids=runs, keys=keys)
    columns = [found.column(i) for i in range(len(METRICS.columns))]
    columns[4] = columns[4].cast(pa.int64())
    rows = list(zip(*(c.to_pylist() for c in columns), strict=True))
    assert rows == [
        r for r in every[skip:] if (runs is None or r[1] in runs) and (keys is None or r[2] in keys)
    ]
    assert list(snapshot.rows("metrics", after={writer: mark})) == every[skip:]
    assert snapshot.waiting_rows({writer: mark}) == len(every[skip:])


@pytest.fixture(scope="module")
def shared_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    journal = tmp_path_factory.mktemp("shared") / "journal"
    writer = Writer.open(journal, settings=Settings())
    fill(writer)
    writer.close()
    return journal


def test_a_segment_mark_covers_whole_segments(journal: Path, closed: Path) -> None:
    snapshot = read_journal(journal)
    numbers = [s.number for s in snapshot.writers[closed.name].segments]
    assert len(numbers) > 2
    for i, number in enumerate(numbers):
        found = snapshot.points("metrics", after={closed.name: number})
        seqs = found.column("seq").to_pylist()
        assert {s >> 32 for s in seqs} == set(numbers[i + 1 :])


def test_a_snapshot_stays_as_it_was_also_after_unlink(journal: Path, writer: Writer) -> None:
    fill(writer)
    writer.record([("put", "runs", {"run_id": "before"})])
    snapshot = read_journal(journal)
    fill(writer)
    writer.record([("put", "runs", {"run_id": "after"})])
    for path in (journal / writer.name).glob("0*"):
        path.unlink(missing_ok=True)  # the writer takes its spare segments away itself
    assert snapshot.points("metrics", after={}).num_rows == 8_000
    assert [ops[0][2]["run_id"] for _, _, ops in snapshot.ops({})] == ["before"]
    assert snapshot.findings == []


@pytest.mark.parametrize("pattern", ["*.seg", "*.rec", "*.txt", "*"])
def test_files_that_vanish_between_listing_and_opening_were_absorbed(
    journal: Path, closed: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    from mlrun.journal import snapshot as module

    real = module._list_settled

    def absorbed_just_now(folder: Path) -> dict[str, list[int]]:
        found = real(folder)
        for path in folder.glob("0" + pattern):
            path.unlink()
        return found

    monkeypatch.setattr(module, "_list_settled", absorbed_just_now)
    snapshot = read_journal(journal)
    assert snapshot.findings == []
    assert snapshot.points("metrics", after={}).num_rows == (
        8_000 if "seg" not in pattern and pattern != "*" else 0
    )


def test_a_listing_without_a_hole(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing may show a younger file and miss an older one that was made while it ran."""
    from mlrun.journal import snapshot as module

    listings = iter([{".seg": [1, 3]}, {".seg": [1, 2, 3, 4]}])
    monkeypatch.setattr(module, "list_numbers", lambda folder: next(listings))
    assert module._list_settled(journal) == {".seg": [1, 2, 3]}


def test_cutting_a_segment_off_is_told_and_the_others_are_read(journal: Path, closed: Path) -> None:
    first, second, *_ = sorted(closed.glob("*.seg"))
    rows = read_journal(journal).writers[closed.name].segments[0].rows
    good = first.read_bytes()
    for size in (0, 100, 4096, 5000, len(good) - 8):
        first.write_bytes(good[:size])
        snapshot = read_journal(journal)
        kept = rows - 1 if size == len(good) - 8 else 0
        assert snapshot.points("metrics", after={}).num_rows == 8_000 - rows + kept
        assert [f.severity for f in snapshot.findings] == ["lost"], size
        assert "lost" in {f.severity for f in verify_segment(first)}, size
    os.truncate(second, 4096 + 16)
    assert {f.where for f in read_journal(journal).findings} == {
        f"journal/{closed.name}/{first.name}",
        f"journal/{closed.name}/{second.name}",
    }


def flip(path: Path, byte: int, bit: int = 3) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize("part", ["run", "key", "step", "time", "value"])
def test_a_flipped_bit_of_a_sealed_column_is_found(journal: Path, closed: Path, part: str) -> None:
    from mlrun.journal.segment import COLUMNS, column_offsets

    path = sorted(closed.glob("*.seg"))[1]
    info = read_journal(journal).writers[closed.name].segments[1]
    index = [name for name, *_ in COLUMNS].index(part)
    capacity = (path.stat().st_size - 4096) // 32
    flip(path, column_offsets(capacity)[index] + 700 * COLUMNS[index][2])
    assert [f.severity for f in verify_segment(path)][:1] == ["lost"]
    checked = read_journal(journal, verify=True)
    assert any(f.severity == "lost" and path.name in f.where for f in checked.findings)
    kept = checked.points("metrics", after={}).num_rows
    assert 8_000 - info.rows < kept < 8_000
    assert kept == len(list(checked.rows("metrics", after={})))


def test_a_flipped_bit_anywhere_in_the_header_never_misleads(journal: Path, closed: Path) -> None:
    path = sorted(closed.glob("*.seg"))[0]
    good = path.read_bytes()
    truth = read_journal(journal).points("metrics", after={})
    for byte in (*range(72), *range(128, 152), 512, 513, 518, 1024, 1030):
        flip(path, byte)
        snapshot = read_journal(journal, verify=True)
        found = snapshot.points("metrics", after={})
        if found.num_rows != truth.num_rows:
            assert snapshot.findings, byte
        else:
            assert found.column("value").to_pylist() == truth.column("value").to_pylist()
        path.write_bytes(good)


def test_a_damaged_seal_can_be_made_anew(journal: Path, closed: Path) -> None:
    path = sorted(closed.glob("*.seg"))[0]
    flip(path, 136)
    assert [f.severity for f in verify_segment(path)] == ["repairable"]
    assert [f.severity for f in verify_segment(path, repair=True)] == ["repaired"]
    assert verify_segment(path) == []
    assert read_journal(journal).points("metrics", after={}).num_rows == 8_000


def test_a_damaged_dictionary_loses_its_points_only(journal: Path, closed: Path) -> None:
    path = sorted(closed.glob("*.dict"))[1]
    flip(path, path.stat().st_size - 3)
    snapshot = read_journal(journal)
    found = snapshot.points("metrics", after={}).num_rows
    assert 0 < found < 8_000
    lost = [f for f in snapshot.findings if f.severity == "lost"]
    assert {f.where.rsplit(".", 1)[1] for f in lost} == {"dict", "seg"}
    assert sum(f.severity == "lost" for f in verify_journal(journal)) == 2


def test_a_lost_dictionary_is_told(journal: Path, closed: Path) -> None:
    sorted(closed.glob("*.dict"))[0].unlink()
    rows = read_journal(journal).writers[closed.name].segments[0].rows
    snapshot = read_journal(journal)
    assert snapshot.points("metrics", after={}).num_rows == 8_000 - rows
    assert any("dictionary" in f.what for f in snapshot.findings)


def test_a_torn_record_of_a_dead_writer_is_a_note_of_a_living_one_nothing(
    journal: Path, writer: Writer
) -> None:
    writer.record([("put", "runs", {"run_id": "r"})])
    with open(next((journal / writer.name).glob("*.rec")), "ab") as file:
        file.write(b"\xa5\x1e\x00D\x10\x00\x00")
    alive = read_journal(journal)
    assert len(list(alive.ops({}))) == 1
    assert alive.findings == []
    code = f"""
import os, sys
from pathlib import Path
from mlrun.config import Settings
from mlrun.journal import Writer
w = Writer.open(Path({str(journal)!r}), settings=Settings())
w.record([("put", "runs", {{"run_id": "s"}})])
with open(next((Path({str(journal)!r}) / w.name).glob("*.rec")), "ab") as file:
    file.write(b"\\xa5\\x1e\\x00D\\x10\\x00\\x00")
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    dead = read_journal(journal)
    assert len(list(dead.ops({}))) == 2
    assert [f.severity for f in dead.findings] == ["note"]


def test_reading_needs_no_right_to_write(journal: Path, closed: Path) -> None:
    for path in (journal, closed, *closed.iterdir()):
        path.chmod(path.stat().st_mode & ~0o222)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in closed.iterdir())
    snapshot = read_journal(journal)
    assert snapshot.points("metrics", after={}).num_rows == 8_000
    assert sorted((p.name, p.stat().st_mtime_ns) for p in closed.iterdir()) == before
    for path in (journal, closed):
        path.chmod(0o700)


def test_a_reader_holds_few_descriptors(journal: Path) -> None:
    for _ in range(30):
        writer = Writer.open(journal, settings=Settings())
        writer.channel("p", "r").log({"a": 1.0}, 0)
        writer.record([("put", "runs", {"run_id": "r"})])
        writer.text("p", "r", [(1, "stdout", "x")])
        writer.close()
    assert len(list_slots(journal)) == 30
    before = len(os.listdir("/proc/self/fd"))
    snapshot = read_journal(journal)
    assert len(os.listdir("/proc/self/fd")) == before
    assert snapshot.points("metrics", after={}).num_rows == 30


def test_another_process_sees_a_point_as_soon_as_log_returned(
    journal: Path, writer: Writer
) -> None:
    code = """
import sys
from pathlib import Path
from mlrun.journal.snapshot import read_journal
for line in sys.stdin:
    rows = list(read_journal(Path(sys.argv[1])).rows("metrics", after={}))
    print(len(rows), rows[-1][5], flush=True)
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(journal)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    channel = writer.channel("p", "r")
    answers: list[Any] = []
    for i in range(50):
        channel.log({"a": float(i)}, i)
        other.stdin.write("look\n")
        other.stdin.flush()
        answers.append(other.stdout.readline().split())
    other.communicate()
    assert answers == [[str(i + 1), str(float(i))] for i in range(50)]


def test_verify_reports_a_lost_owner(journal: Path, closed: Path) -> None:
    assert verify_journal(journal) == []
    (closed / "owner.json").write_bytes(b"{")
    assert [f.severity for f in verify_journal(journal)] == ["note"]
    assert read_journal(journal).points("metrics", after={}).num_rows == 8_000
