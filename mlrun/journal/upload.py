"""Uploads: how a journal on one machine becomes the same journal on a gateway. This page is the law of both sides.

A store behind a gateway has its journal in a *spool*, a folder on this machine. `init`, `log`, config, results and the
console write to it as to any journal, and no network is in their way. One process of the spool, the *uploader*, tails
the slots of all writers, living and dead, and sends what is new.

```
{"protocol": 1, "token": …, "writers": {w: {"claim": 3, "host": "…", "alive": true}}, "parts": [[w, kind, …], …]}
<payload of part 1><payload of part 2>…
```

**Address.** A part says which bytes of which file it is: (writer, kind, number, first, last). Segments are counted in
rows, of which the payload has the five columns one after the other; logs (`.rec`, `.txt`) and dictionaries in bytes,
of which the payload has whole frames. `final` says that the file will not grow. A *position* is (number, at): what lies
before it has arrived. A file that has arrived whole stands as (number + 1, 0).

**Order.** Within a kind of a writer everything arrives in the order of writing and without a hole: a part that begins
behind the position is not taken, and the answer says where to go on. Names arrive before the rows that use them, bytes
of an object before the record that names it, and all points of a run before the record of its end.

**Atomic.** A part is taken from the position on, wholly, or not at all. An upload is no transaction: what was taken of
it stays taken, whatever becomes of the rest. A record is applied whole.

**Idempotent.** What lies before the position is passed over, so a part may be sent any number of times, late or twice
at once; its bounds are fixed before it is first sent, kept in `batch.json`, and never cut anew, also by an uploader
that takes over from a killed one.

**Visible, acknowledged.** The answer names the position of every writer that the upload names. What lies before it is
durable (committed, or synced to the disk) and visible to whoever asks the gateway. It is no promise before: an upload
without an answer is sent again.

**Crash.** The sender may be killed at any instant: files stay until their position is beyond them, and the gateway's
answer to the next upload says what it has. `sent.json` in a slot is what the sender last heard; a lost one costs a
repetition. The gateway may be killed at any instant: its positions are derived from what it stored, never from what it
remembers. A gateway that lacks what it acknowledged (it was restored from a backup) is told `gap`, and the loss is
reported on both sides; everything behind it goes on.

**Who may speak.** A writer's name is 48 random bits. The first upload binds it to the token of the spool, a secret that
only its owner can read; with another token it is refused. Every record, point and line belongs to a project, which the
caller must be allowed to write to; a run's project is the one that is stored.

**Living.** An upload names the writers that live; so does a sign of life every ten seconds when nothing is new. The
runs of a writer that has ended, or was silent for longer than the gateway's `MLRUN_HEARTBEAT`, read as `lost`, and as
`running` when it is heard again.

**Two machines** that write to one run are two spools and two writers: both arrive whole; rows of equal step and time
are in the order of the writers' names. **Clocks** are the senders' own; nothing is decided by comparing times of two
machines.

**Bounds.** A sender waits for the answer before its next upload. A gateway that has enough to do answers 503, one that
this sender asks too much of 429, both with `Retry-After`, and takes nothing. Nothing is dropped on this way but rows of
metric keys that are too many for a run: they are counted in its `dropped`, which the answer names, and their places
stay. Where the spool may not grow (its bound, or 1 GB of free disk) new points are dropped and counted before they are
written, records never.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

from mlrun.errors import StoreVersionError, UploadRefused
from mlrun.journal.files import DICT, LOG, SEGMENT, TEXT
from mlrun.journal.reclog import HEADER_BYTES
from mlrun.journal.segment import ROW_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "MAX_BYTES",
    "PROTOCOL",
    "START",
    "At",
    "Part",
    "Positions",
    "Speaker",
    "Upload",
    "pack_upload",
    "parse_upload",
]

PROTOCOL = 1
MAX_BYTES = 64 << 20  # of an upload, unpacked
_MAGIC = b"mlrup1\r\n"
_MAX_HEAD = 4 << 20
_MAX_PARTS = 10_000
_MAX_WRITERS = 10_000
_INT = 1 << 62

At = tuple[int, int]  # (number, row or byte): everything before it has arrived
Positions = dict[str, At]  # by kind
START: Positions = {LOG: (0, 0), TEXT: (0, 0), SEGMENT: (0, 0), DICT: (0, 0)}
_SHORT = {LOG: "rec", TEXT: "txt", SEGMENT: "seg", DICT: "dict"}
_LONG = {short: kind for kind, short in _SHORT.items()}


@dataclass(frozen=True)
class Part:
    """Some bytes of one file of a writer.

    Attributes:
        writer, kind, number: the file.
        first, last: rows of a segment, bytes of a log or dictionary; the payload holds what lies between.
        final: the file ends at `last`.
        capacity: rows that the sender's segment has room for.
        names: bytes of its dictionary without which the rows may not be taken.
        gap: what lies before `first` is lost: the receiver goes on here.
        payload: of a segment the columns, one after the other; else whole frames.
    """

    writer: str
    kind: str
    number: int
    first: int
    last: int
    final: bool = False
    capacity: int = 0
    names: int = 0
    gap: bool = False
    payload: bytes | memoryview = field(default=b"", repr=False)

    def bounds(self) -> list[Any]:
        """Return everything but the payload, as JSON has it."""
        return [
            self.writer, _SHORT[self.kind], self.number, self.first, self.last, self.final, self.capacity,
            self.names, self.gap,
        ]  # fmt: skip

    @classmethod
    def of(cls, bounds: Iterable[Any], payload: bytes | memoryview = b"") -> Part:
        """Return the part with these bounds.

        Raises:
            UploadRefused: they are none.
        """
        try:
            writer, short, number, first, last, final, capacity, names, gap = bounds
            kind = _LONG[short]
        except (TypeError, ValueError, KeyError):
            raise UploadRefused("the bounds of a part are not readable") from None
        numbers = (number, first, last, capacity, names)
        if not all(type(n) is int and 0 <= n < _INT for n in numbers) or first > last or not number:
            raise UploadRefused("the bounds of a part are no bounds")
        if not (isinstance(writer, str) and type(final) is bool and type(gap) is bool):
            raise UploadRefused("the bounds of a part are not readable")
        return cls(writer, kind, number, first, last, final, capacity, names, gap, payload)

    def end(self) -> At:
        """Return the position behind the part."""
        return (self.number + 1, 0) if self.final else (self.number, self.last)


@dataclass(frozen=True)
class Speaker:
    """What an upload says of a writer."""

    claim: int
    host: str
    alive: bool


@dataclass
class Upload:
    """One upload, as it is sent and as it is received."""

    token: str
    writers: dict[str, Speaker]
    parts: list[Part] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all payloads."""
        return sum(len(p.payload) for p in self.parts)


