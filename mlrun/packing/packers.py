"""Packers: a returned value becomes a result or an artifact of the run.

What suits a value when the hint names no type: plain values are results, frames datasets, figures plots, models models,
paths files; small arrays (fewer than ten values) are results, larger ones `.npy`; anything else is pickled.
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlrun.errors import ConfigError
from mlrun.packing.hints import LogHint
from mlrun.packing.writing import write_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Packer", "kind_of", "pack", "pack_returns", "register_packer"]

_FEW = 10  # values of an array that is shown as a result


class Packer(Protocol):
    """What a package of your own brings for its types; give it to `register_packer`.

    `kinds` names classes as `module.Class` (bases count too), so that nothing is imported to find out.
    """

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of its classes."""
        ...

    def pack(self, run: Any, value: Any, hint: LogHint) -> None:
        """Keep the value in the run under `hint.key`."""
        ...

    def unpack(self, item: Any, wanted: type) -> Any:
        """Return the value of a `DataItem` as the class that a type hint asks for."""
        ...


_packers: dict[str, Packer] = {}


def register_packer(packer: Packer) -> None:
    """Let `packer` keep and read values of its kinds from now on; the newest of a kind wins."""
    for kind in packer.kinds:
        _packers[kind] = packer


def packer_for(cls: type) -> Packer | None:
    """Return the registered packer of a class or the nearest of its bases."""
    for base in cls.__mro__:
        found = _packers.get(f"{base.__module__}.{base.__qualname__}")
        if found is not None:
            return found
    return None


def pack_returns(run: Any, value: Any, hints: list[LogHint | None]) -> None:
    """Keep what a handler returned.

    One hint means the whole value; several mean a tuple or list of as many. Without hints, a value that is not empty is
    kept as `return`.

    Raises:
        ConfigError: the number of values is not that of the hints, or one cannot be kept as its hint says.
    """
    if not hints:
        if value is not None and not _is_empty(value):
            pack(run, value, LogHint("return"))
        return
    if len(hints) == 1:
        values = [value]
    elif isinstance(value, (tuple, list)) and len(value) == len(hints):
        values = list(value)
    else:
        found = (
            f"{len(value)}" if isinstance(value, (tuple, list)) else f"one {type(value).__name__}"
        )
        named = ", ".join("None" if h is None else h.key for h in hints)
        raise ConfigError(f"the handler returned {found}, and returns= names {len(hints)}: {named}")
    for one, hint in zip(values, hints, strict=True):
        if hint is None:
            continue
        try:
            pack(run, one, hint)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"returned value {hint.key!r} cannot be kept: {error}") from error


def pack(run: Any, value: Any, hint: LogHint) -> None:
    """Keep one value as its hint says, or as suits it.

    Raises:
        TypeError: the value cannot be kept as that type; says what can.
    """
    if hint.itemized:
        for key, part in _parts(value, hint):
            inner = LogHint(
                key,
                hint.artifact_type,
                hint.itemized - 1,
                hint.packing_kwargs,
                hint.tag,
                hint.labels,
            )
            nested = isinstance(part, (dict, list, tuple)) or hint.itemized == 1
            pack(run, part, inner if nested else LogHint(key, hint.artifact_type))
        return
    own = packer_for(type(value))
    if own is not None and not hint.artifact_type:
        own.pack(run, value, hint)
        return
    kind = hint.artifact_type or kind_of(value)
    _KINDS[kind](run, value, hint)


def kind_of(value: Any) -> str:
    """Return the artifact type that suits a value; `result` for what JSON holds."""
    from mlrun.content import arrays, figures, frames, images, media, modelfiles
    from mlrun.content.bodies import from_plain

    if isinstance(value, os.PathLike):
        return "file"
    if isinstance(value, (bytes, bytearray, memoryview, media.Media)):
        return "artifact"
    if frames.is_frame(value):
        return "dataset"
    if figures.is_figure(value):
        return "plot"
    if images.is_picture(value):
        return "image"
    if arrays.is_array(value):
        return "result" if getattr(value, "size", _FEW) < _FEW else "artifact"
    if from_plain(value) is not None:
        return "result"
    return "model" if modelfiles.framework_of(value) else "object"


