"""StoredObject: what an object store says of bytes that it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["StoredObject"]


@dataclass(frozen=True)
class StoredObject:
    """Bytes in an object store: sha256 (hex), size in bytes, and the URI to read them again."""

    sha256: str
    size: int
    uri: str
    extra: dict[str, Any] = field(default_factory=dict, compare=False)
