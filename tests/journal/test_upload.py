from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any
from zlib import crc32

import hypothesis
import pytest
from hypothesis import given, settings, strategies as st

from mlrun.errors import StoreVersionError, UploadRefused
from mlrun.journal.files import DICT, LOG, SEGMENT, TEXT, list_slots
from mlrun.journal.reclog import HEADER_BYTES, split_frames, whole_frames
from mlrun.journal.slots import adopt
from mlrun.journal.upload import (
    MAX_BYTES,
    START,
    Part,
    Speaker,
    Upload,
    pack_upload,
    parse_upload,
)
from mlrun.journal.uploadcut import arrived, cut_slot, end_of, read_part
from mlrun.journal.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

W = "w-0123456789ab"


def packed(*parts: Part, token: str = "t" * 32) -> bytes:
    return b"".join(pack_upload(Upload(token, {W: Speaker(1, "host", True)}, list(parts))))


def example() -> bytes:
    return packed(
        Part(W, DICT, 1, 24, 34, payload=b"0123456789"),
        Part(W, SEGMENT, 1, 0, 2, capacity=16, names=34, payload=bytes(64)),
        Part(W, LOG, 3, 24, 24, final=True),
    )


def head_with(**changes: Any) -> bytes:
    """Return an upload with another head, whole and with a good CRC."""
    body = example()
    size = int.from_bytes(body[8:12], "little")
    head = json.loads(body[16 : 16 + size])
    text = json.dumps({**head, **changes}).encode()
    lead = body[:8] + len(text).to_bytes(4, "little") + crc32(text).to_bytes(4, "little")
    return lead + text + body[16 + size :]


def test_an_upload_comes_back_as_it_was_packed() -> None:
    found = parse_upload(example())
    assert found.token == "t" * 32
    assert found.writers == {W: Speaker(1, "host", True)}
    assert [(p.kind, p.number, p.first, p.last, p.final) for p in found.parts] == [
        (DICT, 1, 24, 34, False), (SEGMENT, 1, 0, 2, False), (LOG, 3, 24, 24, True),
    ]  # fmt: skip
    assert bytes(found.parts[0].payload) == b"0123456789"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_or_torn_upload_is_refused(data: st.DataObject) -> None:
    body = bytearray(example())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(body)))
    for hostile in (bytes(body), example()[:cut], example() + b"x"):
        if hostile != example():
            with pytest.raises((UploadRefused, StoreVersionError)):
                parse_upload(hostile)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=20), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@hypothesis.example(name="protocol", value=True)
@hypothesis.example(name="protocol", value=1.0)
@given(
    name=st.sampled_from(["token", "writers", "parts", "protocol", "order"]),
    value=_JSON
    | st.dictionaries(st.just(W), _JSON)
    | st.lists(st.lists(_JSON, min_size=11, max_size=11)),
)
def test_a_head_of_any_shape_is_read_or_refused(name: str, value: Any) -> None:
    try:
        parse_upload(head_with(**{name: value}))
    except (UploadRefused, StoreVersionError):
        return
    assert name in ("token", "writers")  # what is left is as good


@pytest.mark.parametrize(
    "bounds",
    [
        [W, "seg", 0, 0, 2, False, 16, 34, False],
        [W, "seg", 1, 2, 0, False, 16, 34, False],
        [W, "seg", 1, -1, 1, False, 16, 34, False],
        [W, "seg", 1, 0, 2, False, 1, 34, False],
        [W, "seg", 1, 0, 2, False, 17, 34, False],
        [W, "seg", 1, 0, 2, False, 1 << 40, 34, False],
        [W, "seg", 1, 0, 2**70, False, 2**70, 34, False],
        [W, "seg", True, 0, 2, False, 16, 34, False],
        [W, "exe", 1, 0, 2, False, 16, 34, False],
        ["w-../../../x", "seg", 1, 0, 2, False, 16, 34, False],
        [W, "rec", 1, 0, 64, False, 0, 0, False],
        [W, "rec", 1, 24, 89, False, 0, 0, False],
    ],
)
def test_bounds_beyond_all_bounds_are_refused(bounds: list[Any]) -> None:
    size = 64
    with pytest.raises(UploadRefused):
        parse_upload(head_with(parts=[[*bounds, size, crc32(bytes(64))]]))


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(UploadRefused, match="at most"):
        parse_upload(bytes(MAX_BYTES + 1))


def test_names_of_writers_are_never_paths() -> None:
    for name in ("../evil-name-x", "w-0123456789aZ", "w-0123456789", W + "/"):
        with pytest.raises(UploadRefused):
            parse_upload(head_with(writers={name: [1, "h", True]}, parts=[]))


