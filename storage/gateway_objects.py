"""Bytes behind a gateway: put into the spool at once, sent by the uploader, fetched and kept as local copies.

Law, beyond `mlrun.contracts.Objects`: `put` returns when the bytes are on this host's disk; they are sent before the
record that names them, in pieces, and go on where they stopped after any failure of either side. The gateway takes them
under their name only when all of them are there and have that hash. Reading asks the spool first, then the local
copies, then the gateway, in pieces too; what was fetched is checked against its hash before anybody sees it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.request import Request, urlopen

from mlrun.contracts import StoredObject
from mlrun.errors import NotFound, ObjectError, StoreClosed
from mlrun.registry import storage_class
from mlrun.wire import OBJECT, OBJECTS, path_of

from .bytecopy import hash_file
from .objectcache import ObjectCache

if TYPE_CHECKING:
    import builtins
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from mlrun.contracts import Objects

    from .gateway_http import Http

__all__ = ["GatewayObjects"]

_PIECE = 8 << 20  # bytes of one request
_CACHE_BYTES = 10 << 30
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class GatewayObjects:
    """Objects of a gateway's store.

    Args:
        http: requests to it.
        spool: folder in which bytes wait until they have arrived.
        offline: no network is to be talked to.
    """

    def __init__(self, http: Http, spool: Path, *, offline: bool = False) -> None:
        self._http = http
        self._spool = spool
        self._offline = offline
        self._closed = False
        waiting = f"file://{spool}/objects"
        self._waiting: Objects = storage_class(waiting)(waiting)
        most = int(os.environ.get("MLRUN_CACHE_BYTES") or _CACHE_BYTES)
        self._cache = ObjectCache(http.url, os.environ.get("MLRUN_CACHE", ""), most)

    def __repr__(self) -> str:
        """Show the gateway; its URL holds no key."""
        return f"GatewayObjects({self._http.url!r})"

    def put(self, source: Path | bytes | BinaryIO) -> StoredObject:
        """Store a file's, a stream's or given bytes on this host's disk, to be sent.

        Raises:
            ObjectError: no regular file at that path, or the disk is full or failing; nothing is left behind.
        """
        self._check_open()
        return self._waiting.put(source)

    def put_all(self, sources: Collection[Path]) -> builtins.list[StoredObject]:
        """Store many files; as `put`, with fewer waits for the disk."""
        self._check_open()
        waiting: Any = self._waiting
        stored: builtins.list[StoredObject] = waiting.put_all(sources)
        return stored

    def open(self, sha256: str, *, verify: bool = False) -> BinaryIO:
        """Open stored bytes for reading; what was fetched has been verified.

        Raises:
            NotFound: nothing is stored under this hash.
            ObjectError: the bytes are not those that were stored.
        """
        for _ in range(3):
            path = self.path(sha256)
            try:
                if verify and hash_file(path)[0] != sha256:
                    raise ObjectError(
                        f"object {sha256[:12]}… is damaged: its bytes have another hash"
                    )
                return path.open("rb")
            except FileNotFoundError:
                continue  # it has just arrived at the gateway
        raise NotFound(f"no object {sha256[:12]}…")

    def path(self, sha256: str) -> Path:
        """Return a local read-only path of the bytes, fetched first if need be; it stays while this process lives.

        Raises:
            NotFound, ObjectError: as `open`.
        """
        self._check_open()
        if not _SHA256.fullmatch(sha256):
            raise NotFound(f"no object {sha256[:12]!r}")
        if (found := self._cache.find(sha256)) is not None:
            return found
        with contextlib.suppress(NotFound, FileNotFoundError):
            return self._keep(self._waiting.path(sha256), sha256)
        if self._offline:
            raise NotFound(f"no object {sha256[:12]}… on this host, and MLRUN_MODE is offline")
        with self._cache.once(sha256):
            return self._cache.find(sha256) or self._fetch(sha256)

    def delete(self, sha256: str) -> bool:
        """Free the bytes, here and there; False if there are none. For who administers the gateway."""
        self._check_open()
        if not _SHA256.fullmatch(sha256):
            return False
        here = self._waiting.delete(sha256)
        self._cache.forget(sha256)
        with contextlib.suppress(NotFound):
            self._http.send("DELETE", path_of(OBJECT, sha256=sha256), again=True)
            return True
        return here

    def list(self) -> Iterator[StoredObject]:
        """Iterate over everything stored, what waits here included. For who administers the gateway."""
        self._check_open()
        mine = {o.sha256: o for o in self._waiting.list()}
        after = ""
        while True:
            reply = self._http.send("GET", f"{OBJECTS}?after={after}", again=True)
            page = json.loads(reply.body)["objects"]
            for sha256, size, uri in page:
                mine[sha256] = StoredObject(sha256, size, uri)
            if not page:
                break
            after = page[-1][0]
        yield from (mine[sha256] for sha256 in sorted(mine))

    def close(self) -> None:
        """Later calls raise `StoreClosed`; idempotent."""
        self._closed = True
        self._cache.close()

    # -- sending ---------------------------------------------------------------------------------

    def deliver(self, sha256: str) -> None:
        """Send an object that waits, and let go of it once the gateway has it.

        Raises:
            StoreError, AccessDenied: the gateway does not take it now, or not at all; the bytes stay.
        """
        try:
            path = self._waiting.path(sha256)
            size = path.stat().st_size
        except (NotFound, FileNotFoundError):
            return  # another call has delivered it
        at = 0
        told = self._send_piece(sha256, b"", 0, size)
        with path.open("rb") as file:
            while not told["stored"]:
                at = int(told["offset"])
                file.seek(at)
                told = self._send_piece(sha256, file.read(_PIECE), at, size)
        self._keep(path, sha256)
        self._waiting.delete(sha256)

    def _send_piece(self, sha256: str, piece: bytes, at: int, size: int) -> dict[str, Any]:
        span = f"{at}-{at + len(piece) - 1}" if piece else "*"
        headers = {
            "Content-Range": f"bytes {span}/{size}",
            "Content-Type": "application/octet-stream",
        }
        reply = self._http.send("PUT", path_of(OBJECT, sha256=sha256), piece, headers, again=True)
        told: dict[str, Any] = json.loads(reply.body)
        return told

    def _keep(self, path: Path, sha256: str) -> Path:
        """Make bytes that wait a local copy, so that a path that was given stays when they have arrived."""
        with self._cache.filling() as (fd, fresh):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    os.write(fd, block)
            return self._cache.keep(fd, fresh, sha256)

    # -- fetching --------------------------------------------------------------------------------

    def _fetch(self, sha256: str) -> Path:
        with self._cache.filling() as (fd, fresh):
            digest, at, size = hashlib.sha256(), 0, 1
            through = False
            while at < size:
                piece, size, through = self._fetch_piece(sha256, at, through)
                if not piece and size:
                    raise ObjectError(f"object {sha256[:12]}… ended after {at:,} of {size:,} bytes")
                digest.update(piece)
                os.write(fd, piece)
                at += len(piece)
            if digest.hexdigest() != sha256:
                raise ObjectError(f"object {sha256[:12]}… did not arrive as it was stored")
            return self._cache.keep(fd, fresh, sha256)

    def _fetch_piece(self, sha256: str, at: int, through: bool) -> tuple[bytes, int, bool]:
        """Return bytes from an offset on, the object's size, and whether the gateway must pass the bytes itself."""
        span = {"Range": f"bytes={at}-{at + _PIECE - 1}"}
        path = path_of(OBJECT, sha256=sha256) + ("?through=1" if through else "")
        reply = self._http.send("GET", path, headers=span, again=True)
        if reply.status in (302, 307):
            try:
                return *_from_elsewhere(reply.headers["location"], span), False
            except OSError:  # the store of bytes cannot be reached from here, or the URL is spent
                return self._fetch_piece(sha256, at, True)
        return (
            reply.body,
            _size_of(reply.headers.get("content-range", ""), len(reply.body)),
            through,
        )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed(f"{self!r} is closed")


def _from_elsewhere(url: str, headers: dict[str, str]) -> tuple[bytes, int]:
    """Read a piece from a presigned URL; our key is not for that host."""
    if not url.startswith(("https://", "http://")):
        raise OSError("the address is none")
    with urlopen(Request(url, headers=headers), timeout=60) as reply:
        body = reply.read()
        return body, _size_of(reply.headers.get("Content-Range", ""), len(body))


def _size_of(span: str, length: int) -> int:
    found = _RANGE.fullmatch(span)
    return int(found[3]) if found else length
