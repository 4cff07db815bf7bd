"""The room of the gateway where uploads arrive."""

from __future__ import annotations

import asyncio
import time
import zlib
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request

from mlrun.contracts import CanRollUp
from mlrun.errors import StoreBusy, UploadRefused
from mlrun.ids import uuid7
from mlrun.journal.detached import start_detached
from mlrun.journal.host import host_name
from mlrun.journal.upload import MAX_BYTES
from mlrun.journal.waiting import absorb_in_background
from mlrun.tables import LEASES
from mlrun.wire import INGEST, UPLOAD

from .auth import Caller, caller_of
from .ingest import Ingest
from .ingest_forget import forget
from .ingest_guard import Guard
from .lease import COMPACT, MIRROR, RENEW, give_back, holder_of, need_no_other_host, take
from .logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from mlrun.store import Store

    from .gateway import Gateway

__all__ = ["IngestPart", "read_body", "unpacked"]

_AT_ONCE = 256 << 20  # bytes of uploads that may be arriving
_SECONDS = 30.0  # that a body may take between two pieces
_LOOK = 600.0  # seconds between two looks whether it is time to compact
_ABSORB = 5.0  # seconds between two looks whether an absorber is due


class IngestPart:
    """Routes and thread of the ingest.

    Args:
        gateway: whose store is written to.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ingest: Ingest | None = None
        self._absorbing: asyncio.Task[None] | None = None
        self._elsewhere = ""  # where a gateway is that has taken over what only one host may do
        self._renewed = self._compacts_at = 0.0
        self._arriving = 0  # bytes of uploads that are being read; changed on the event loop alone
        self.router = APIRouter(tags=["ingest"])
        self.router.add_api_route(
            INGEST,
            self._post,
            methods=["POST"],
            summary="Take an upload of a tracker's journal",
            openapi_extra={"requestBody": {"content": {UPLOAD: {}}, "required": True}},
        )

    @property
    def ingest(self) -> Ingest:
        """The one of this gateway; StoreBusy before it is started."""
        if self._ingest is None:
            raise StoreBusy("the gateway is starting or stopping: try again")
        if self._elsewhere:
            raise StoreBusy(f"a gateway at {self._elsewhere} has taken the store over: ask there")
        return self._ingest

    async def start(self) -> None:
        """Take up what the gateway before this one had begun."""
        gateway, options = self._gateway, self._gateway.options
        guard = Guard(gateway.store.records, options.max_metric_keys, gateway.figures)

        def begin() -> Ingest:
            need_no_other_host(gateway.store)
            self._renew()
            return Ingest(
                gateway.store,
                silence=options.heartbeat,
                reserve=options.reserve_bytes,
                touched=gateway.live.touch,
                guard=guard,
                admit=self._admit,
            )

        self._ingest = found = await asyncio.to_thread(begin)
        figures = gateway.figures
        figures.gauge("mlrun_ingest_points", lambda: float(found.points))
        figures.gauge("mlrun_ingest_records", lambda: float(found.records))
        figures.gauge("mlrun_ingest_uploads", lambda: float(found.uploads))
        self._absorbing = asyncio.create_task(self._absorb())

    async def _absorb(self) -> None:
        while True:
            await asyncio.sleep(_ABSORB)
            try:
                await asyncio.to_thread(self._renew)
                await asyncio.to_thread(_tidy, self._gateway.store)
                await asyncio.to_thread(self._compact)
            except Exception:  # noqa: BLE001  the next look tries again
                log.exception("an absorber could not be started")

    def _renew(self) -> None:
        """Keep the lease of the one host that has a journal of others' writers, if the store needs one."""
        store, now = self._gateway.store, time.monotonic()
        if isinstance(store.series, CanRollUp) or now - self._renewed < RENEW:
            return
        place = f"{host_name()}:{self._gateway.ports.get('http', '')}"
        before = self._elsewhere
        self._elsewhere = take(store.records, MIRROR, holder_of(store), place=place)
        self._renewed = now if not self._elsewhere else 0.0
        if self._elsewhere != before:
            log.error("the lease of the store", extra={"fields": {"held_by": self._elsewhere}})

    def _compact(self) -> None:
        """Start `compact` once a day, in one of the gateways of the store; the first time a day after it began."""
        store, now = self._gateway.store, time.monotonic()
        seconds = self._gateway.options.compact_hours * 3600
        if not seconds or now < self._compacts_at:
            return
        self._compacts_at = now + min(seconds, _LOOK)
        first = not store.records.lookup(LEASES, {"name": COMPACT})
        # every turn is a holder of its own: who is a moment later finds it taken, also on this host
        held = take(store.records, COMPACT, uuid7(), seconds)
        if not held:
            forget(store)
        alone = "chdb" in store.part_url("series").partition(":")[0]  # no other process opens it
        if not held and not first and not alone:
            start_detached("mlrun.care.daily", str(store.folder), **store.variables())

    async def drain(self) -> None:
        """Finish the uploads that were taken."""
        if self._absorbing is not None:
            self._absorbing.cancel()
        found, self._ingest = self._ingest, None
        if found is not None:
            await asyncio.to_thread(found.close)
            if not isinstance(self._gateway.store.series, CanRollUp):
                store = self._gateway.store
                await asyncio.to_thread(give_back, store.records, MIRROR, holder_of(store))

    def close(self) -> None:
        """Do nothing: `drain` has closed everything."""

    def ready(self) -> str:
        """Return why nothing can be taken."""
        if self._elsewhere:
            return f"a gateway at {self._elsewhere} has taken the store over"
        return "" if self._ingest is not None else "ingest has not begun"

    def _offer(self, caller: Caller, body: bytearray, encoding: str) -> Future[dict[str, Any]]:
        return self.ingest.offer(caller, unpacked(body, encoding))

    def _admit(self, caller: Caller, points: int, shares: Mapping[str, tuple[int, float]]) -> None:
        limits, rate = self._gateway.limits, self._gateway.options.points_per_second
        for project, (count, most) in shares.items():
            limits.take("points", f"project {project!r:.200}", count, most)
        limits.take("points", caller.name, points, rate)

    async def _post(self, request: Request, caller: Caller = Depends(caller_of)) -> dict[str, Any]:  # noqa: B008
        told = request.headers.get("content-length", "")
        size = int(told) if told.isdecimal() else MAX_BYTES
        if self._arriving and self._arriving + size > _AT_ONCE:
            raise StoreBusy("more uploads arrive than the gateway can hold: try again")
        self._arriving += size
        try:
            body = await read_body(request, MAX_BYTES)
            packed = request.headers.get("content-encoding", "identity")
            offered = await asyncio.to_thread(self._offer, caller, body, packed)
        finally:
            self._arriving -= size
        answer: dict[str, Any] = await asyncio.wrap_future(offered)
        return answer