def pack_upload(upload: Upload) -> list[bytes | memoryview]:
    """Return the upload as buffers to be sent one after the other."""
    head = {
        "protocol": PROTOCOL,
        "order": sys.byteorder,
        "token": upload.token,
        "writers": {
            name: [about.claim, about.host, about.alive] for name, about in upload.writers.items()
        },
        "parts": [[*p.bounds(), len(p.payload), crc32(p.payload)] for p in upload.parts],
    }
    text = json.dumps(head, separators=(",", ":")).encode("ascii")
    lead = _MAGIC + len(text).to_bytes(4, "little") + crc32(text).to_bytes(4, "little")
    return [lead + text, *(p.payload for p in upload.parts)]


def parse_upload(body: bytes | memoryview) -> Upload:
    """Read an upload; its payloads are views of `body`.

    Raises:
        UploadRefused: it is torn, too large, or no upload; nothing of it may be taken.
        StoreVersionError: the sender speaks another version.
    """
    view = memoryview(body).cast("B") if not isinstance(body, bytes) else memoryview(body)
    if len(view) > MAX_BYTES:
        raise UploadRefused(f"an upload has at most {MAX_BYTES:,} bytes, this one {len(view):,}")
    head, at = _read_head(view)
    writers = _read_writers(head)
    given = head.get("parts")
    if not isinstance(given, list) or len(given) > _MAX_PARTS:
        raise UploadRefused(f"an upload has a list of at most {_MAX_PARTS:,} parts")
    parts = []
    for entry in given:
        if not isinstance(entry, list) or len(entry) != 11:
            raise UploadRefused("the bounds of a part are not readable")
        *bounds, size, crc = entry
        if type(size) is not int or not 0 <= size <= len(view) - at:
            raise UploadRefused("the upload was cut")
        part = Part.of(bounds, view[at : at + size])
        _check_part(part, writers, size, crc)
        parts.append(part)
        at += size
    if at != len(view):
        raise UploadRefused("the upload is longer than it says")
    return Upload(head["token"], writers, parts)


