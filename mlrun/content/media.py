"""Pictures, sounds, tables and other values that `run.log()` meets beside numbers.

A wrapper says what a value is, and may carry a caption: `run.log({"sample": mlrun.Image(array, caption="a 7")})`.
Figures, frames and Pillow images need none; a bare array is stored as the histogram of its values; text, dicts and
lists as what they are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.content import arrays, figures, frames, images, sounds
from mlrun.content.bodies import Body, from_file, from_plain, library, to_json
from mlrun.content.references import local_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrun.content.dataitem import DataItem
    from mlrun.content.registration import RunLike

__all__ = [
    "Audio",
    "Histogram",
    "Html",
    "Image",
    "Media",
    "Table",
    "Video",
    "body_of",
    "log_value",
]

_MANY = 100  # of a list of media, more are left out


class Media:
    """A value and what it is; subclasses know how to encode it."""

    type = "artifact"

    def __init__(self, data: Any, *, caption: str = "") -> None:
        self.data = data
        self.caption = caption

    def __repr__(self) -> str:
        return f"{type(self).__name__}({library(self.data)}.{type(self.data).__name__})"

    def body(self) -> Body:
        """Encode it.

        Raises:
            TypeError: the value is not of this kind.
        """
        found = self._file() or self._encode()
        meta = {**found.meta, "caption": self.caption} if self.caption else found.meta
        return Body(found.source, found.format, self.type, meta, found.name)

    def _file(self) -> Body | None:
        if not isinstance(self.data, (str, os.PathLike)):
            return None
        return from_file(Path(local_path(os.fspath(self.data))), self.type)

    def _encode(self) -> Body:
        found = from_plain(self.data)
        if found is None:
            raise TypeError(f"{type(self.data).__name__} cannot be stored")
        return found


class Image(Media):
    """A picture: an array or tensor (see `mlrun.content.images`), a Pillow image, a path, or the bytes of a file."""

    type = "image"

    def _encode(self) -> Body:
        return (
            figures.encode(self.data) if figures.is_figure(self.data) else images.encode(self.data)
        )


class Audio(Media):
    """A sound: samples with their `rate`, a path, or the bytes of a file."""

    type = "audio"

    def __init__(self, data: Any, rate: int | None = None, *, caption: str = "") -> None:
        super().__init__(data, caption=caption)
        self.rate = rate

    def _encode(self) -> Body:
        return sounds.encode_audio(self.data, self.rate)


class Video(Media):
    """A video: a path, or the bytes of a file."""

    type = "video"

    def _encode(self) -> Body:
        return sounds.encode_video(self.data)


class Html(Media):
    """A page: markup as text, or the path of a file (a `Path`, or text that ends in `.html`). It is never run."""

    type = "html"

    def _file(self) -> Body | None:
        if isinstance(self.data, str) and (
            "<" in self.data or not self.data.endswith((".html", ".htm"))
        ):
            return None
        return super()._file()

    def _encode(self) -> Body:
        if not isinstance(self.data, (str, bytes)):
            raise TypeError(f"HTML is text, not {type(self.data).__name__}")
        data = self.data if isinstance(self.data, bytes) else self.data.encode("utf-8", "replace")
        return Body(data, "html", "html")


class Histogram(Media):
    """How values spread: the values themselves, or `counts` and `edges` as `np.histogram` returns them."""

    type = "histogram"

    def __init__(
        self,
        data: Any = None,
        *,
        bins: int = 64,
        counts: Any = None,
        edges: Any = None,
        caption: str = "",
    ) -> None:
        super().__init__(data, caption=caption)
        self.bins, self.counts, self.edges = bins, counts, edges

    def _encode(self) -> Body:
        return arrays.histogram(self.data, bins=self.bins, counts=self.counts, edges=self.edges)


class Table(Media):
    """Rows: a frame, a dict of columns, a list of dicts, or a list of rows with `columns`."""

    type = "table"

    def __init__(
        self, data: Any, columns: Sequence[str] | None = None, *, caption: str = ""
    ) -> None:
        super().__init__(data, caption=caption)
        self.columns = columns

    def _encode(self) -> Body:
        framed = (
            self.data
            if frames.is_frame(self.data)
            else frames.rows_to_frame(self.data, self.columns)
        )
        return frames.encode(framed, "table")


def body_of(value: Any) -> Body:
    """Encode any value whose kind is plain to see: media, text, bytes, what JSON can hold; arrays as they are.

    Raises:
        TypeError: its kind is not plain to see.
    """
    if isinstance(value, Media):
        return value.body()
    if frames.is_frame(value):
        return frames.encode(value)
    if images.is_picture(value):
        return images.encode(value)
    if figures.is_figure(value):
        return figures.encode(value)
    if arrays.is_array(value):
        return arrays.encode_npy(value)
    found = from_plain(value)
    if found is None:
        raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} cannot be stored")
    return found


def log_value(run: RunLike, key: str, value: Any, step: int | None = None) -> DataItem | None:
    """Store a value that `log()` met, as an artifact at that step; never raises.

    What cannot be taken is warned about, and None returned; of a list of media the first item is returned.
    """
    from mlrun.content.registration import Options, register

    if isinstance(value, (list, tuple)) and value and all(isinstance(v, Media) for v in value):
        if len(value) > _MANY:
            run.warn(
                f"unloggable:{key}",
                f"{key!r}: only the first {_MANY} of {len(value)} media were logged",
            )
        items = [log_value(run, f"{key}/{i}", v, step) for i, v in enumerate(value[:_MANY])]
        return items[0]
    options = Options(step=step, code="unloggable", lenient=True)
    item = register(run, key, lambda: _logged(value), options=options)
    return None if item.error else item


def _logged(value: Any) -> Body:
    if frames.is_frame(value):
        return frames.encode(value, "table")
    if arrays.is_array(value):
        return arrays.histogram(value)
    found = body_of(value)
    return (
        Body(to_json(value), "json", "json")
        if found.format == "bytes" and isinstance(value, list)
        else found
    )