def test_another_version_is_named() -> None:
    with pytest.raises(StoreVersionError, match="version 2"):
        parse_upload(head_with(protocol=2))


# -- cutting ---------------------------------------------------------------------------------------


def slot_with(journal: Path, *, close: bool = True) -> tuple[Writer, Path]:
    writer = Writer.open(journal)
    channel = writer.channel("p", "r")
    for step in range(3_000):
        channel.log({"a": float(step)}, step)
        if not step % 100:
            writer.record([("put", "tags", {"run_id": "r", "tag": str(step)})])
            writer.text("p", "r", [(step, "stdout", str(step))])
    folder = writer.folder / writer.name
    if close:
        writer.close()
    return writer, folder


@pytest.mark.parametrize("budget", [1, 500, 40_000, 1 << 30])
def test_parts_are_contiguous_and_whole_whatever_the_budget(tmp_path: Path, budget: int) -> None:
    _, folder = slot_with(tmp_path)
    have = dict(START)
    rows = frames = 0
    for _ in range(20_000):
        parts, more = cut_slot(folder, have, budget)
        for part in parts:
            number, at = have[part.kind]
            assert part.number > number or part.first == max(
                at, 0 if part.kind == SEGMENT else HEADER_BYTES
            )
            if part.kind == SEGMENT:
                rows += part.last - part.first
            else:
                frames += len(split_frames(part.payload)) if part.kind in (LOG, TEXT) else 0
            have[part.kind] = part.end()
            again = read_part(tmp_path, part)
            assert again is not None
            assert bytes(again.payload) == bytes(part.payload)
        if not parts and not more:
            break
    assert (rows, frames) == (3_000, 60)
    assert arrived(end_of(folder), have)


def test_a_record_that_names_missing_bytes_waits_with_all_behind_it(tmp_path: Path) -> None:
    writer = Writer.open(tmp_path)
    for sha in ("a" * 64, "b" * 64, "c" * 64):
        writer.record([("put", "tags", {"run_id": "r", "tag": sha})])
    folder = writer.folder / writer.name
    parts, _ = cut_slot(folder, dict(START), 1 << 20, hold=[b"b" * 64])
    records = [payload for p in parts if p.kind == LOG for _, payload in split_frames(p.payload)]
    assert len(records) == 1
    assert b"a" * 64 in records[0]
    writer.close()


def test_damage_becomes_a_void_of_the_same_length(tmp_path: Path) -> None:
    _, folder = slot_with(tmp_path)
    path = next(folder.glob("*.rec"))
    data = bytearray(path.read_bytes())
    chance = random.Random(3)
    for _ in range(3):
        data[chance.randrange(HEADER_BYTES, len(data))] ^= 0xFF
    path.write_bytes(data)
    [part] = [p for p in cut_slot(folder, dict(START), 1 << 30).parts if p.kind == LOG]
    assert len(part.payload) == part.last - part.first
    assert 24 <= len(split_frames(part.payload)) < 30
    assert part.final


def test_a_torn_tail_is_sent_only_once_it_is_sealed(tmp_path: Path) -> None:
    data = b"".join(whole_frames(b"", sealed=True) for _ in range(2))
    assert data == b""
    writer, folder = slot_with(tmp_path, close=False)
    path = next(folder.glob("*.rec"))
    with path.open("ab") as file:
        file.write(b"\xa5\x1e\x00D\xff\xff")
    [part] = [p for p in cut_slot(folder, dict(START), 1 << 30).parts if p.kind == LOG]
    assert not part.final
    assert part.last == path.stat().st_size - 6
    writer.close()
    with adopt(list_slots(tmp_path)[0]):
        pass
    [part] = [p for p in cut_slot(folder, dict(START), 1 << 30).parts if p.kind == LOG]
    assert part.final
    assert len(split_frames(part.payload)) == 30


def test_rows_that_the_disk_changed_name_nothing(tmp_path: Path) -> None:
    _, folder = slot_with(tmp_path)
    path = min(folder.glob("*.seg"))
    data = bytearray(path.read_bytes())
    data[4096 + 40] ^= 0xFF
    path.write_bytes(data)
    part = next(p for p in cut_slot(folder, dict(START), 1 << 30).parts if p.kind == SEGMENT)
    runs = memoryview(bytes(part.payload[: 4 * (part.last - part.first)])).cast("I")
    assert 0 < sum(run == 0 for run in runs) < len(runs)