def _read_head(view: memoryview) -> tuple[dict[str, Any], int]:
    if view[: len(_MAGIC)] != _MAGIC:
        raise UploadRefused("this is no upload")
    size, crc = (int.from_bytes(view[8 + 4 * i : 12 + 4 * i], "little") for i in range(2))
    text = view[16 : 16 + size]
    if size > _MAX_HEAD or len(text) < size or crc32(text) != crc:
        raise UploadRefused("the head of the upload was cut or changed on its way")
    try:
        head = json.loads(bytes(text))
    except (ValueError, RecursionError):
        raise UploadRefused("the head of the upload is no JSON") from None
    if not isinstance(head, dict):
        raise UploadRefused("the head of the upload is no JSON object")
    # true and 1.0 are equal to 1, and no version
    if type(head.get("protocol")) is not int or head["protocol"] != PROTOCOL:
        raise StoreVersionError(
            f"uploads of version {head.get('protocol')!s:.10} are not known here, only {PROTOCOL}: "
            "upgrade the older side"
        )
    if head.get("order") != sys.byteorder:
        raise UploadRefused("written on a machine with the other byte order")
    token = head.get("token")
    if not isinstance(token, str) or not 16 <= len(token) <= 128:
        raise UploadRefused("the token of the spool is missing")
    return head, 16 + size


def _read_writers(head: Mapping[str, Any]) -> dict[str, Speaker]:
    given = head.get("writers")
    if not isinstance(given, dict) or len(given) > _MAX_WRITERS:
        raise UploadRefused(f"an upload names at most {_MAX_WRITERS:,} writers")
    found = {}
    for name, about in given.items():
        if not _is_name(name) or not isinstance(about, list) or len(about) != 3:
            raise UploadRefused("what is said of a writer is not readable")
        claim, host, alive = about
        if type(claim) is not int or not 0 < claim < _INT or type(alive) is not bool:
            raise UploadRefused("what is said of a writer is not readable")
        found[name] = Speaker(claim, str(host)[:256], alive)
    return found


def _is_name(name: str) -> bool:
    digits = name.removeprefix("w-")
    return len(name) == 14 and len(digits) == 12 and all(c in "0123456789abcdef" for c in digits)


def _check_part(part: Part, writers: Mapping[str, Speaker], size: int, crc: Any) -> None:
    if part.writer not in writers:
        raise UploadRefused("a part is of a writer that the upload does not name")
    wanted = part.last - part.first
    if size != (wanted * ROW_BYTES if part.kind == SEGMENT else wanted):
        raise UploadRefused("a part is not as long as its bounds say")
    if part.kind != SEGMENT and part.first < HEADER_BYTES:
        raise UploadRefused("a part of a log begins before its first record")
    fits = part.last <= part.capacity <= 2 * MAX_BYTES // ROW_BYTES and not part.capacity % 16
    if part.kind == SEGMENT and not fits:
        raise UploadRefused("a segment holds more rows than it has room for")
    if crc32(part.payload) != crc:
        raise UploadRefused("a part was changed on its way")
