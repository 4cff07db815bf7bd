"""Schedules: what is run by the clock. They are records; `mlrun scheduler`, or Kubernetes, keeps the clock."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, MissingExtra, NotFound, did_you_mean
from mlrun.ids import now_us
from mlrun.names import plain_text
from mlrun.tables import SCHEDULES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from mlrun.contracts import Op
    from mlrun.store import Store

__all__ = [
    "Schedule",
    "check_cron",
    "delete_schedule",
    "get_schedule",
    "list_schedules",
    "put_schedule",
    "schedules_of",
]


_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")


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


def check_cron(cron: str, timezone: str = "UTC") -> Any:
    """Return the trigger of a cron line.

    Raises:
        ConfigError: it is no cron line, or there is no such timezone.
        MissingExtra: APScheduler is not installed.
    """
    try:
        from apscheduler.triggers.cron import (  # type: ignore[import-untyped,unused-ignore]
            CronTrigger,
        )
    except ModuleNotFoundError as error:
        raise MissingExtra.of("apscheduler", "schedule") from error
    if not isinstance(cron, str):
        raise ConfigError(f"a schedule is a cron line such as '0 6 * * mon-fri', not {cron!r}")
    try:
        return CronTrigger.from_crontab(_with_names(cron), timezone=timezone or "UTC")
    except Exception as error:  # noqa: BLE001  the parser's own kinds, and the timezone's
        raise ConfigError(
            f"cannot read the schedule {cron!r} ({timezone}): {error}; "
            "say minute hour day month weekday, such as '0 6 * * mon-fri'"
        ) from None


def _with_names(cron: str) -> str:
    """Write weekdays as names: in crontab 0 and 7 are Sunday, in APScheduler 0 is Monday."""
    fields = cron.split()
    if len(fields) == 5:
        days = re.sub(r"(?<![/\w])[0-7](?!\w)", lambda m: _DAYS[int(m[0])], fields[4])
        fields[4] = _unrolled(days)
    return " ".join(fields)


def _unrolled(days: str) -> str:
    """Write ranges that begin on or pass Sunday as lists, since a week of APScheduler begins on Monday."""
    parts = []
    for part in days.split(","):
        first, dash, last = part.partition("-")
        if dash and first in _DAYS and last in _DAYS:
            begin = _DAYS.index(first)
            length = (_DAYS.index(last) - begin) % 7
            parts += [_DAYS[(begin + i) % 7] for i in range(length + 1)]
        else:
            parts.append(part)
    return ",".join(dict.fromkeys(parts))


def put_schedule(store: Store, schedule: Schedule) -> Schedule:
    """Store a schedule, in place of another of its name.

    Raises:
        ConfigError: the cron line cannot be read, or the target has no JSON form.
    """
    check_cron(schedule.cron, schedule.timezone)
    try:
        target = json.dumps(schedule.target)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"a schedule's parameters and inputs must have a JSON form: {error}"
        ) from None
    stamp = now_us()
    row = {
        "project": plain_text(schedule.project), "name": plain_text(schedule.name), "cron": schedule.cron,
        "timezone": schedule.timezone or "UTC", "target": target, "place": schedule.place,
        "enabled": schedule.enabled, "created_at": stamp, "updated_at": stamp,
    }  # fmt: skip
    _apply(store, [("put", SCHEDULES.name, row)])
    return schedule


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


def delete_schedule(store: Store, project: str, name: str) -> None:
    """Forget a schedule; NotFound if there is none."""
    found = get_schedule(store, project, name)
    if found.place:
        from mlrun.execution.places import place

        keeper: Any = place(found.place)
        keeper.unschedule(f"{project}-{name}")
    _apply(store, [("del", SCHEDULES.name, {"project": project, "name": name})])


def note_fired(store: Store, schedule: Schedule, **columns: Any) -> None:
    """Record when it was begun (`fired_at`), or what came of it (`last_run`, `last_state`)."""
    row = {"project": schedule.project, "name": schedule.name, "updated_at": now_us(), **columns}
    stored = next((r for r in _rows(store, schedule.project) if r["name"] == schedule.name), None)
    if stored is not None:  # it may have been deleted meanwhile
        full = {**{c: stored[c] for c in ("cron", "timezone", "target", "place", "enabled")}, **row}
        _apply(store, [("put", SCHEDULES.name, full)])


def _apply(store: Store, ops: list[Op]) -> None:
    store.prepare()
    store.records.apply(ops)


def _rows(store: Store, project: str | None) -> list[dict[str, Any]]:
    if not store.exists():
        return []
    where = None if project is None else {"project": [project]}
    with store.records.read() as view:
        found: list[dict[str, Any]] = view.scan(SCHEDULES, where=where).to_pylist()
        return found


def _schedule(row: Mapping[str, Any]) -> Schedule:
    return Schedule(
        row["project"], row["name"], row["cron"], json.loads(row["target"]), row["timezone"] or "UTC",
        row["place"] or "", row["enabled"] is not False, row["last_run"], row["last_state"],
    )  # fmt: skip


def _next(row: Mapping[str, Any]) -> Any:
    from datetime import UTC, datetime

    if row["enabled"] is False or row["place"]:
        return None
    found = check_cron(row["cron"], row["timezone"]).get_next_fire_time(None, datetime.now(UTC))
    return None if found is None else found.astimezone(UTC)
