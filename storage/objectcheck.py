"""Look for damage in a bucket: objects whose bytes have another hash, and uploads that nobody finished."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

from mlrun.contracts import Finding
from mlrun.errors import ObjectsUnreachable

from .objectuploads import abort, unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .objectplace import ObjectPlace
    from .objectstore import BucketObjects

__all__ = ["check_objects"]

_DEAD_AFTER = 86_400.0  # seconds: a large upload may take hours


def check_objects(
    objects: BucketObjects, place: ObjectPlace, store: Any, *, repair: bool
) -> list[Finding]:
    """Check everything; see `BucketObjects.check`."""
    found = [*_check_uploads(place, repair=repair)]
    for stored in objects.list():
        name = f"{stored.sha256[:2]}/{stored.sha256}"
        if _is_good(store, name, stored.sha256) is not False:
            continue
        what = "the object is damaged: its bytes have another hash"
        if repair:
            _set_aside(store, name, stored.sha256)
            what += "; it was moved to damaged/, storing the same bytes again heals it"
        found.append(Finding("lost", stored.uri, what))
    return found


def _check_uploads(place: ObjectPlace, *, repair: bool) -> Iterator[Finding]:
    try:
        for upload in unfinished(place):
            if time.time() - upload.begun > _DEAD_AFTER:
                if repair:
                    abort(place, upload)
                name = upload.key.removeprefix(f"{place.folder}/")
                what = "the parts of an upload that was never finished"
                yield Finding("repaired" if repair else "repairable", f"objects/{name}", what)
    except ObjectsUnreachable as error:
        what = f"whether there are unfinished uploads is not known: {error}"
        yield Finding("note", "objects", what)


def _is_good(store: Any, name: str, sha256: str) -> bool | None:
    import obstore

    digest = hashlib.sha256()
    try:
        for chunk in obstore.get(store, name).stream(4 << 20):
            digest.update(memoryview(chunk))
    except FileNotFoundError:
        return None  # freed while we walk
    return digest.hexdigest() == sha256


def _set_aside(store: Any, name: str, sha256: str) -> None:
    import obstore

    obstore.copy(store, name, f"damaged/{sha256}")
    obstore.delete(store, name)
