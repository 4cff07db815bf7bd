"""The spool's side of the training process: is an uploader there, and has what was written arrived?

The law of uploads is in `mlrun.journal.upload`. In a spool lie

```
journal/w-…/            slots, as in every journal; `sent.json` in one is what the gateway was last heard to have
objects/                bytes of artifacts that have not arrived
upload.lock             flock of the uploader
token                   what binds our writers to us; nobody else can read it
batch.json              bounds of the upload that is under way
status.json             what the uploader last met: for people
```
"""

from __future__ import annotations

import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any

from mlrun.advisorylock import FileLock
from mlrun.journal.detached import reap, start_detached
from mlrun.journal.files import DICT, LOG, SEGMENT, TEXT, list_numbers, list_slots
from mlrun.journal.locks import is_locked
from mlrun.journal.upload import START
from mlrun.journal.uploadcut import arrived, end_of
from mlrun.statefolder import read_private, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from mlrun.journal.upload import Positions

__all__ = [
    "begin_uploader",
    "has_pending",
    "objects_waiting",
    "read_sent",
    "read_status",
    "token_of",
    "uploader_lives",
    "wait_arrived",
    "waiting_bytes",
    "write_sent",
]

_KINDS = {"rec": LOG, "txt": TEXT, "seg": SEGMENT, "dict": DICT}
_POLL = 0.004  # seconds between two looks at what has arrived
_HOPE = 2.0  # seconds after which an uploader has met what it meets


def read_sent(slot: Path) -> Positions:
    """Return the positions of a writer as the gateway was last heard to have them."""
    try:
        raw = json.loads((slot / "sent.json").read_bytes())
        return {kind: (int(raw[s][0]), int(raw[s][1])) for s, kind in _KINDS.items()}
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return dict(START)  # not yet, or damaged: then everything is offered once more


def write_sent(slot: Path, have: Positions) -> None:
    """Keep them; whoever reads meanwhile sees the old ones or these."""
    fresh = slot / f".sent.{os.getpid()}"
    fresh.write_text(json.dumps({s: have[kind] for s, kind in _KINDS.items()}), encoding="ascii")
    os.replace(fresh, slot / "sent.json")


def token_of(spool: Path) -> str:
    """Return the secret that binds the spool's writers to it; made on first use."""
    path = spool / "token"
    lock = FileLock(spool / "token.lock")
    with lock:
        found = (read_private(path) or "").strip()
        if not found:
            found = secrets.token_hex(16)
            write_private(path, found)
    return found


def read_status(spool: Path) -> dict[str, Any]:
    """Return what the uploader last met: `error`, `refused` (writer to reason), `hopeless`, `at`."""
    try:
        found = json.loads((spool / "status.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def objects_waiting(spool: Path) -> list[tuple[str, Path]]:
    """Return hash and file of every object that has not arrived."""
    found = []
    for folder in sorted((spool / "objects").glob("[0-9a-f][0-9a-f]")):
        found += [(p.name, p) for p in folder.iterdir() if len(p.name) == 64]
    return found


def has_pending(slot: Path, have: Positions) -> bool:
    """Whether something of a slot has not arrived, or not been let go of."""
    found = list_numbers(slot)
    return any(found.values()) and not arrived(end_of(slot), have)


def waiting_bytes(spool: Path, journal: Path) -> int:
    """Bytes that wait to be sent, about: files of slots with news, and objects."""
    from mlrun.journal.space import folder_bytes

    size = sum(p.stat().st_size for _, p in objects_waiting(spool))
    return size + sum(folder_bytes(s) for s in list_slots(journal) if has_pending(s, read_sent(s)))


def uploader_lives(spool: Path) -> bool:
    """Whether a process holds the spool's lock."""
    return is_locked(spool / "upload.lock")


def begin_uploader(url: str, spool: Path) -> bool:
    """Start an uploader if none runs; returns whether one was started. It is detached and outlives this process.

    One that is about to end looks for living writers after it let go of its lock: so call this while holding a slot.
    """
    reap()
    if uploader_lives(spool):
        return False
    start_detached("mlrun.journal.uploader", url, MLRUN_SPOOL=str(spool))
    return True


def wait_arrived(
    spool: Path,
    slots: Collection[Path],
    timeout: float,
    *,
    progress: Callable[[float], None] | None = None,
    objects: bool = True,
) -> bool:
    """Wait until everything that these slots hold now, and the objects that wait now, have arrived.

    Args:
        spool: the spool.
        slots: of the writers that are waited for.
        timeout: seconds; nothing is sent from here, so without an uploader this only takes time.
        progress: called about twice a second with the seconds waited.
        objects: also wait for objects.

    Returns:
        False when it took longer, or when the gateway refuses.
    """
    ends = {slot: end_of(slot) for slot in slots}
    files = [path for _, path in objects_waiting(spool)] if objects else []
    begin = told = time.monotonic()
    while True:
        ends = {s: e for s, e in ends.items() if not arrived(e, read_sent(s))}
        files = [path for path in files if path.exists()]
        now = time.monotonic()
        if not ends and not files:
            return True
        if now - begin >= timeout or (now - begin > _HOPE and read_status(spool).get("hopeless")):
            return False
        if progress is not None and now - told > 0.5:
            told = now
            progress(now - begin)
        time.sleep(_POLL)
