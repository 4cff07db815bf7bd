"""Schedules: what is run by the clock. They are records; `mlrun scheduler`, or Kubernetes, keeps the clock."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.advisorylock import FileLock
from mlrun.asking import answering
from mlrun.errors import ConfigError, NotFound, did_you_mean
from mlrun.ids import now_us
from mlrun.names import plain_text
from mlrun.tables import SCHEDULES
from mlrun.workflows.cron import check_cron

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import polars as pl

    from mlrun.contracts import Op
    from mlrun.store import Store

__all__ = [
    "Schedule",
    "delete_schedule",
    "enable_schedule",
    "get_schedule",
    "list_schedules",
    "put_schedule",
    "schedules_of",
]


@dataclass(frozen=True)
class Schedule:
    """One schedule.

    Attributes:
        project, name: which one; putting another of the same name replaces it.
        cron: `minute hour day month weekday`, as crontab has it; weekdays also by name (`mon-fri`).
        target: what is run: `{"kind": "function", "spec": …, "options": …}` or `{"kind": "workflow", "context": …,
            "workflow": …, "arguments": …, "engine": …}`; JSON, without secrets.
        timezone: IANA name; UTC when empty.
        place: executor that keeps the clock itself; empty for `mlrun scheduler`.
        enabled: whether it is heeded.
    """

    project: str
    name: str
    cron: str
    target: Mapping[str, Any]
    timezone: str = "UTC"
    place: str = ""
    enabled: bool = True
    last_run: str | None = field(default=None, compare=False)
    last_state: str | None = field(default=None, compare=False)
    since: datetime | None = field(default=None, compare=False)  # when it was last begun, or stored


def put_schedule(store: Store, schedule: Schedule) -> Schedule:
    """Store a schedule, in place of another of its name.

    Raises:
        ConfigError: the cron line cannot be read, the target has no JSON form, or its place keeps no clock.
        ExecutorError: the place refused it.
    """
    check_cron(schedule.cron, schedule.timezone)
    try:
        target = json.dumps(schedule.target, default=_plain)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"a schedule's parameters and inputs must have a JSON form: {error}"
        ) from None
    stamp = now_us()
    row: dict[str, Any] = {
        "project": plain_text(schedule.project), "name": plain_text(schedule.name), "cron": schedule.cron,
        "timezone": schedule.timezone or "UTC", "target": target, "place": schedule.place,
        "enabled": schedule.enabled, "created_at": stamp, "updated_at": stamp, "fired_at": None,
        "last_run": None, "last_state": None,
    }  # fmt: skip
    store.prepare()
    if schedule.place and schedule.enabled:
        from mlrun.workflows.keeping import keep

        keep(store, replace(schedule, target=json.loads(target)))
    with _alone(store):
        before = next((r for r in _rows(store, row["project"]) if r["name"] == row["name"]), None)
        _apply(store, [("put", SCHEDULES.name, row)])
    if before is not None and before["place"]:
        earlier = _schedule(before)
        if earlier.place != schedule.place or not schedule.enabled:
            _unkeep(earlier)
    return get_schedule(store, row["project"], row["name"])


def _plain(value: Any) -> Any:
    """Return the JSON form of what people put into a call: options, notifications, hints, paths, artifacts."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, PathLike):
        return str(Path(value).absolute())
    if str(getattr(value, "uri", "")).startswith("store://"):
        return value.uri
    raise TypeError(f"a {type(value).__name__}")


def get_schedule(store: Store, project: str, name: str) -> Schedule:
    """Return a schedule; NotFound, with the nearest name, if there is none."""
    rows = _rows(store, project)
    for row in rows:
        if row["name"] == name:
            return _schedule(row)
    hint = did_you_mean(name, [r["name"] for r in rows])
    raise NotFound(f"project {project!r} has no schedule {name!r}{hint}")


def schedules_of(store: Store, project: str | None = None) -> list[Schedule]:
    """Return the schedules of a project, or of all."""
    return [_schedule(row) for row in _rows(store, project)]


