"""Pictures as artifacts: arrays become PNG with the standard library alone, Pillow images by Pillow, files stay.

An array is (height, width), (height, width, 1 | 3 | 4), or the same with the channels first, as tensors have it. Its
values are bool, 0..255, or floats 0..1 (floats beyond 1.5 are taken as 0..255); NaN is black.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

from mlrun.content.arrays import as_array
from mlrun.content.bodies import Body, library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["encode", "is_picture", "sniff"]

_CHANNELS = (1, 2, 3, 4)
_COLOR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG: grey, grey + alpha, RGB, RGB + alpha
_MAX_SIDE = 1 << 16
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
)


def is_picture(value: Any) -> bool:
    """Whether this is a Pillow image."""
    return library(value) == "PIL" and hasattr(value, "save")


def sniff(data: bytes) -> str:
    """Return the picture format that the first bytes say, or an empty string."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:256].lstrip().startswith((b"<svg", b"<?xml")) and b"<svg" in data[:4096]:
        return "svg"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), "")


def encode(data: Any) -> Body:
    """Encode an array, a Pillow image, or the bytes of a picture file.

    Raises:
        TypeError: it is no picture.
    """
    if isinstance(data, (bytes, bytearray)):
        kind = sniff(bytes(data))
        if not kind:
            raise TypeError("these bytes are no PNG, JPEG, GIF, WebP, BMP, TIFF or SVG picture")
        return Body(bytes(data), kind, "image")
    if is_picture(data):
        return _from_pillow(data)
    pixels = _pixels(as_array(data) if not isinstance(data, list) else _listed(data))
    height, width, channels = pixels.shape
    meta = {"width": width, "height": height, "channels": channels}
    return Body(_png(pixels), "png", "image", meta)


def _from_pillow(picture: Any) -> Body:
    if picture.mode not in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}:
        picture = picture.convert("RGBA" if "A" in picture.mode else "RGB")
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    meta = {"width": picture.width, "height": picture.height, "channels": len(picture.getbands())}
    return Body(buffer.getvalue(), "png", "image", meta)


def _listed(data: list[Any]) -> NDArray[Any]:
    import numpy as np

    try:
        return np.asarray(data)
    except ValueError as error:  # rows of different lengths
        raise TypeError(f"this list is no picture: {error}") from error


def _pixels(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (height, width, channels) bytes."""
    import numpy as np

    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.ndim == 3 and array.shape[2] not in _CHANNELS and array.shape[0] in _CHANNELS:
        array = np.moveaxis(array, 0, 2)
    if array.ndim != 3 or array.shape[2] not in _CHANNELS or 0 in array.shape:
        raise TypeError(
            f"an array of shape {array.shape} is no picture: it takes (height, width[, 1, 3 or 4])"
        )
    if max(array.shape) > _MAX_SIDE:
        raise TypeError(f"a picture of {array.shape[1]} x {array.shape[0]} pixels is too big")
    pixels: NDArray[np.uint8] = np.ascontiguousarray(_to_bytes(array))
    return pixels


def _to_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    import numpy as np

    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype == np.uint16 and array.max() > 255:
        array = array >> 8
    scaled: NDArray[np.uint8]
    if array.dtype.kind in "iu":
        scaled = np.clip(array, 0, 255).astype(np.uint8)
        return scaled
    if array.dtype.kind != "f":
        raise TypeError(f"an array of {array.dtype} is no picture")
    values = np.nan_to_num(array.astype(np.float64), nan=0.0, posinf=1.0, neginf=0.0)
    scale = 1.0 if values.max() > 1.5 else 255.0  # a rounding error above 1 does not make it 0..255
    scaled = np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
    return scaled


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Write PNG (RFC 2083), each row with the cheapest of three filters."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPE[channels], 0, 0, 0)
    body = zlib.compress(_filtered(pixels.reshape(height, width * channels), channels).tobytes(), 6)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _filtered(rows: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    import numpy as np

    left, above = rows.copy(), rows.copy()
    left[:, channels:] -= rows[:, :-channels]
    above[1:] -= rows[:-1]
    candidates = np.stack([rows, left, above])  # filters 0 (none), 1 (sub), 2 (up)
    cost = np.minimum(candidates, 0 - candidates).sum(axis=2, dtype=np.int64)
    best = cost.argmin(axis=0)
    out = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    out[:, 0] = best
    out[:, 1:] = candidates[best, np.arange(rows.shape[0])]
    return out
