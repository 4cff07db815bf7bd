"""Logging and using artifacts: the rooms behind `run.log_artifact` and its siblings.

Bytes are on the disk and the record is in the journal when a call returns. A call that fails warns and returns an item
whose `error` says why; in strict mode it raises. Nothing here waits for a network.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.content.bodies import Body, from_plain
from mlrun.content.dataitem import DataItem, find_artifact
from mlrun.content.registration import Options, from_path, key_of, register
from mlrun.ids import now_us
from mlrun.tables import LINEAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlrun.content.references import Reference
    from mlrun.content.registration import RunLike

__all__ = [
    "log_artifact",
    "log_audio",
    "log_dataset",
    "log_figure",
    "log_histogram",
    "log_html",
    "log_image",
    "log_model",
    "log_table",
    "log_video",
    "use_artifact",
]


def log_artifact(
    run: RunLike,
    item: Any,
    body: Any = None,
    local_path: str | os.PathLike[str] | None = None,
    type: str = "artifact",
    step: int | None = None,
    aliases: str | Sequence[str] = (),
    labels: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> DataItem:
    """Log a file, a folder, a URL or a value.

    Args:
        run: the run that made it.
        item: the key; alone, the path or URL, whose last part is then the key.
        body: bytes, text, a dict or list (JSON), a frame (Parquet), an array, a figure, media; any other object is
            pickled.
        local_path: a file, a folder or a URL. A URL is recorded, not fetched; `file://` is a path.
        type: what it is, in your words.
        step: where in the run it belongs.
        aliases: names that shall point at this version.
        labels: words kept with it, in `meta`.
        metadata: values kept with it, in `meta`.
    """
    path, key = local_path, item
    if body is None and local_path is None:
        path, key = item, key_of(item)
    if body is None:
        return register(
            run, key, lambda: from_path(path), type, Options(step, aliases, labels, metadata)
        )
    return register(
        run, key, lambda: _from_value(body), type, Options(step, aliases, labels, metadata)
    )


def log_dataset(
    run: RunLike, key: str, df: Any = None, *, stats: bool = True, preview: int = 20,
    local_path: str | os.PathLike[str] | None = None, **options: Any,
) -> DataItem:  # fmt: skip
    """Log a frame (Polars, pandas, Arrow, rows) as Parquet, or a file of one as it is."""
    source = df if local_path is None else local_path

    def make() -> Body | Path | Reference:
        from mlrun.content import frames

        if isinstance(source, (str, os.PathLike)):
            found = from_path(source)
            if (
                isinstance(found, Body)
                and isinstance(found.source, Path)
                and found.format in {"parquet", "csv"}
            ):
                found.meta.update(frames.scan_file(found.source, found.format))
            return found
        return frames.encode(source, stats=stats, preview=preview)

    return register(run, key, make, "dataset", Options(**options))


def log_model(
    run: RunLike, key: str, body: Any = None, *, framework: str | None = None,
    metrics: Mapping[str, Any] | None = None, params: Mapping[str, Any] | None = None,
    local_path: str | os.PathLike[str] | None = None, **options: Any,
) -> DataItem:  # fmt: skip
    """Log a model: an object (see `mlrun.content.modelfiles`), its bytes, or a file or folder that holds it."""
    path = local_path if body is None else body if isinstance(body, (str, os.PathLike)) else None
    if body is None and local_path is None:
        path, key = key, key_of(key)
    about = {
        "framework": framework or "",
        "metrics": dict(metrics or {}),
        "params": dict(params or {}),
    }

    def make() -> Body | Path | Reference:
        from mlrun.content import modelfiles

        if path is not None:
            return from_path(path)
        if isinstance(body, (bytes, bytearray, memoryview)):
            return Body(bytes(body), "bytes")
        return modelfiles.encode(body, framework)

    return register(run, key, make, "model", Options(**options), about)


def log_table(
    run: RunLike, key: str, data: Any, columns: Sequence[str] | None = None, **options: Any
) -> DataItem:
    """Log rows: a frame, a dict of columns, a list of dicts, or a list of rows with `columns`."""
    from mlrun.content.media import Table

    return _log_media(run, key, lambda caption: Table(data, columns, caption=caption), options)


def log_figure(run: RunLike, key: str, figure: Any, **options: Any) -> DataItem:
    """Log a figure: matplotlib as PNG, Plotly and Altair as their JSON; or a picture file."""

    def make() -> Body | Path | Reference:
        from mlrun.content import figures

        return (
            from_path(figure) if isinstance(figure, (str, os.PathLike)) else figures.encode(figure)
        )

    caption = options.pop("caption", "")
    return register(
        run, key, make, "figure", Options(**options), {"caption": caption} if caption else None
    )


def log_image(run: RunLike, key: str, image: Any, **options: Any) -> DataItem:
    """Log a picture: an array, a tensor, a Pillow image, a path, or the bytes of a file."""
    from mlrun.content.media import Image

    return _log_media(run, key, lambda caption: Image(image, caption=caption), options)


def log_audio(
    run: RunLike, key: str, audio: Any, rate: int | None = None, **options: Any
) -> DataItem:
    """Log a sound: samples with `rate` (frames a second), a path, or the bytes of a file."""
    from mlrun.content.media import Audio

    return _log_media(run, key, lambda caption: Audio(audio, rate, caption=caption), options)


def log_video(run: RunLike, key: str, video: Any, **options: Any) -> DataItem:
    """Log a video: a path, or the bytes of a file."""
    from mlrun.content.media import Video

    return _log_media(run, key, lambda caption: Video(video, caption=caption), options)


def log_html(run: RunLike, key: str, html: Any, **options: Any) -> DataItem:
    """Log a page: markup or the path of a file."""
    from mlrun.content.media import Html

    return _log_media(run, key, lambda caption: Html(html, caption=caption), options)


def log_histogram(
    run: RunLike, key: str, values: Any = None, *, bins: int = 64, counts: Any = None, edges: Any = None,
    **options: Any,
) -> DataItem:  # fmt: skip
    """Log how values spread: the values, or `counts` and `edges` as `np.histogram` returns them."""
    from mlrun.content.media import Histogram

    def wrap(caption: str) -> Histogram:
        return Histogram(values, bins=bins, counts=counts, edges=edges, caption=caption)

    return _log_media(run, key, wrap, options)


def use_artifact(run: RunLike, name: str | DataItem) -> DataItem:
    """Return an artifact and record that this run read it.

    Args:
        run: the run that reads.
        name: see `find_artifact`; names without a project are looked for in the run's.

    Raises:
        NotFound: there is no such artifact.
    """
    item = name if isinstance(name, DataItem) else find_artifact(run.store, name, run.project)
    row = {
        "run_id": run.id, "project": item.project, "key": item.key, "version": item.version,
        "role": "input", "step": 0, "time": now_us(),
    }  # fmt: skip
    run.record([("put", LINEAGE.name, row)])
    return item


def _log_media(
    run: RunLike, key: str, wrap: Callable[[str], Any], options: dict[str, Any]
) -> DataItem:
    media = wrap(options.pop("caption", ""))
    return register(run, key, media.body, media.type, Options(**options))


def _from_value(value: Any) -> Body:
    from mlrun.content import arrays, figures, frames, images, media, modelfiles

    kinds = (media.Media, str, bytes, bytearray, memoryview, dict, list, tuple)
    known = (frames.is_frame, images.is_picture, figures.is_figure, arrays.is_array)
    if isinstance(value, kinds) or any(check(value) for check in known):
        return media.body_of(value)
    return from_plain(value) or modelfiles.pickled(value)