def _tidy(store: Store) -> None:
    """Have the journal absorbed if it is due, and points rolled up that came in small commits."""
    absorb_in_background(store)
    if isinstance(store.series, CanRollUp):
        store.series.roll_up()


def unpacked(body: bytearray, encoding: str) -> memoryview:
    """Return a body as it was before it was packed.

    Raises:
        UploadRefused: it was packed otherwise, or is larger than an upload may be.
    """
    if encoding == "identity":
        return memoryview(body)
    if encoding != "deflate":
        raise UploadRefused(
            f"an upload is packed by deflate or not at all, not by {encoding!r:.40}"
        )
    stream = zlib.decompressobj()
    try:
        whole = stream.decompress(body, MAX_BYTES + 1)
    except zlib.error:
        raise UploadRefused("the upload was changed on its way") from None
    if not stream.eof or stream.unused_data:
        raise UploadRefused("the upload was cut, or is larger than an upload may be")
    return memoryview(whole)


async def read_body(request: Request, most: int) -> bytearray:
    """Return the body of a request.

    Raises:
        UploadRefused: it is larger than `most` bytes, or stopped coming.
    """
    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or int(told) > most:
        raise UploadRefused(f"an upload has at most {most:,} bytes")
    body = bytearray()
    pieces = request.stream().__aiter__()
    while True:
        try:
            piece = await asyncio.wait_for(anext(pieces), _SECONDS)
        except StopAsyncIteration:
            return body
        except TimeoutError:
            raise UploadRefused("the upload stopped coming") from None
        body += piece
        if len(body) > most:
            raise UploadRefused(f"an upload has at most {most:,} bytes")
