"""Stored functions: a row for every version, and tags that point at versions.

Rows are written straight into the records, in one transaction, and are durable when a call returns: a run names its
function's version, so that must be found wherever the run is performed. `latest` is the version that was stored last,
whatever other tags it got; a version that is stored already and merely run again moves nothing.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from mlrun.errors import ConfigError, NotFound, did_you_mean
from mlrun.functions.hashing import content_hash
from mlrun.functions.uri import LATEST, FunctionName, check_tag
from mlrun.ids import now_us
from mlrun.tables import FUNCTION_TAGS, FUNCTIONS, PROJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from mlrun.contracts import Op
    from mlrun.functions.spec import FunctionSpec
    from mlrun.store import Store

__all__ = ["delete_versions", "find_version", "get_spec", "list_versions", "save_version"]

_LARGEST = 32 << 20  # characters of a stored function
_FRESH = 2.0  # seconds that a version which was found stored need not be looked for again

_found: WeakKeyDictionary[Store, dict[tuple[str, ...], float]] = WeakKeyDictionary()


def save_version(store: Store, spec: FunctionSpec, tag: str | None = None) -> str:
    """Store a version if it is not there, and return its hash.

    Args:
        store: where.
        spec: what.
        tag: a tag to set on it; then `latest` is set too, even if the version is not new. None: only what is new
            becomes `latest`.

    Raises:
        ConfigError: a value has no JSON form, or it is too large.
    """
    digest = content_hash(spec)
    place = {"project": spec.project, "name": spec.name}
    version = {**place, "hash": digest}
    known = _is_stored(store, version)
    if known and tag is None:
        return digest
    now = now_us()
    ops: list[Op] = []
    if not known:
        ops.append(("put", FUNCTIONS.name, {**version, "spec": _text(spec), "created_at": now}))
        ops.append(("put", PROJECTS.name, {"name": spec.project, "updated_at": now}))
    for each in dict.fromkeys([LATEST, check_tag(tag or LATEST)]):
        ops.append(
            ("put", FUNCTION_TAGS.name, {**place, "tag": each, "hash": digest, "updated_at": now})
        )
    store.records.apply(ops)
    return digest


def _is_stored(store: Store, version: dict[str, str]) -> bool:
    """Whether a version is there; somebody who runs it in a loop does not ask the store every time."""
    recent = _found.setdefault(store, {})
    key, now = tuple(version.values()), time.monotonic()
    if now - recent.get(key, -_FRESH) < _FRESH:
        return True
    known = bool(store.records.lookup(FUNCTIONS, version))
    if known:
        if len(recent) > 1000:
            recent.clear()
        recent[key] = now
    return known


def _text(spec: FunctionSpec) -> str:
    kept = spec.to_dict()
    kept.pop("tag", None)
    try:
        text = json.dumps(kept)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"function {spec.name!r} cannot be stored: {error}") from error
    if len(text) > _LARGEST:
        raise ConfigError(
            f"function {spec.name!r} weighs {len(text) >> 20} MB: hand data to it as an input, "
            "instead of closing over it"
        )
    return text


def find_version(store: Store, name: FunctionName | str, project: str = "") -> FunctionName:
    """Return the exact version that a name means, without tag: its hash wins, then its tag; else `latest` is meant.

    Args:
        store: where.
        name: `[project/]name[:tag][@hash]`; of the hash, a beginning of 6 digits or more is enough.
        project: the one of names that say none.

    Raises:
        NotFound: there is no such function, tag or version.
    """
    asked = FunctionName.parse(name) if isinstance(name, str) else name
    asked = asked._replace(project=asked.project or project)
    if not store.exists():
        raise NotFound(f"no function {str(asked)!r}: there is no store in {store.url}")
    place = {"project": asked.project, "name": asked.name}
    if asked.hash:
        return asked._replace(tag="", hash=_by_hash(store, asked, place))
    tag = asked.tag or LATEST
    rows = store.records.lookup(FUNCTION_TAGS, {**place, "tag": tag})
    if not rows:
        raise _not_found(store, asked, tag)
    return asked._replace(tag="", hash=rows[0]["hash"])


def _by_hash(store: Store, asked: FunctionName, place: Mapping[str, str]) -> str:
    if store.records.lookup(FUNCTIONS, {**place, "hash": asked.hash}):
        return asked.hash
    versions = [r["hash"] for r in store.records.lookup(FUNCTIONS, place)]
    found = [h for h in versions if h.startswith(asked.hash)]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise NotFound(f"{len(found)} versions of {asked.name!r} begin with {asked.hash}")
    raise _not_found(store, asked, "")


def _not_found(store: Store, asked: FunctionName, tag: str) -> NotFound:
    of_project = store.records.lookup(FUNCTION_TAGS, {"project": asked.project})
    tags = [r["tag"] for r in of_project if r["name"] == asked.name]
    if tags and tag:
        return NotFound(
            f"function {asked.name!r} of project {asked.project!r} has no tag {tag!r}{did_you_mean(tag, tags)}"
        )
    if tags:
        return NotFound(f"function {asked.name!r} has no version @{asked.hash}")
    hint = did_you_mean(asked.name, {r["name"] for r in of_project})
    return NotFound(f"no function {asked.name!r} in project {asked.project!r}{hint}")


def get_spec(store: Store, name: FunctionName | str, project: str = "") -> dict[str, Any]:
    """Return the stored spec of a version, as `FunctionSpec.to_dict()` gave it.

    Raises:
        NotFound: there is none.
    """
    exact = find_version(store, name, project)
    key = {"project": exact.project, "name": exact.name, "hash": exact.hash}
    rows = store.records.lookup(FUNCTIONS, key)
    if not rows:
        raise NotFound(f"the version {exact} is not stored any more")
    found: dict[str, Any] = json.loads(rows[0]["spec"])
    return found


def list_versions(
    store: Store, project: str | None = None, name: str | None = None, tag: str | None = None
) -> pl.DataFrame:
    """Return stored versions, newest first of each name.

    Columns: `project, name, hash, tags, kind, handler, image, description, created_at`.
    """
    import polars as pl

    rows: list[dict[str, Any]] = []
    if store.exists():
        key = {k: v for k, v in (("project", project), ("name", name)) if v is not None}
        tags = _tags(store, key)
        for row in store.records.lookup(FUNCTIONS, key):
            own = tags.get((row["project"], row["name"], row["hash"]), [])
            if tag is None or tag in own:
                rows.append(_shown(row, own))
    rows.sort(key=lambda r: (r["project"], r["name"], -r["created_at"]))
    schema: dict[str, Any] = {
        **dict.fromkeys(("project", "name", "hash"), pl.String), "tags": pl.List(pl.String),
        **dict.fromkeys(("kind", "handler", "image", "description"), pl.String),
        "created_at": pl.Int64,
    }  # fmt: skip
    frame = pl.DataFrame(rows, schema=schema)
    return frame.with_columns(pl.col("created_at").cast(pl.Datetime("us", "UTC")))


def _tags(store: Store, key: Mapping[str, str]) -> dict[tuple[str, str, str], list[str]]:
    out: dict[tuple[str, str, str], list[str]] = {}
    for row in store.records.lookup(FUNCTION_TAGS, key):
        out.setdefault((row["project"], row["name"], row["hash"]), []).append(row["tag"])
    return out


def _shown(row: Mapping[str, Any], tags: list[str]) -> dict[str, Any]:
    spec = json.loads(row["spec"])
    said = {k: spec.get(k) or None for k in ("kind", "handler", "image", "description")}
    place = {k: row[k] for k in ("project", "name", "hash", "created_at")}
    return {**place, "tags": sorted(tags), **said}


def delete_versions(store: Store, project: str, name: str) -> int:
    """Forget all versions and tags of a function; returns how many versions. Runs keep the name of theirs."""
    if not store.exists():
        return 0
    place = {"project": project, "name": name}
    count = len(store.records.lookup(FUNCTIONS, place))
    _found.pop(store, None)
    store.records.apply([("del", FUNCTIONS.name, place), ("del", FUNCTION_TAGS.name, place)])
    return count
