"""Objects in a bucket: `s3://bucket/folder`, `gs://…`, `az://…`; see `objectplace` for the options of the URL.

```
<folder>/3f/3fc9…e1       immutable bytes, named by their SHA-256
<folder>/touched/…        when an object that was there already was put again
<folder>/sweeping/…       a sweep under way (see `objectsweep`)
<folder>/damaged/3fc9…e1  moved aside by check(repair=True)
```

Nothing appears under a final name before all of it is there: small objects are created by one conditional request,
large ones by an upload in parts that is completed only after the bytes sent were found to have the hash that names
them. The server checks a SHA-256 of every request too (S3). Reading goes through local copies, see `objectcache`.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mlrun.config import settings
from mlrun.contracts import Finding, StoredObject
from mlrun.errors import MlrunError, NotFound, ObjectError, ObjectsUnreachable, StoreClosed

from . import objectsweep
from .bytecopy import copy, hash_file, open_regular
from .objectcache import ObjectCache
from .objectplace import ObjectPlace, first_line, refuse_fork
from .objectread import RemoteFile, fetch
from .objectuploads import abort, unfinished

if TYPE_CHECKING:
    import builtins
    from collections.abc import Collection, Iterator

__all__ = ["BucketObjects"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})")
_PART = 8 << 20  # bytes of one part of a large upload; below it, one request does
_PARTS = 9_000  # S3 takes 10,000
_TOGETHER = 4  # parts sent at once
_FILES_TOGETHER = 8  # small files spend their time waiting for answers
_KEPT = 64 << 20  # what is larger is read from where it is, unless a path is wanted


class BucketObjects:
    """Content-addressed objects in a folder of a bucket; meets `Objects`, CanSweep, CanCheck and CanPresign.

    The `uri` of what is stored is relative (`objects/<aa>/<sha256>`), as that of a store's own folder: an export can go
    to any other store. A process that was forked after its parent used a bucket cannot use one.

    Args:
        url: `s3://bucket/folder?options`; the bucket must be there.

    Attributes:
        url: without credentials.
    """

    def __init__(self, url: str) -> None:
        self._at = ObjectPlace.parse(url)
        self.url = self._at.url
        self._closed = False

    def __repr__(self) -> str:
        """Show the URL without its credentials."""
        return f"BucketObjects({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as URL without credentials, see `mlrun.credentials`."""
        return BucketObjects, (self.url,)

    def put(self, source: Path | bytes | BinaryIO) -> StoredObject:
        """Store a file's, a stream's or given bytes; the bucket has them when this returns.

        Raises:
            ObjectError: no regular file at that path, or the bucket does not take them; nothing is left behind.
        """
        self._check_open()
        with self._told("cannot store"):
            if isinstance(source, (bytes, bytearray, memoryview)):
                data = bytes(source)
                sha256 = hashlib.sha256(data).hexdigest()
                return self._put_file(io.BytesIO(data), sha256, len(data))
            if isinstance(source, (str, os.PathLike)):
                with open_regular(Path(source)) as file:
                    sha256, size = _hash(file)
                    return self._put_file(file, sha256, size)
            with self._cache.filling() as (fd, path):  # a stream can be read but once
                sha256, size = copy(source, fd)
                with path.open("rb", buffering=0) as file:
                    stored = self._put_file(file, sha256, size)
                self._cache.keep(fd, path, sha256, pin=False)
                return stored

    def put_all(self, sources: Collection[Path]) -> builtins.list[StoredObject]:
        """Store many files, some of them at the same time; as `put`."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_FILES_TOGETHER) as threads:
            return [*threads.map(self.put, sources)]

    def open(self, sha256: str, *, verify: bool = False) -> BinaryIO:
        """Open stored bytes for reading.

        Args:
            sha256: 64 hexadecimal digits, lower case.
            verify: read everything once and compare the hash.

        Raises:
            NotFound: nothing is stored under this hash.
            ObjectError: the bytes are not those that were stored, or the bucket does not answer.
        """
        self._check_open()
        name = _name(sha256)
        if (copied := self._cache.find(sha256, pin=False)) is None and not verify:
            with self._told("cannot read"):
                size = self._size(name)
            if size is None:
                raise NotFound(f"no object {sha256[:12]}…")
            if size > _KEPT:
                return io.BufferedReader(RemoteFile(self._store, name, size, self._told), 1 << 20)
        path = copied or self._fetch(sha256)
        if verify and copied and hash_file(path)[0] != sha256:
            path = self._fetch(sha256)  # the copy is damaged: not yet the object
        try:
            return path.open("rb")
        except FileNotFoundError:  # a copy that others needed room for
            return self._fetch(sha256, pin=True).open("rb")

    def path(self, sha256: str) -> Path:
        """Return a local file of the bytes, fetched first if need be: read-only, and there while this process lives.

        Raises:
            NotFound: nothing is stored under this hash.
            ObjectError: the bytes are not those that were stored, or the bucket does not answer.
        """
        self._check_open()
        _name(sha256)
        return self._cache.find(sha256) or self._fetch(sha256, pin=True)

    def delete(self, sha256: str) -> bool:
        """Free the bytes; False if there are none."""
        import obstore

        self._check_open()
        try:
            name = _name(sha256)
            with self._told("cannot free"):
                self._cache.forget(sha256)
                if self._size(name) is None:
                    return False
                obstore.delete(self._store, name)
        except NotFound:
            return False
        return True

    def list(self) -> Iterator[StoredObject]:
        """Iterate over everything stored, in order of the hash."""
        self._check_open()
        with self._told("cannot list"):
            for name, found in objectsweep.names_below(self._store):
                if matched := _NAME.fullmatch(name):
                    yield _stored(matched[2], found["size"])

    def sweep(self, keep: Collection[str], *, older_s: float = 86_400.0) -> tuple[int, int]:
        """Free every object that is not in `keep` and was last put more than `older_s` seconds ago.

        Also frees the parts of uploads that began before that and were never finished. Safe while others put the same
        bytes: see `objectsweep`.

        Returns:
            How many objects were freed, and their bytes.
        """
        self._check_open()
        with self._told("cannot free"):
            freed = objectsweep.sweep(self._store, keep, older_s)
            with suppress(ObjectsUnreachable):  # it takes rights of its own; `check` tells of it
                for upload in self._abandoned(older_s):
                    abort(self._at, upload)
        self._cache.trim()
        return freed

    def presign(self, sha256: str, *, put: bool = False, expires_s: float = 300.0) -> str:
        """Return a URL by which whoever has it may read these bytes, or store them, for a while; nobody is asked."""
        import obstore

        self._check_open()
        with self._told("cannot sign for"):
            method, until = "PUT" if put else "GET", timedelta(seconds=expires_s)
            return str(obstore.sign(self._store, method, _name(sha256), until))  # type: ignore[call-overload]

    def check(self, *, repair: bool = False) -> builtins.list[Finding]:
        """Read every object and hash it again; look for uploads that nobody finished.

        With `repair`, a damaged object is moved aside, so that putting the same bytes again heals it.
        """
        from .objectcheck import check_objects

        self._check_open()
        with self._told("cannot examine"):
            return check_objects(self, self._at, self._store, repair=repair)

    def close(self) -> None:
        """Later calls raise `StoreClosed`; idempotent."""
        self._closed = True
        if "_cache" in self.__dict__:
            self._cache.close()

    # -- how -------------------------------------------------------------------------------------

    @cached_property
    def _store(self) -> Any:
        return self._at.open()

    @cached_property
    def _cache(self) -> ObjectCache:
        here = settings()
        return ObjectCache(self.url, here.cache, here.cache_max_bytes)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the object store is closed")
        refuse_fork()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn what obstore and the system raise into an error of ours, without credentials."""
        from obstore.exceptions import BaseError

        try:
            yield
        except MlrunError:
            raise
        except (BaseError, OSError) as error:
            if isinstance(error, BaseError) or "NoSuchBucket" in str(error):
                why = self._at.clean(error)
                raise ObjectsUnreachable(f"{what} objects of {self._at.name}: {why}") from None
            raise ObjectError(f"{what} objects of {self._at.name}: {_reason(error)}") from None

    def _size(self, name: str) -> int | None:
        import obstore

        try:
            return int(obstore.head(self._store, name)["size"])
        except FileNotFoundError:
            return None

    def _put_file(self, file: BinaryIO, sha256: str, size: int) -> StoredObject:
        """Store a file whose hash is known, unless the bucket has it; safe beside a sweep."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        name = _name(sha256)
        there = self._size(name) if size > _PART >> 7 else None
        while True:
            if there == size:
                objectsweep.touch(self._store, sha256)
            if objectsweep.wait_for_sweep(self._store, sha256):
                there = self._size(name)
                continue
            if there == size and (there := self._size(name)) == size:
                return _stored(sha256, size)
            file.seek(0)
            if size > _PART or there is not None:  # one of another size is damaged: replace it
                obstore.put(
                    self._store,
                    name,
                    _checked(file, sha256),
                    use_multipart=size > _PART,
                    chunk_size=max(_PART, size // _PARTS + 1),
                    max_concurrency=_TOGETHER,
                )
                return _stored(sha256, size)
            try:
                data = b"".join(_checked(file, sha256))
                obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except (
                AlreadyExistsError
            ):  # another has just put it, or we have, and the answer was lost
                there = self._size(name)
                continue
            return _stored(sha256, size)

    def _fetch(self, sha256: str, *, pin: bool = False) -> Path:
        """Copy an object here, whoever else wants it waiting for the same copy."""
        with self._told("cannot read"), self._cache.once(sha256):
            if pin and (path := self._cache.find(sha256)):
                return path
            with self._cache.filling() as (fd, path):
                try:
                    found = fetch(self._store, _name(sha256), fd)
                except FileNotFoundError:
                    raise NotFound(f"no object {sha256[:12]}…") from None
                if found != sha256:
                    raise ObjectError(
                        f"object {sha256[:12]}… is damaged: its bytes have another hash"
                    )
                return self._cache.keep(fd, path, sha256, pin=pin)

    def _abandoned(self, older_s: float) -> builtins.list[Any]:
        return [u for u in unfinished(self._at) if u.begun <= time.time() - older_s]


def _name(sha256: str) -> str:
    """No text that is not a hash ever becomes a name."""
    if not _SHA256.fullmatch(sha256):
        raise NotFound(f"{sha256[:80]!r} is not a SHA-256")
    return f"{sha256[:2]}/{sha256}"


def _stored(sha256: str, size: int) -> StoredObject:
    return StoredObject(sha256, size, f"objects/{sha256[:2]}/{sha256}")


def _hash(file: BinaryIO) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(1 << 20):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _checked(file: BinaryIO, sha256: str) -> Iterator[bytes]:
    """Yield a file's bytes; raise before the last of them if their hash is another than it was before."""
    digest, held = hashlib.sha256(), b""
    while chunk := file.read(1 << 20):
        digest.update(chunk)
        if held:
            yield held
        held = chunk
    if digest.hexdigest() != sha256:
        raise ObjectError("the file changed while it was stored")
    yield held


def _reason(error: OSError) -> str:
    why = error.strerror or first_line(error)
    return f"{error.filename!r}: {why}" if error.filename else why
