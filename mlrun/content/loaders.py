"""Reading an artifact back into what was logged, by the format in its metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.content import modelfiles
from mlrun.errors import MissingExtra, MlrunError, ObjectError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load_file"]

_TEXT = ("text", "html", "svg")
_PICTURES = ("png", "jpg", "gif", "webp", "bmp", "tiff")
_FRAMES = ("parquet", "arrow", "csv", "tsv", "jsonl")


def load_file(path: Path, meta: dict[str, Any], *, trust: bool = False) -> Any:
    """Return the object that a file holds.

    | format | what comes back |
    |---|---|
    | parquet, arrow, csv, tsv, jsonl | Polars DataFrame |
    | json, vega-lite | dict, list, … |
    | text, html, svg | text |
    | npy, npz | NumPy array, dict of arrays |
    | png, jpg, … | NumPy array (height, width[, channels]) |
    | wav | (samples, rate) |
    | plotly | Plotly figure, or its dict without Plotly |
    | pickle, joblib, torch, skops, xgboost, … | the model (see `modelfiles`) |
    | anything else | bytes |

    Raises:
        UntrustedPickle: loading could run code, and `trust` is off.
        MissingExtra: the library that reads it is not installed.
        ObjectError: the bytes are not of that format.
    """
    kind = str(meta.get("format", "bytes"))
    try:
        return _load(path, kind, meta, trust)
    except (MlrunError, MemoryError):
        raise
    except ImportError as error:
        extra = "media" if kind in _PICTURES else "all"
        raise MissingExtra.of(error.name or kind, extra) from error
    except Exception as error:
        # the framework says best what is wrong with a model, the system what is with a file
        if kind in modelfiles.FORMATS or getattr(error, "errno", None):
            raise
        raise ObjectError(
            f"the artifact is not the {kind} that it claims to be: {error}"
        ) from error


def _load(path: Path, kind: str, meta: dict[str, Any], trust: bool) -> Any:
    if kind in modelfiles.FORMATS:
        return modelfiles.load(path, meta, trust=trust)
    if kind in _FRAMES:
        from mlrun.content.frames import read_frame

        return read_frame(path, kind)
    if kind in {"json", "vega-lite", "geojson"}:
        return json.loads(path.read_bytes())
    if kind in _TEXT:
        return path.read_text(encoding="utf-8", errors="replace")
    if kind in {"npy", "npz"}:
        from mlrun.content.arrays import read_npy

        return read_npy(path, kind, trust=trust)
    if kind in _PICTURES:
        return _load_picture(path)
    if kind == "wav":
        from mlrun.content.sounds import read_wave

        return read_wave(path.read_bytes())
    if kind == "plotly":
        return _load_plotly(path)
    return path.read_bytes()


def _load_picture(path: Path) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(path) as picture:
        shown = (
            picture.convert("RGBA" if "transparency" in picture.info else "RGB")
            if picture.mode == "P"
            else picture
        )
        return np.asarray(shown)


def _load_plotly(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    try:
        import plotly.io
    except ImportError:  # its JSON is of use without it
        return json.loads(text)
    return plotly.io.from_json(text)
