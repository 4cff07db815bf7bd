"""The uploader: sends what the writers of a spool write. `python -m mlrun.journal.uploader URL`; law in `upload`.

One process a spool, held by `upload.lock`. It looks every 40 ms while a writer lives, and twice as often for a second
after an upload. It sends one upload at a time, 25 a second at most as long as one takes all that is new, and lets go of
files that have arrived whole. It ends when nothing waits and no writer lives, or when it has not reached the gateway
for an hour and no writer lives: the next `init`, or `mlrun sync`, goes on.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlrun.advisorylock import FileLock
from mlrun.errors import AccessDenied, MlrunError, NotSignedIn
from mlrun.ids import now_us
from mlrun.journal.detached import stand_back
from mlrun.journal.files import DICT, LOG, SEGMENT, TEXT, list_numbers, list_slots
from mlrun.journal.slots import adopt, probe_alive, read_owner
from mlrun.journal.spool import has_pending, objects_waiting, read_sent, token_of, write_sent
from mlrun.journal.upload import Part, Speaker, Upload, pack_upload
from mlrun.journal.uploadcut import cut_slot, forget_arrived, read_part
from mlrun.journal.uploadobjects import ObjectSender
from mlrun.wire import INGEST, UPLOAD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlrun.gatewaystore import GatewayStore
    from mlrun.journal.upload import Positions

__all__ = ["Uploader", "main"]

_LOOK = 0.040  # seconds between two looks at the slots, and from one upload to the next
_SOON = 0.020  # … between two looks, for a second after an upload: more is to be expected
_BUDGET = 4 << 20  # bytes of one upload, about
_PROBE = 0.5  # seconds between two looks at who lives
_SIGN = 10.0  # seconds between two signs of life
_LINGER = 2.0  # seconds that it stays when nothing is left
_GIVE_UP = 3600.0
_WORTH = 4096  # bytes from which an upload to another host is packed
_REFUSED = 10.0  # seconds until a refused writer is tried again
_BACKOFF = (0.2, 30.0)
_KINDS = {"rec": LOG, "txt": TEXT, "seg": SEGMENT, "dict": DICT}


@dataclass
class _Writer:
    """What the uploader knows of one slot."""

    folder: Path
    have: Positions
    alive: bool = False
    claim: int = 1
    host: str = ""
    sealed_claim: int = 0
    refused_until: float = 0.0
    reason: str = ""


class Uploader:
    """Sends what waits in a spool.

    Args:
        store: the gateway's store on this host.
        clock: seconds, monotonic.
    """

    def __init__(self, store: GatewayStore, clock: Callable[[], float] = time.monotonic) -> None:
        store.prepare()
        self._store = store
        self._clock = clock
        self._token = token_of(store.folder)
        self._writers: dict[str, _Writer] = {}
        self._told: frozenset[tuple[str, int]] = frozenset()
        self._probed = self._signed = -1e9
        self._turn = 0
        self._failures = 0
        self._error = ""
        self._hopeless = False
        self._said = ""
        self._dropped: dict[str, int] = {}  # by run, what the gateway left out
        self._batch = store.folder / "batch.json"
        self._objects = ObjectSender(store)
        self._far = urlsplit(store.url).hostname not in (None, "localhost", "127.0.0.1", "::1")
        self._resumed = False
        self._under_way: list[Part] = []

    # -- one look --------------------------------------------------------------------------------

    def step(self) -> bool:
        """Look at all slots and send one upload if there is something to say; returns whether more is waiting.

        Raises:
            StoreUnreachable, StoreBusy, StoreError: the gateway cannot take it now; call again.
            NotSignedIn: it knows no such key.
        """
        if not self._resumed:
            self._resume()
        if self._clock() - self._probed >= _PROBE:
            self._probe()
        self._objects.wake()
        parts, more = (self._under_way, True) if self._under_way else self._cut()
        living = self._living()
        due = self._clock() - self._signed >= _SIGN and living
        if parts or living != self._told or due:
            if not self._under_way:
                self._keep_bounds(parts)
            self._under_way = parts  # whatever fails now, the same bounds are sent again
            self._deliver(parts)
            self._under_way = []
            self._told, self._signed = living, self._clock()
        return more

    def _probe(self) -> None:
        """Look who lives; seal what the dead left open."""
        self._probed = self._clock()
        for folder in list_slots(self._store.journal):
            writer = self._writers.get(folder.name)
            if writer is None:
                writer = self._writers[folder.name] = _Writer(folder, read_sent(folder))
            owner = read_owner(folder)
            writer.claim = owner.claim if owner else max(writer.claim, 1)
            writer.host = owner.host if owner else ""
            writer.alive = probe_alive(folder)
            if writer.alive or writer.sealed_claim == writer.claim:
                continue
            if any(list_numbers(folder).values()):
                with adopt(folder) as adoption:
                    if adoption is not None:
                        writer.sealed_claim = writer.claim

    def _living(self) -> frozenset[tuple[str, int]]:
        return frozenset((n, w.claim) for n, w in self._writers.items() if self._lives(w))

    def _anybody(self) -> bool:
        return any(w.alive for w in self._writers.values())

    def _lives(self, writer: _Writer) -> bool:
        """Whether more of a writer is to be expected: it lives, or left something that has not arrived."""
        return writer.alive or has_pending(writer.folder, writer.have)

    def _cut(self) -> tuple[list[Part], bool]:
        parts: list[Part] = []
        budget, more = _BUDGET, False
        names = sorted(self._writers)
        self._turn += 1
        for i in range(len(names)):
            writer = self._writers[names[(i + self._turn) % len(names)]]  # each is first in turn
            if writer.refused_until > self._clock():
                continue
            if budget <= 0:
                more = True
                break
            hold = self._objects.missing()
            cut = cut_slot(writer.folder, writer.have, budget, hold=hold)
            parts += cut.parts
            budget -= sum(len(p.payload) for p in cut.parts)
            more |= cut.more
        return parts, more

    # -- sending ---------------------------------------------------------------------------------

    def _deliver(self, parts: list[Part]) -> None:
        named = {p.writer for p in parts} | {n for n, _ in self._living()}
        about = {
            name: Speaker(w.claim, w.host, self._lives(w))
            for name, w in self._writers.items()
            if name in named or any(name == told for told, _ in self._told)
        }
        if not about:
            return
        body = b"".join(pack_upload(Upload(self._token, about, parts)))
        kind = {"Content-Type": UPLOAD}
        if self._far and len(body) > _WORTH:
            body, kind["Content-Encoding"] = zlib.compress(body, 1), "deflate"
        reply = self._store.gateway.http.send("POST", INGEST, body, kind, timeout=60.0)
        answer = json.loads(reply.body)
        self._take(answer["positions"])
        self._dropped.update(answer.get("dropped") or {})
        for name, why in answer.get("refused", {}).items():
            if name in self._writers:
                self._writers[name].refused_until = self._clock() + _REFUSED
                self._writers[name].reason = str(why)

    def _take(self, told: dict[str, dict[str, list[int]]]) -> None:
        """Take note of what has arrived, and let go of it."""
        for name, raw in told.items():
            writer = self._writers.get(name)
            if writer is None:
                continue
            have = {kind: (int(raw[s][0]), int(raw[s][1])) for s, kind in _KINDS.items()}
            writer.reason = ""
            if have != writer.have:
                writer.have = have
                with suppress(OSError):  # a full disk: it costs a repetition after a restart
                    write_sent(writer.folder, have)
                forget_arrived(writer.folder, have)

    # -- bounds ----------------------------------------------------------------------------------

    def _keep_bounds(self, parts: list[Part]) -> None:
        if not parts:
            return
        fresh = self._batch.with_name(f".batch.{os.getpid()}")
        with suppress(OSError):  # a full disk must not stop what makes room
            fresh.write_text(json.dumps([p.bounds() for p in parts]), encoding="ascii")
            os.replace(fresh, self._batch)

    def _resume(self) -> None:
        """Send once more what a killed uploader may have sent, with the bounds that it had."""
        self._probe()
        try:
            bounds = json.loads(self._batch.read_bytes())
            parts = [Part.of(b) for b in bounds]
        except (OSError, ValueError, TypeError):
            parts = []
        again = [p for p in parts if p.writer in self._writers]
        self._under_way = [
            found for p in again if (found := read_part(self._store.journal, p)) is not None
        ]
        self._resumed = True

    # -- until the end ---------------------------------------------------------------------------

    def left(self) -> bool:
        """Whether something waits that may be sent, the news that a writer has ended included."""
        return self._living() != self._told or self._waiting()

    def _waiting(self) -> bool:
        if objects_waiting(self._store.folder):
            return True
        now = self._clock()
        return any(
            has_pending(w.folder, w.have) for w in self._writers.values() if w.refused_until <= now
        )

    def refused(self) -> dict[str, str]:
        """Return the writers that the gateway refuses, and why."""
        return {n: w.reason for n, w in self._writers.items() if w.reason}

    def run(
        self,
        *,
        until_empty: bool = False,
        told: Callable[[str], None] | None = None,
        each: Callable[[], None] | None = None,
        seconds: float | None = None,
    ) -> bool:
        """Send until nothing is left and no writer lives.

        Args:
            until_empty: return as soon as nothing is left, and when the gateway fails three times in a row.
            told: is told errors.
            each: called after every look.
            seconds: give up after so many.

        Returns:
            False if it gave up.
        """
        idle_since = reached = started = self._clock()
        while self._store.folder.is_dir():
            begin = self._clock()
            if each is not None:
                each()
            if seconds is not None and begin - started > seconds:
                return False
            try:
                more = self.step()
            except MlrunError as error:
                self._fail(error, told)
                alone = not self._anybody()
                if until_empty and (self._failures > 2 or isinstance(error, AccessDenied)):
                    return False
                if alone and (not self._waiting() or self._clock() - reached > _GIVE_UP):
                    return False
                self._pause(error)
                continue
            reached = self._clock()
            self._succeed()
            if until_empty and self._objects.failures > 2:
                return False
            if more:
                continue
            if self._anybody() or self._objects.busy or self.left():
                idle_since = self._clock()
            if until_empty and not self._objects.busy and not self.left():
                return not self.refused() and not self._objects.error
            if self._clock() - idle_since > _LINGER:
                return True
            time.sleep(max(0.002, self._pace(begin) - (self._clock() - begin)))
        return True

    def _pace(self, begin: float) -> float:
        """Return how many seconds after the begin of a look the next one comes."""
        sent = self._signed >= begin
        return _LOOK if sent or begin - self._signed > 1.0 else _SOON

    def close(self) -> None:
        """End the thread that sends objects."""
        self._objects.close()

    def _fail(self, error: MlrunError, told: Callable[[str], None] | None) -> None:
        self._failures += 1
        self._error = str(error)
        self._hopeless = isinstance(error, AccessDenied)
        self._tell()
        if told is not None:
            told(self._error)

    def _succeed(self) -> None:
        self._failures, self._error, self._hopeless = 0, self._objects.error, False
        self._tell()

    def _pause(self, error: MlrunError) -> None:
        low, high = _BACKOFF
        if isinstance(error, NotSignedIn):
            low = 5.0
        seconds: float = min(high, low * 2 ** min(self._failures - 1, 12))
        time.sleep(seconds * random.uniform(0.5, 1.0))

    def _tell(self) -> None:
        """Write down what people want to know; only when it changed."""
        refused = self.refused()
        hopeless = bool(refused) or self._hopeless
        about = {
            "error": self._error, "refused": refused, "hopeless": hopeless, "dropped": self._dropped,
        }  # fmt: skip
        text = json.dumps(about)
        if text == self._said:
            return
        self._said = text
        fresh = self._store.folder / f".status.{os.getpid()}"
        with suppress(OSError):  # a full disk
            fresh.write_text(json.dumps({**about, "at": now_us()}), encoding="ascii")
            os.replace(fresh, self._store.folder / "status.json")


def main(url: str) -> int:
    """Send what waits for a gateway, at low priority, in a session of its own.

    Returns:
        0, also when another uploader is at work.
    """
    stand_back(5)
    from mlrun.gatewaystore import GatewayStore

    store = GatewayStore(url)
    store.prepare()
    lock = FileLock(store.folder / "upload.lock")
    while _acquired(lock):
        uploader = Uploader(store)
        try:
            done = uploader.run()
        finally:
            uploader.close()
            lock.release()
        # whoever claimed a slot before it saw the lock free has started nobody
        if not done or not any(probe_alive(s) for s in list_slots(store.journal)):
            break
    store.close()
    return 0


def _acquired(lock: FileLock) -> bool:
    """Take the lock, unless somebody keeps it: a process that only looks has it for an instant."""
    for _ in range(5):
        if lock.acquire(wait=False):
            return True
        time.sleep(0.01)
    return False


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
