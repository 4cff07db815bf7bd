"""From content to a registered artifact: encode, store, record, and never disturb the training.

Bytes are on the disk and the record is in the journal when `register` returns. What fails is warned about, and the item
that is returned says why; in strict mode it raises.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlrun.content import folders
from mlrun.content.bodies import Body, from_file, strict_json
from mlrun.content.dataitem import DataItem
from mlrun.content.naming import check_alias
from mlrun.content.references import Reference, is_url, local_path
from mlrun.ids import now_us
from mlrun.names import clean
from mlrun.tracking.scalars import as_step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlrun.config import Settings
    from mlrun.contracts import Op
    from mlrun.store import Store

__all__ = ["Options", "RunLike", "from_path", "key_of", "register"]

_PLAIN_TYPE = "artifact"  # the type of what has no better one


class RunLike(Protocol):
    """What artifacts need of a run."""

    id: str
    project: str
    settings: Settings
    strict: bool

    @property
    def store(self) -> Store:
        """Where its objects and records go."""
        ...

    def record(self, ops: list[Op]) -> None:
        """Write changes to the journal."""
        ...

    def warn(self, code: str, message: str) -> None:
        """Tell the user, once per code."""
        ...


@dataclass(frozen=True)
class Options:
    """What every `log_…` call takes.

    Attributes:
        step: where in the run it belongs.
        aliases: names that shall point at this version.
        labels, metadata: words and values kept with it, in `meta`.
        code: of the warning when it fails.
        lenient: warn also in strict mode.
    """

    step: int | None = None
    aliases: str | Sequence[str] = ()
    labels: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    code: str = "artifact"
    lenient: bool = False


@dataclass
class _Stored:
    """Content that is safe in the object store, or known to lie elsewhere."""

    type: str
    size: int | None
    sha256: str
    uri: str
    meta: dict[str, Any] = field(default_factory=dict)


def register(
    run: RunLike,
    key: Any,
    make: Callable[[], Body | Path | Reference],
    type: str = _PLAIN_TYPE,
    options: Options | None = None,
    about: Mapping[str, Any] | None = None,
) -> DataItem:
    """Encode, store and record one artifact.

    Args:
        run: the run that made it.
        key: its name, any text.
        make: returns the content; whatever it raises is the reason of the failure.
        type: its type; "artifact" leaves it to the content.
        options: see `Options`.
        about: metadata that goes before what the content tells of itself.
    """
    given = options or Options()
    named = clean(key, "key", run.warn)
    type = clean(type, "type", run.warn)
    row = {"project": run.project, "key": named, "type": type, "created_at": now_us()}
    try:
        row |= _described(_store(run, make(), type), about, given)
        aliases = _aliases(run, named, given)
        made = {
            "run_id": run.id,
            "role": "output",
            "step": as_step(given.step) or 0,
            "aliases": aliases,
        }
        run.record([("artifact", "", {**row, **made})])
    except Exception as error:
        # a figure, a file system, a stranger's __reduce__: whatever it was, training goes on
        if run.strict and not given.lenient:
            raise
        reason = f"{error.__class__.__name__}: {error}"
        run.warn(f"{given.code}:{named}", f"{named!r} was not logged: {reason}")
        return DataItem(run.store, row, error=reason)
    return DataItem(run.store, row)


def _described(
    stored: _Stored, about: Mapping[str, Any] | None, options: Options
) -> dict[str, Any]:
    extra = {"labels": dict(options.labels or {}), "metadata": dict(options.metadata or {})}
    meta = {**(about or {}), **stored.meta, **{k: v for k, v in extra.items() if v}}
    facts = {"type": stored.type, "size": stored.size, "sha256": stored.sha256, "uri": stored.uri}
    return {**facts, "meta": strict_json(meta)}


def key_of(item: Any) -> str:
    """Return the last part of a path or URL; of anything else, its type's name, for the warning to come."""
    if not isinstance(item, (str, os.PathLike)):
        return str(item.__class__.__name__)
    text = os.fsdecode(item)
    if is_url(text):
        return Reference(text).key
    path = Path(local_path(text))
    return path.name if path.name not in {"", ".."} else path.resolve().name


def from_path(given: Any) -> Body | Path | Reference:
    """Tell a URL, a folder and a file apart."""
    if not isinstance(given, (str, os.PathLike)):
        raise TypeError(
            f"a path or URL is text, not {given.__class__.__name__}; say log_artifact(key, body=…)"
        )
    text = os.fsdecode(given)
    if is_url(text):
        return Reference(text)
    path = Path(local_path(text)).expanduser()
    if path.is_dir():
        return path
    if not path.exists():
        raise FileNotFoundError(f"there is no file {text!r}")
    return from_file(path)


def _store(run: RunLike, content: Body | Path | Reference, type: str) -> _Stored:
    """Bring content into the object store; a URL only gets its name."""
    better = type == _PLAIN_TYPE
    if isinstance(content, Reference):
        if content.redacted:
            run.warn(
                f"url:{content.key}", f"{content.key!r}: a credential was taken out of its URL"
            )
        meta = {"format": content.suffix or "bytes", "name": content.key, "external": True}
        return _Stored(type, None, content.sha256, content.url, meta)
    objects = run.store.objects
    if isinstance(content, Path):
        found = folders.store_folder(objects, content, skip=run.store.folder)
        meta = {"format": folders.FORMAT, "name": content.resolve().name, "files": found.files}
        if found.left_out:
            meta["left_out"] = found.left_out[:100]
            what = f"{len(found.left_out)} links or special files, such as {found.left_out[0]!r}"
            run.warn(f"left_out:{content.name}", f"folder {content.name!r}: left out {what}")
        return _Stored(
            "dir" if better else type, found.size, found.manifest.sha256, found.manifest.uri, meta
        )
    put = objects.put(content.source)
    meta = {
        "format": content.format,
        **({"name": content.name} if content.name else {}),
        **content.meta,
    }
    return _Stored(content.type if better else type, put.size, put.sha256, put.uri, meta)


def _aliases(run: RunLike, key: str, options: Options) -> list[str]:
    given = [options.aliases] if isinstance(options.aliases, str) else list(options.aliases or ())
    out = []
    for alias in dict.fromkeys(given):
        try:
            out.append(check_alias(alias))
        except ValueError as error:
            if run.strict and not options.lenient:
                raise
            run.warn(f"alias:{key}:{alias!s:.40}", str(error))
    return out
