"""An answer as bytes, and what is done to it before it is sent: a tag, packing. Any process can do both."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from mlrun.wire import JSON

__all__ = ["Answered", "Form", "finished"]

_SMALL = 1024  # bytes below which nothing is packed


@dataclass(frozen=True)
class Answered:
    """An answer, ready to be sent.

    Attributes:
        body, kind: the bytes and their media type.
        headers: that belong to it.
    """

    body: bytes
    kind: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Form:
    """How an answer is sent.

    Attributes:
        tagged: with an ETag, so that it is not sent again to who has it.
        packs: JSON is packed.
    """

    tagged: bool = False
    packs: bool = False


def finished(found: Answered, form: Form) -> Answered:
    """Return an answer as it is sent: this costs time too, and is no event loop's work."""
    headers = {"Vary": "Accept, Accept-Encoding, Authorization", **found.headers}
    body = found.body
    if form.tagged:
        headers["ETag"] = f'W/"{blake2b(body, digest_size=16).hexdigest()}"'
        headers["Cache-Control"] = "private, no-cache"
    if form.packs and found.kind == JSON and len(body) > _SMALL:
        body = gzip.compress(body, 1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return replace(found, body=body, headers=headers)
