"""What an artifact is made of before it is stored: bytes, the name of their format, and what is worth knowing of them.

Encoders (`frames`, `images`, `figures`, `sounds`, `modelfiles`) return a `Body`; `catalog` stores it; `loaders` reads
it by `meta["format"]`, never by the name of a file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.tracking import values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["Body", "cell", "from_file", "from_plain", "library", "strict_json", "to_json"]

# suffix -> format; what is not here is the suffix itself
_FORMATS = {
    "arrow": "arrow", "bin": "bytes", "bz2": "bytes", "ckpt": "torch", "feather": "arrow", "geojson": "json",
    "gz": "bytes", "htm": "html", "ipc": "arrow", "jpeg": "jpg", "log": "text", "md": "text", "ndjson": "jsonl",
    "pickle": "pickle", "pkl": "pickle", "pq": "parquet", "pt": "torch", "pth": "torch", "py": "text",
    "tif": "tiff", "toml": "text", "txt": "text", "yaml": "text", "yml": "text",
}  # fmt: skip
_TEXT_CELL = 200  # characters of a text that a preview shows


@dataclass(frozen=True)
class Body:
    """Content on its way into the store.

    Attributes:
        source: what `Objects.put` takes.
        format: how to read it back: parquet, json, text, png, npy, pickle, …
        type: the artifact's type when the caller names none.
        meta: facts for people and for the reader; must survive JSON.
        name: file name to suggest when it is downloaded.
    """

    source: Path | bytes | BinaryIO
    format: str
    type: str = "artifact"
    meta: dict[str, Any] = field(default_factory=dict)
    name: str = ""


def library(value: Any) -> str:
    """Return the top package that a value's class comes from, so that nothing is imported to find out.

    Example:
        >>> from fractions import Fraction
        >>> library({}), library(Fraction(1, 2))
        ('builtins', 'fractions')
    """
    return str(getattr(type(value), "__module__", "") or "").partition(".")[0]


def from_file(path: Path, type: str = "artifact") -> Body:
    """Describe a file that is stored as it is; the format is told by its suffix."""
    suffix = path.suffix[1:].lower()
    return Body(path, _FORMATS.get(suffix, suffix) or "bytes", type, name=path.name)


def from_plain(value: Any) -> Body | None:
    """Encode bytes, text, and what JSON can hold; None if it is none of these."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Body(bytes(value), "bytes")
    if isinstance(value, str):
        return Body(value.encode("utf-8", "replace"), "text", "text")
    kinds = (dict, list, tuple, set, frozenset, bool, int, float, type(None))
    if isinstance(value, kinds) or values.as_tree(value) is not None:
        return Body(to_json(value), "json", "json")
    return None


def to_json(value: Any) -> bytes:
    """Write any plain value as JSON; NaN and the infinities keep their literals.

    Raises:
        TypeError: something in it has no JSON form, or it holds itself.
    """
    try:
        return json.dumps(value, ensure_ascii=False, default=values.plain).encode()
    except RecursionError as error:
        raise TypeError("nested too deeply for JSON") from error
    except Exception:  # noqa: BLE001 - keys that are no text, lone surrogates: taken the slow way below
        pass
    try:
        return json.dumps(values.plain(value), ensure_ascii=False).encode()
    except Exception as error:
        raise TypeError(f"{type(value).__name__} has no JSON form") from error


def strict_json(meta: Mapping[str, Any]) -> str:
    """Write metadata as JSON that every reader takes: NaN and the infinities become text, long text is cut."""
    try:
        plain = values.plain(dict(meta))
    except Exception:  # noqa: BLE001 - a strange value somewhere: keep the rest, show that one
        plain = {str(k): values.encode(v) for k, v in meta.items()}
        plain = {k: json.loads(text) for k, (text, _, _) in plain.items()}
    return json.dumps(_strict(plain), ensure_ascii=False, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_strict(v) for v in value]
    return value.replace("\0", "") if isinstance(value, str) else value


def cell(value: Any) -> Any:
    """Return what a preview shows of one value: a number, short text, or the beginning of its text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else values.pretty(value)
    return text if len(text) <= _TEXT_CELL else text[: _TEXT_CELL - 1] + "…"
