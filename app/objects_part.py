"""The room of the gateway for the bytes of artifacts: taken in pieces, given in ranges.

Law.
    PUT of a piece says by `Content-Range` where it belongs; the answer says how many bytes are there (`offset`), or
    that the object is stored. A piece that does not begin there is not taken, so pieces may come twice, late, or after
    a restart of either side. An object gets its name when all bytes are there and have its hash.
    Who may write in some project may store bytes; they are reachable only through a record that names them. Bytes that
    records name are given to who may read one of these projects; bytes within a folder artifact, which no record names,
    to whoever knows their hash and may read at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request, Response

from mlrun.contracts import CanPresign
from mlrun.errors import AccessDenied, NotFound, ObjectError, StoreBusy, UploadRefused
from mlrun.tables import ARTIFACTS
from mlrun.wire import OBJECT, OBJECTS

from .auth import Caller, caller_of
from .ingest_part import read_body

if TYPE_CHECKING:
    from pathlib import Path

    from .gateway import Gateway

__all__ = ["ObjectsPart"]

_MOST = 16 << 20  # bytes of a piece
_PAGE = 1_000
_ABANDONED = 7 * 86_400.0  # seconds
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE = re.compile(r"bytes (?:(\d{1,15})-(\d{1,15})|\*)/(\d{1,15})")
_SPAN = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


class ObjectsPart:
    """Routes of objects.

    Args:
        gateway: whose store keeps them.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self.router = APIRouter(tags=["objects"])
        routes = (
            (OBJECT, self._put, "PUT", "Store a piece of an object"),
            (OBJECT, self._get, "GET", "Read an object, or a range of it"),
            (OBJECT, self._head, "HEAD", "Look whether an object is stored"),
            (OBJECT, self._delete, "DELETE", "Free an object"),
            (OBJECTS, self._list, "GET", "List all objects"),
        )
        for path, endpoint, method, summary in routes:
            self.router.add_api_route(path, endpoint, methods=[method], summary=summary)

    async def start(self) -> None:
        """Remove pieces that nobody came back for."""
        await asyncio.to_thread(self._tidy)

    async def drain(self) -> None:
        """Do nothing: pieces that arrived stay."""

    def close(self) -> None:
        """Do nothing: the store is the gateway's to close."""

    def ready(self) -> str:
        """Return why nothing can be taken."""
        return ""

    # -- routes ----------------------------------------------------------------------------------

    async def _put(
        self,
        sha256: str,
        request: Request,
        caller: Caller = Depends(caller_of),  # noqa: B008
    ) -> dict[str, Any]:
        if caller.projects("write") == frozenset():
            raise AccessDenied(f"{caller.name} may not write anywhere")
        told = _PIECE.fullmatch(request.headers.get("content-range", ""))
        if told is None or not _SHA256.fullmatch(sha256):
            raise UploadRefused("a piece of an object says by Content-Range where it belongs")
        body = await read_body(request, _MOST)
        at, size = int(told[1] or 0), int(told[3])
        if told[1] is not None and int(told[2]) - at + 1 != len(body):
            raise UploadRefused("a piece is not as long as its Content-Range says")
        return await self._gateway.work(self._take, sha256, caller.name, body, at, size)

    async def _get(
        self,
        sha256: str,
        request: Request,
        through: bool = False,
        caller: Caller = Depends(caller_of),  # noqa: B008
    ) -> Response:
        span = request.headers.get("range", "")
        return await self._gateway.work(self._read, sha256, caller, span, through)

    async def _head(self, sha256: str, caller: Caller = Depends(caller_of)) -> Response:  # noqa: B008
        size = await self._gateway.work(self._size, sha256, caller)
        headers = {"Content-Length": str(size), "Accept-Ranges": "bytes"}
        return Response(headers=headers, media_type="application/octet-stream")

    async def _delete(self, sha256: str, caller: Caller = Depends(caller_of)) -> Response:  # noqa: B008
        caller.need("admin")
        if not await self._gateway.work(self._gateway.store.objects.delete, sha256):
            raise NotFound(f"no object {sha256[:12]!r}")
        return Response(status_code=204)

    async def _list(self, after: str = "", caller: Caller = Depends(caller_of)) -> dict[str, Any]:  # noqa: B008
        caller.need("admin")
        return {"objects": await self._gateway.work(self._page, after)}

    # -- how, in threads -------------------------------------------------------------------------

    def _take(
        self, sha256: str, caller: str, piece: bytearray, at: int, size: int
    ) -> dict[str, Any]:
        with self._lock_of(sha256):
            with contextlib.suppress(NotFound):
                self._gateway.store.objects.open(sha256).close()
                self._part(sha256, caller).unlink(missing_ok=True)
                return {"stored": True, "offset": size}
            path = self._part(sha256, caller)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            try:
                have = os.fstat(fd).st_size
                if have > size:
                    os.ftruncate(fd, 0)
                    have = 0
                if piece and at == have:
                    self._need_room(len(piece))
                    have += _write(fd, piece, at, size)
            except OSError as error:
                raise StoreBusy(f"the gateway cannot write: {error.strerror}; try again") from error
            finally:
                os.close(fd)
            if have < size:
                return {"stored": False, "offset": have}
            return self._finish(sha256, path, size)

    def _finish(self, sha256: str, path: Path, size: int) -> dict[str, Any]:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != sha256:
            path.unlink(missing_ok=True)
            raise ObjectError(
                f"the bytes of object {sha256[:12]}… have another hash: send them again"
            )
        self._gateway.store.objects.put(path)
        path.unlink(missing_ok=True)
        self._gateway.figures.add("mlrun_objects_bytes_total", float(size))
        return {"stored": True, "offset": size}

    def _read(self, sha256: str, caller: Caller, span: str, through: bool) -> Response:
        self._need_read(sha256, caller)
        objects = self._gateway.store.objects
        if isinstance(objects, CanPresign) and not through:
            return Response(status_code=307, headers={"Location": objects.presign(sha256)})
        with objects.open(sha256) as file:
            size = file.seek(0, os.SEEK_END)
            first, last, part = _bounds(span, size)
            file.seek(first)
            body = file.read(last - first + 1)
        headers = {"Accept-Ranges": "bytes", "Content-Disposition": "attachment"}
        if part:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return Response(body, 206 if part else 200, headers, "application/octet-stream")

    def _size(self, sha256: str, caller: Caller) -> int:
        self._need_read(sha256, caller)
        with self._gateway.store.objects.open(sha256) as file:
            return file.seek(0, os.SEEK_END)

    def _page(self, after: str) -> list[tuple[str, int, str]]:
        found = []
        for stored in self._gateway.store.objects.list():
            if stored.sha256 > after:
                found.append((stored.sha256, stored.size, stored.uri))
        return sorted(found)[:_PAGE]

    def _need_read(self, sha256: str, caller: Caller) -> None:
        if not _SHA256.fullmatch(sha256):
            raise NotFound(f"no object {sha256[:12]!r}")
        if caller.may("read"):
            return
        store = self._gateway.store
        store.flush_records()
        named = {row["project"] for row in store.records.lookup(ARTIFACTS, {"sha256": sha256})}
        known = caller.projects("read") or frozenset()
        if not known or (named and not named & known):
            raise NotFound(f"no object {sha256[:12]}…")

    def _lock_of(self, sha256: str) -> threading.Lock:
        with self._guard:
            if len(self._locks) > 10_000:
                self._locks = {s: lock for s, lock in self._locks.items() if lock.locked()}
            return self._locks.setdefault(sha256, threading.Lock())

    def _part(self, sha256: str, caller: str) -> Path:
        """Return the file of an unfinished object; a caller finds only his own."""
        name = hashlib.sha256(f"{sha256} {caller}".encode()).hexdigest()
        return self._gateway.store.folder / "uploads" / name

    def _need_room(self, size: int) -> None:
        if not hasattr(os, "statvfs"):
            return
        disk = os.statvfs(self._gateway.store.folder)
        total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        if free - size < min(self._gateway.options.reserve_bytes, total // 20):
            raise StoreBusy("the gateway's disk is full: it takes nothing until there is room")

    def _tidy(self) -> None:
        folder = self._gateway.store.folder / "uploads"
        for path in folder.iterdir() if folder.is_dir() else ():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()


def _write(fd: int, piece: bytearray, at: int, size: int) -> int:
    if at + len(piece) > size:
        raise UploadRefused("a piece reaches beyond the end of its object")
    view = memoryview(piece)
    done = 0
    while done < len(view):
        done += os.pwrite(fd, view[done:], at + done)
    return done


def _bounds(span: str, size: int) -> tuple[int, int, bool]:
    """Return first and last byte that a Range header asks for, at most a piece's worth, and whether it is a part."""
    told = _SPAN.fullmatch(span)
    if told is None or not (told[1] or told[2]) or not size:
        return 0, size - 1, False
    if not told[1]:
        return max(0, size - int(told[2])), size - 1, True
    first = min(int(told[1]), size)
    last = min(int(told[2]) if told[2] else size - 1, size - 1, first + _MOST - 1)
    return first, max(last, first - 1), True
