"""Audio and video as artifacts: samples become WAV with the standard library; files and bytes stay as they are."""

from __future__ import annotations

import io
from typing import Any

from mlrun.content.bodies import Body

__all__ = ["encode_audio", "encode_video", "read_wave"]

_AUDIO = (
    (b"ID3", "mp3"),
    (b"\xff\xfb", "mp3"),
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
)
_MAX_CHANNELS = 32


def encode_audio(data: Any, rate: int | None = None) -> Body:
    """Encode samples, or the bytes of an audio file.

    Args:
        data: (frames,) or (frames, channels), floats -1..1 or integers of 8, 16 or 32 bits; or bytes.
        rate: frames a second; needed for samples.

    Raises:
        TypeError: it is no sound, or the rate is missing.
    """
    if isinstance(data, (bytes, bytearray)):
        if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
            return Body(bytes(data), "wav", "audio")
        kind = next((name for magic, name in _AUDIO if data.startswith(magic)), "")
        if not kind:
            raise TypeError("these bytes are no WAV, MP3, FLAC or Ogg sound")
        return Body(bytes(data), kind, "audio")
    if rate is None or int(rate) <= 0:
        raise TypeError("samples need rate=, in frames a second")
    return _wave(data, int(rate))


def encode_video(data: Any) -> Body:
    """Take the bytes of a video file; the container is told by its first bytes.

    Raises:
        TypeError: it is no video.
    """
    if not isinstance(data, (bytes, bytearray)):
        raise TypeError(f"a video is a file or its bytes, not {type(data).__name__}")
    head = bytes(data[:16])
    if head[4:8] == b"ftyp":
        kind = "mp4"
    elif head.startswith(b"\x1aE\xdf\xa3"):
        kind = "webm"
    elif head.startswith(b"GIF8"):
        kind = "gif"
    elif head.startswith(b"RIFF") and head[8:11] == b"AVI":
        kind = "avi"
    else:
        raise TypeError("these bytes are no MP4, WebM, GIF or AVI video")
    return Body(bytes(data), kind, "video")


def read_wave(data: bytes) -> tuple[Any, int]:
    """Return (samples, rate) of a WAV file: (frames,) or (frames, channels), in the width that was stored."""
    import wave

    import numpy as np

    with wave.open(io.BytesIO(data)) as file:
        channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
        raw = file.readframes(file.getnframes())
    if width not in (1, 2, 4):
        raise TypeError(f"WAV with {8 * width} bits is not read here: use open()")
    samples = np.frombuffer(raw, {1: "u1", 2: "<i2", 4: "<i4"}[width])
    return samples.reshape(-1, channels) if channels > 1 else samples, rate


def _wave(data: Any, rate: int) -> Body:
    import wave

    import numpy as np

    from mlrun.content.arrays import as_array

    samples = as_array(data)
    if samples.ndim == 2 and samples.shape[0] <= _MAX_CHANNELS < samples.shape[1]:
        samples = samples.T
    if samples.ndim not in (1, 2) or (
        samples.ndim == 2 and not 1 <= samples.shape[1] <= _MAX_CHANNELS
    ):
        raise TypeError(
            f"samples of shape {samples.shape} are no sound: it takes (frames[, channels])"
        )
    if samples.dtype.kind == "f":
        whole = np.clip(np.nan_to_num(samples.astype(np.float64)), -1.0, 1.0)
        samples = np.rint(whole * 32767).astype(np.int16)
    widths = {"uint8": 1, "int16": 2, "int32": 4}
    if samples.dtype.name not in widths:
        raise TypeError(
            f"samples of {samples.dtype} are no sound: floats, uint8, int16 or int32 are"
        )
    channels = samples.shape[1] if samples.ndim == 2 else 1
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(widths[samples.dtype.name])
        file.setframerate(rate)
        file.writeframes(samples.astype(samples.dtype.newbyteorder("<")).tobytes())
    meta = {"rate": rate, "channels": channels, "seconds": len(samples) / rate}
    return Body(buffer.getvalue(), "wav", "audio", meta)
