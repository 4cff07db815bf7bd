"""The content hash of a function: 40 hex digits that change when its code or spec changes, and only then.

The routine is that of mlrun/mlrun: blank what is not content (tag, hash, times, and here the place on this host where
the code was found), write the rest as JSON with sorted keys, take the SHA-1. It is a name, not a safeguard.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from mlrun.functions.spec import FunctionSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["content_hash"]

_BLANK = ("hash", "status", "created", "created_at", "updated", "updated_at")


def content_hash(spec: FunctionSpec | Mapping[str, Any]) -> str:
    """Return the hash of a spec, or of its dict.

    Example:
        >>> one = FunctionSpec(name="train", env={"A": "1", "B": "2"}, tag="v1")
        >>> two = FunctionSpec(name="train", env={"B": "2", "A": "1"})
        >>> content_hash(one) == content_hash(two)
        True
        >>> content_hash(one) == content_hash(FunctionSpec(name="train", env={"A": "1"}))
        False
    """
    known = spec if isinstance(spec, FunctionSpec) else FunctionSpec.from_dict(spec)
    content = {k: v for k, v in known.content().items() if k not in _BLANK}
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