def list_schedules(store: Store, project: str | None = None) -> pl.DataFrame:
    """Return the schedules as a frame.

    Columns: `project, name, cron, timezone, kind, place, enabled, next_at, fired_at, last_run, last_state`.
    """
    import polars as pl

    rows = []
    for row in _rows(store, project):
        rows.append(
            {
                **{c: row[c] for c in ("project", "name", "cron", "timezone", "place", "enabled")},
                "kind": json.loads(row["target"]).get("kind"),
                "next_at": _next(row),
                **{c: row[c] for c in ("fired_at", "last_run", "last_state")},
            }
        )
    time = pl.Datetime("us", "UTC")
    schema: dict[str, Any] = {
        "project": pl.String, "name": pl.String, "cron": pl.String, "timezone": pl.String, "kind": pl.String,
        "place": pl.String, "enabled": pl.Boolean, "next_at": time, "fired_at": time, "last_run": pl.String,
        "last_state": pl.String,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def enable_schedule(store: Store, project: str, name: str, enabled: bool = True) -> Schedule:
    """Let a schedule be heeded again, or no more; NotFound if there is none."""
    store.prepare()
    found = replace(get_schedule(store, project, name), enabled=enabled)
    if found.place and enabled:
        from mlrun.workflows.keeping import keep

        keep(store, found)
    elif found.place:
        _unkeep(found)
    note_fired(store, found, enabled=enabled)
    return get_schedule(store, project, name)


def delete_schedule(store: Store, project: str, name: str) -> None:
    """Forget a schedule; NotFound if there is none."""
    found = get_schedule(store, project, name)
    if found.place:
        _unkeep(found)
    with _alone(store):
        _apply(store, [("del", SCHEDULES.name, {"project": project, "name": name})])


def _unkeep(schedule: Schedule) -> None:
    from mlrun.workflows.keeping import unkeep

    unkeep(schedule)


def note_fired(store: Store, schedule: Schedule, **columns: Any) -> None:
    """Record when it was begun (`fired_at`), what came of it (`last_run`, `last_state`), or that it is `enabled`."""
    new = {"project": schedule.project, "name": schedule.name, "updated_at": now_us(), **columns}
    with _alone(store):
        rows = _rows(store, schedule.project)
        stored = next((r for r in rows if r["name"] == schedule.name), None)
        if stored is not None:  # it may have been deleted meanwhile
            kept = {c: stored[c] for c in ("cron", "timezone", "target", "place", "enabled")}
            _apply(store, [("put", SCHEDULES.name, {**kept, **new})])


def _alone(store: Store) -> FileLock:
    """Return the lock under which a row is read and written: none comes back that was deleted in between."""
    return FileLock(store.folder / "schedules.lock")


def _apply(store: Store, ops: list[Op]) -> None:
    store.records.apply(ops)


def _rows(store: Store, project: str | None) -> list[dict[str, Any]]:
    if not store.exists():
        return []
    if answering(store) is not None:  # a gateway looks rows up by key, in plain numbers
        key = {} if project is None else {"project": project}
        return [_decoded(row) for row in store.records.lookup(SCHEDULES, key)]
    where = None if project is None else {"project": [project]}
    with store.records.read() as view:
        found: list[dict[str, Any]] = view.scan(SCHEDULES, where=where).to_pylist()
        return found


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    from datetime import UTC, datetime

    given = {c: row[c] for c in ("created_at", "fired_at") if row[c] is not None}
    times = {c: datetime.fromtimestamp(us / 1e6, UTC) for c, us in given.items()}
    return {**row, **times, "enabled": row["enabled"] != 0}


def _schedule(row: Mapping[str, Any]) -> Schedule:
    return Schedule(
        row["project"], row["name"], row["cron"], json.loads(row["target"]), row["timezone"] or "UTC",
        row["place"] or "", row["enabled"] is not False, row["last_run"], row["last_state"],
        row["fired_at"] or row["created_at"],
    )  # fmt: skip


def _next(row: Mapping[str, Any]) -> Any:
    from datetime import UTC, datetime

    if row["enabled"] is False or row["place"]:
        return None
    found = check_cron(row["cron"], row["timezone"]).get_next_fire_time(None, datetime.now(UTC))
    return None if found is None else found.astimezone(UTC)
