from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from mlrun.journal.reclog import (
    HEADER_BYTES,
    LogBytes,
    LogScan,
    RecordLog,
    pack,
    read_log,
    seal_log,
)
from mlrun.journal.verify import verify_log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

VALUES = [{"a": 1}, [1.5, None, "ü\udc80"], "x" * 50]


def make(path: Path, values: Sequence[object] = VALUES) -> list[int]:
    log = RecordLog(path)
    ends = [log.append(pack(v)) for v in values]
    log.close()
    return ends


def scan_log(data: bytes, offset: int = 0) -> LogScan:
    return LogBytes(data[:HEADER_BYTES], data).scan(offset)


def payloads(data: bytes) -> list[bytes]:
    return [payload for _, payload in scan_log(data).records]


real_write = os.write


def stops_after(size: int) -> Callable[[int, bytes], int]:
    """A `write` to a disk that has room for `size` bytes."""
    left = [size]

    def write(fd: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real_write(fd, data[: left[0]])
        left[0] -= done
        return done

    return write


def slot_file(tmp_path: Path, name: str = "0000000001.rec") -> Path:
    (tmp_path / "slot").mkdir(exist_ok=True)
    (tmp_path / "slot" / "lock").touch()
    return tmp_path / "slot" / name


def test_a_tail_torn_at_any_byte_costs_only_the_last_record(tmp_path: Path) -> None:
    path = tmp_path / "log"
    ends = make(path)
    data = path.read_bytes()
    for cut in range(len(data)):
        scan = scan_log(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert [p for _, p in scan.records] == [pack(v) for v in VALUES[:whole]]
        assert not scan.sealed
        clean = cut == 0 or cut in (HEADER_BYTES, *ends)
        assert [d.kind for d in scan.damage] == ([] if clean else ["torn"])


def test_a_torn_tail_is_cut_once_by_the_seal(tmp_path: Path) -> None:
    path = slot_file(tmp_path)
    ends = make(path)
    data = path.read_bytes()
    for cut in range(ends[1] + 1, len(data)):
        path.write_bytes(data[:cut])
        assert [f.severity for f in verify_log(path)] == ["repairable"]
        assert [f.severity for f in verify_log(path, repair=True)] == ["repaired"]
        assert verify_log(path) == []
        scan = scan_log(path.read_bytes())
        assert scan.sealed
        assert scan.end == ends[1]
        assert payloads(path.read_bytes()) == [pack(v) for v in VALUES[:2]]
        assert seal_log(path) == []


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    make(path)
    seal_log(path)
    data = path.read_bytes()
    good = [pack(v) for v in VALUES]
    for byte in range(len(data)):
        for bit in (0, 3, 7):
            bad = bytearray(data)
            bad[byte] ^= 1 << bit
            scan = scan_log(bytes(bad))
            found = [p for _, p in scan.records]
            if byte < HEADER_BYTES:
                assert [d.kind for d in scan.damage] == ["header"]
                assert found == good
            else:
                assert [d.kind for d in scan.damage] == ["lost"]
                assert len(found) == 2
                assert set(found) < set(good)


def test_a_damaged_header_is_written_anew(tmp_path: Path) -> None:
    path = slot_file(tmp_path)
    make(path)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    assert [f.severity for f in verify_log(path)] == ["repairable"]
    assert [f.severity for f in verify_log(path, repair=True)] == ["repaired"]
    assert verify_log(path) == []
    assert payloads(path.read_bytes()) == [pack(v) for v in VALUES]


@settings(max_examples=150)
@given(
    values=st.lists(st.text(max_size=40), min_size=1, max_size=8),
    start=st.integers(0, 2000),
    junk=st.binary(max_size=60),
)
def test_any_overwritten_stretch_leaves_the_other_records(
    values: list[str], start: int, junk: bytes
) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        ends = make(path, values)
        data = path.read_bytes()
    start = min(start, len(data))
    bad = (data[:start] + junk + data[start + len(junk) :])[: len(data)]
    spans = list(zip([HEADER_BYTES, *ends[:-1]], ends, strict=True))
    untouched = [pack(v) for v, (a, b) in zip(values, spans, strict=True) if bad[a:b] == data[a:b]]
    assert payloads(bad) == untouched


def test_scanning_from_a_mark_gives_what_is_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    ends = make(path)
    data = path.read_bytes()
    for i, end in enumerate(ends):
        assert [p for _, p in scan_log(data, end).records] == [pack(v) for v in VALUES[i + 1 :]]


def test_a_failed_append_is_void_and_the_log_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    log = RecordLog(path)
    log.append(b'"first"')
    for kept in range(1, 19):
        monkeypatch.setattr(os, "write", stops_after(kept))
        with pytest.raises(OSError, match="No space"):
            log.append(b'"never acknowledged"')
        monkeypatch.setattr(os, "write", real_write)
        log.append(b'"kept"')
    log.seal()
    scan = scan_log(path.read_bytes())
    assert [p for _, p in scan.records] == [b'"first"'] + [b'"kept"'] * 18
    assert scan.damage == []


def test_damage_before_a_failed_append_is_not_mistaken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    log = RecordLog(path)
    start = log.append(b'"first"')
    log.append(b'"damaged"')
    monkeypatch.setattr(os, "write", stops_after(15))
    with pytest.raises(OSError, match="No space"):
        log.append(b'"never acknowledged"')
    monkeypatch.setattr(os, "write", real_write)
    log.append(b'"last"')
    log.close()
    data = bytearray(path.read_bytes())
    data[start + 14] ^= 4
    scan = scan_log(bytes(data))
    assert [p for _, p in scan.records] == [b'"first"', b'"last"']
    assert [(d.start, d.kind) for d in scan.damage] == [(start, "lost")]


def test_a_first_append_that_fails_leaves_an_empty_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    log = RecordLog(path)
    monkeypatch.setattr(os, "write", stops_after(10))
    with pytest.raises(OSError, match="No space"):
        log.append(b"1")
    monkeypatch.setattr(os, "write", real_write)
    log.append(b"2")
    log.close()
    assert payloads(path.read_bytes()) == [b"2"]
    assert scan_log(path.read_bytes()).damage == []


def test_a_long_first_append_that_fails_takes_no_ground_from_its_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader may have mapped what was written of it: a file that shrinks would kill that process."""
    path = tmp_path / "log"
    log = RecordLog(path)
    monkeypatch.setattr(os, "write", stops_after(300_000))
    with pytest.raises(OSError, match="No space"):
        log.append(b"1" * 400_000)
    monkeypatch.setattr(os, "write", real_write)
    early = read_log(path)
    assert early.scan().records == []
    assert path.stat().st_size == len(early.data)
    log.append(b"2")
    log.append(b"3")
    log.seal()
    scan = read_log(path).scan()
    assert [p for _, p in scan.records] == [b"2", b"3"]
    assert scan.damage == []


def test_a_log_in_which_only_a_failed_append_lies_can_be_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    log = RecordLog(path)
    monkeypatch.setattr(os, "write", stops_after(100))
    with pytest.raises(OSError, match="No space"):
        log.append(b"1" * 400)
    log.seal()
    scan = read_log(path).scan()
    assert (scan.records, scan.sealed, scan.end) == ([], True, HEADER_BYTES)


def test_a_sealed_log_that_was_cut_off_says_what_is_lost(tmp_path: Path) -> None:
    path = slot_file(tmp_path)
    ends = make(path)
    seal_log(path)
    os.truncate(path, ends[1])
    assert [f.severity for f in verify_log(path)] == ["lost"]
    assert payloads(path.read_bytes()) == [pack(v) for v in VALUES[:2]]


def test_a_missing_file_is_no_finding(tmp_path: Path) -> None:
    assert verify_log(slot_file(tmp_path)) == []


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_can_be_scanned(data: bytes) -> None:
    scan = scan_log(data)
    assert scan.end >= 0
    assert all(0 <= d.start <= d.end for d in scan.damage)


def test_copies_of_a_log_scan_alike(tmp_path: Path) -> None:
    make(
        tmp_path / "a", [{"n": i, "t": "y" * 900} for i in range(400)]
    )  # large enough to be mapped
    shutil.copy(tmp_path / "a", tmp_path / "b")
    mapped = read_log(tmp_path / "b").scan()
    assert mapped == scan_log((tmp_path / "a").read_bytes())
    assert len(mapped.records) == 400


def test_a_short_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    log = RecordLog(path)
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:7]))
    for value in VALUES:
        log.append(pack(value))
    assert payloads(path.read_bytes()) == [pack(v) for v in VALUES]
    monkeypatch.undo()
    log.close()