def _is_empty(value: Any) -> bool:
    """Whether a value without a hint is not worth keeping; 0 and False are, as text and collections without parts."""
    return isinstance(value, (str, bytes, list, tuple, dict, set)) and not value


def _parts(value: Any, hint: LogHint) -> Iterator[tuple[str, Any]]:
    stem = hint.key if hint.key.endswith(("_", "-", ".", "/")) else f"{hint.key}_"
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"{stem}{key}", part
    elif isinstance(value, (list, tuple, set, frozenset)):
        for number, part in enumerate(value):
            yield f"{stem}{number}", part
    else:
        raise TypeError(
            f"'*{hint.key}' unbundles a list, tuple, set or dict, not a {type(value).__name__}"
        )


def _result(run: Any, value: Any, hint: LogHint) -> None:
    from mlrun.content.arrays import as_array, is_array
    from mlrun.content.bodies import to_json

    if is_array(value):
        value = as_array(value).tolist()
    try:
        to_json(value)
    except TypeError as error:
        raise TypeError(
            f"{hint.key!r} cannot be a result: a {type(value).__name__} has no JSON form; "
            f"say returns=['{hint.key} : object'], or leave the type out"
        ) from error
    run.log_result(hint.key, value)


def _dataset(run: Any, value: Any, hint: LogHint) -> None:
    options = dict(hint.packing_kwargs)
    format = str(options.pop("format", "parquet"))
    if format == "parquet":
        run.log_dataset(hint.key, value, **options, **_named(hint))
    else:
        _written(run, value, hint, format, partial(run.log_dataset, hint.key))


def _model(run: Any, value: Any, hint: LogHint) -> None:
    options = dict(hint.packing_kwargs)
    if hint.metrics:
        options["metrics"] = dict(hint.metrics)
    if isinstance(value, os.PathLike):
        options["local_path"] = value
        value = None
    run.log_model(hint.key, value, **options, **_named(hint))


def _file(run: Any, value: Any, hint: LogHint) -> None:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(
            f"{hint.key!r} is kept as a file: return its path, not a {type(value).__name__}"
        )
    if not Path(value).exists():
        raise TypeError(f"{hint.key!r}: the file {str(value)!r} is not there")
    run.log_artifact(hint.key, local_path=value, type="file", **_named(hint))


def _path(run: Any, value: Any, hint: LogHint) -> None:
    run.log_result(hint.key, str(value))


def _object(run: Any, value: Any, hint: LogHint) -> None:
    from mlrun.content.modelfiles import pickled
    from mlrun.content.registration import Options, register

    format = hint.packing_kwargs.get("format", "pickle")
    if format not in {"pickle", "pkl", "cloudpickle"}:
        _written(run, value, hint, str(format), partial(run.log_artifact, hint.key, type="object"))
    elif run.store is not None:
        register(run, hint.key, partial(pickled, value), "object", Options(**_named(hint)))


def _artifact(run: Any, value: Any, hint: LogHint) -> None:
    format = hint.packing_kwargs.get("format")
    if format is None:
        run.log_artifact(hint.key, body=value, **_named(hint))
    else:
        _written(run, value, hint, str(format), partial(run.log_artifact, hint.key))


def _written(run: Any, value: Any, hint: LogHint, format: str, log: Callable[..., Any]) -> None:
    """Write the value in the format asked for, and log the file."""
    with tempfile.TemporaryDirectory(prefix="mlrun-") as folder:
        stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in hint.key)[:80]
        path = write_as(value, Path(folder) / f"{stem}.{format}", format)
        log(local_path=path, **_named(hint))


def _by(method: str, run: Any, value: Any, hint: LogHint) -> None:
    getattr(run, method)(hint.key, value, **hint.packing_kwargs, **_named(hint))


def _named(hint: LogHint) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if hint.tag:
        out["aliases"] = [hint.tag]
    if hint.labels:
        out["labels"] = dict(hint.labels)
    return out


_KINDS: Mapping[str, Callable[[Any, Any, LogHint], None]] = {
    "result": _result,
    "dataset": _dataset,
    "model": _model,
    "plot": partial(_by, "log_figure"),
    "figure": partial(_by, "log_figure"),
    "table": partial(_by, "log_table"),
    "image": partial(_by, "log_image"),
    "html": partial(_by, "log_html"),
    "file": _file,
    "path": _path,
    "object": _object,
    "artifact": _artifact,
}
