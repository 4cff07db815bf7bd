"""Policies of projects: for how long points, their rollups and deleted runs are kept, and what a project may write.

Points of a run that ended more than `raw_days` ago go where rollups tell what charts need of them: a series whose every
block is exact (no step came twice, time never fell) and whose blocks count as many points as were logged. What is too
short to have such blocks stays. After `rollup_days` the rollups go too, and the summaries remain. `compact` applies all
of it; what it is about to remove is noted before, so that `doctor` does not take it for lost.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.contracts import CanDeletePoints, CanDeleteRuns, PointFilter
from mlrun.errors import ConfigError
from mlrun.ids import now_us
from mlrun.journal.snapshot import read_journal
from mlrun.lookup.liveness import OPEN_STATES
from mlrun.names import clean_text
from mlrun.series.rollups import WHOLE
from mlrun.tables import (
    EXPIRATIONS,
    METRICS,
    POLICIES,
    ROLLUPS,
    RUNS,
    SUMMARIES,
    SYSTEM_METRICS,
)
from mlrun.wire import JSON, POLICY

if TYPE_CHECKING:
    import polars as pl

    from mlrun.contracts import Op
    from mlrun.store import Store

__all__ = ["COLUMNS", "checked", "expire", "expired_runs", "policies", "set_policy", "waiting_runs"]

COLUMNS = tuple(c.name for c in POLICIES.columns if c.type == "int64")
_DAY_US = 86_400_000_000
_BATCH = 200  # runs at once
_POINTS, _ROLLUPS = "points", "rollups"  # what has gone, or is just going
_FREED = "{} freed"  # … and has gone


def policies(store: Store) -> pl.DataFrame:
    """Return what projects say for themselves: `project` and the columns of `set_policy`; null where they do not."""
    import polars as pl

    schema: dict[str, Any] = {"project": pl.String, **dict.fromkeys(COLUMNS, pl.Int64)}
    http = getattr(getattr(store, "gateway", None), "http", None)
    if http is not None:
        rows = json.loads(http.send("GET", POLICY).body)["policies"]
    else:
        rows = store.records.lookup(POLICIES, {}) if store.exists() else []
    told = [{c: row[c] for c in schema} for row in rows]
    return pl.DataFrame(told, schema=schema, orient="row").sort("project")


def set_policy(store: Store, project: str, **values: int | None) -> None:
    """Say for how long a project keeps what, and how much it may write; what is left out stays, None unsets.

    Args:
        store: where.
        project: whose.
        **values: `raw_days` (points), `rollup_days` (rollups), `deleted_days` (runs that were deleted softly),
            `max_metric_keys` (of one run) and `points_per_second`, the last two where a gateway takes uploads.

    Raises:
        ConfigError: there is no such value, it is no whole number above 0, or rollups would go before the points.
        AccessDenied: the caller is no admin of the project.
    """
    shown = clean_text(project)[0]
    http = getattr(getattr(store, "gateway", None), "http", None)
    if http is not None:
        body = json.dumps({"project": shown, **checked(values)}).encode()
        http.send("PUT", POLICY, body, {"Content-Type": JSON})
        return
    rows = store.records.lookup(POLICIES, {"project": shown})
    checked({**{c: rows[0][c] for c in COLUMNS if rows}, **checked(values)})
    store.records.apply([policy_op(shown, values)])


def policy_op(project: str, values: dict[str, int | None]) -> Op:
    """Return the op that sets a policy; the values were checked."""
    return ("put", POLICIES.name, {"project": project, "updated_at": now_us(), **values})


def checked(values: dict[str, Any]) -> dict[str, int | None]:
    """Return values of a policy; ConfigError if they cannot be."""
    for name, value in values.items():
        if name not in COLUMNS:
            raise ConfigError(f"a policy has no {name!r}; known: {', '.join(COLUMNS)}")
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 40
        ):
            raise ConfigError(f"{name} is a whole number above 0, or None, not {value!r:.40}")
    raw, rollup = values.get("raw_days"), values.get("rollup_days")
    if raw is not None and rollup is not None and rollup < raw:
        raise ConfigError(f"rollups stay at least as long as points: {rollup} < {raw} days")
    return values


def expired_runs(store: Store) -> frozenset[str]:
    """Return the runs of which points have gone, or are just going, as a policy says."""
    return frozenset(row["run_id"] for row in store.records.lookup(EXPIRATIONS, {}))


def expire(store: Store) -> dict[str, int]:
    """Remove what is past its time; returns counts: `points_expired` and `rollups_expired`, in rows."""
    counts = {"points_expired": 0, "rollups_expired": 0}
    if not isinstance(store.series, CanDeleteRuns):
        return counts
    for policy in store.records.lookup(POLICIES, {}):
        for days, what in ((policy["rollup_days"], _ROLLUPS), (policy["raw_days"], _POINTS)):
            if days is None:
                continue
            due = _due(store, policy["project"], now_us() - days * _DAY_US, what)
            for start in range(0, len(due), _BATCH):
                batch = due[start : start + _BATCH]
                gone = (
                    _drop_rollups(store, batch) if what == _ROLLUPS else _drop_points(store, batch)
                )
                counts[f"{what}_expired"] += gone
    return counts


def _due(store: Store, project: str, limit: int, what: str) -> list[str]:
    """Return the runs of a project that ended before `limit`, and of which this has not gone yet."""
    import polars as pl

    with store.records.read() as view:
        columns = ["run_id", "project", "state", "finished_at"]
        found = view.scan(RUNS, columns=columns, where={"project": [project]})
    runs = pl.DataFrame(found).filter(
        ~pl.col("state").is_in(OPEN_STATES) & (pl.col("finished_at").dt.epoch("us") < limit)
    )
    known = {
        row["run_id"]
        for told in {what, _ROLLUPS}
        for row in store.records.lookup(EXPIRATIONS, {"what": _FREED.format(told)})
    }
    old = [r for r in runs["run_id"].to_list() if r not in known]
    waiting = waiting_runs(store, old) if old else set()
    return [r for r in old if r not in waiting]


def _drop_rollups(store: Store, run_ids: list[str]) -> int:
    """Remove all points and rollups of runs; their summaries stay."""
    _note(store, run_ids, _ROLLUPS)
    series: Any = store.series
    gone = 0
    for table in (METRICS, SYSTEM_METRICS, ROLLUPS):
        gone += series.delete_runs(table, run_ids)
    _note(store, run_ids, _FREED.format(_ROLLUPS))
    return gone


def _drop_points(store: Store, run_ids: list[str]) -> int:
    """Remove the points of which rollups tell enough."""
    good, whole = _told_by_rollups(store, run_ids)
    series: Any = store.series
    gone = 0
    if whole:
        _note(store, whole, _POINTS)
        gone += series.delete_runs(METRICS, whole)
        _note(store, whole, _FREED.format(_POINTS))
    if isinstance(series, CanDeletePoints):
        for keys, some in good.items():
            _note(store, some, _POINTS)
            gone += series.delete_points(METRICS, PointFilter(tuple(some), keys))
            _note(store, some, _FREED.format(_POINTS))
    return gone


def _told_by_rollups(
    store: Store, run_ids: list[str]
) -> tuple[dict[tuple[str, ...], list[str]], list[str]]:
    """Return the runs some of whose series rollups tell of, by the keys of these; and those of which they tell all."""
    import polars as pl

    where = PointFilter(run_ids=tuple(run_ids), levels=(WHOLE, 0))
    columns = ["run_id", "key", "level", "count", "raw", "first_step", "last_step"]
    blocks = pl.DataFrame(store.series.snapshot(ROLLUPS).scan(where, columns=columns).read_all())
    by = ["run_id", "key"]
    blocks = blocks.with_columns(pl.col(by).cast(pl.String)).sort(*by, "level", "first_step")
    overlaps = (pl.col("first_step") <= pl.col("last_step").shift().over(*by, "level")).fill_null(
        value=False
    )
    parts = pl.col("level") == WHOLE
    told = (
        blocks.with_columns((pl.col("raw") | overlaps).alias("vague"))
        .group_by(by)
        .agg(pl.col("vague").any(), pl.col("count").filter(parts).sum())
    )
    with store.records.read() as view:
        rows = view.scan(SUMMARIES, columns=[*by, "count"], where={"run_id": run_ids})
    counted = pl.DataFrame(rows).join(told, on=by, how="left", suffix="_told")
    exact = ~pl.col("vague").fill_null(value=True) & (pl.col("count") == pl.col("count_told"))
    good: dict[tuple[str, ...], list[str]] = {}
    whole = []
    for of in counted.with_columns(exact.alias("exact")).partition_by("run_id"):
        keys = tuple(sorted(of.filter("exact")["key"]))
        if len(keys) == of.height:
            whole.append(of["run_id"][0])
        elif keys:
            good.setdefault(keys, []).append(of["run_id"][0])
    return good, whole


def _note(store: Store, run_ids: list[str], what: str) -> None:
    rows = [{"run_id": run_id, "what": what, "at": now_us()} for run_id in run_ids]
    store.records.apply([("put", EXPIRATIONS.name, row) for row in rows])


def waiting_runs(store: Store, run_ids: list[str]) -> set[str]:
    """Return runs with rows in a file that a living process still writes to: what is freed now would come back."""
    journal = read_journal(store.journal)
    points = [journal.points(t.name, after={}, run_ids=run_ids) for t in (METRICS, SYSTEM_METRICS)]
    rows = [*points, journal.text(after={}, run_ids=run_ids)]
    return {run_id for table in rows for run_id in table.column("run_id").unique().to_pylist()}
