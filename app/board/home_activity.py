"""What the home page tells: projects and how busy they are, what runs now, what failed last; no Streamlit here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

import mlrun

from .runs_frame import curves

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = [
    "DAYS",
    "FAILED",
    "MOST",
    "activity",
    "failed",
    "first_line",
    "progress",
    "recent",
    "running",
]

DAYS = 28
MOST = 20_000  # newest runs of these days that are looked at
FAILED = ("error", "lost")
_SHOWN = 20
_LIKELY = ("loss", "train/loss", "train_loss", "val/loss", "accuracy", "acc", "reward")
_OWN = ["run_id", "name", "project", "state", "started_at"]
_DATE = pl.Datetime("us", "UTC")


def recent(store: Store, project: str = "") -> pl.DataFrame:
    """Return the runs of the last days, newest first: `project, state, started_at`; at most `MOST`."""
    return mlrun.runs(
        project or None, where=f"started_at >= now() - interval '{DAYS} days'", limit=MOST,
        columns=["project", "state", "started_at"], store=store,
    )  # fmt: skip


def activity(projects: pl.DataFrame, runs: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Return one row per project, the one with the latest start first.

    Args:
        projects: as `mlrun.projects()`.
        runs: as `recent()`.
        now: the moment until which days are counted.

    Returns:
        `project, runs, running, failed` (of those that started within a day), `days` (runs of each of the last days,
        oldest first), `last_started_at`.
    """
    end = now.astimezone(UTC)
    aged = runs.with_columns(
        ((pl.lit(end).cast(_DATE) - pl.col("started_at")).dt.total_seconds() // 86_400)
        .clip(0, DAYS - 1).alias("age")
    )  # fmt: skip
    days = aged.group_by("project", "age").agg(pl.len().alias("n"))
    counted: dict[str, list[int]] = {}
    for project, age, n in days.iter_rows():
        counted.setdefault(project, [0] * DAYS)[DAYS - 1 - int(age)] += n
    day = pl.lit(end - timedelta(days=1)).cast(_DATE)
    bad = runs.filter(pl.col("state").is_in(FAILED) & (pl.col("started_at") >= day))
    fails = dict(bad.group_by("project").len().iter_rows())
    names = projects["name"].to_list()
    return projects.select(
        pl.col("name").alias("project"), "runs", "running",
        pl.Series("failed", [fails.get(n, 0) for n in names], dtype=pl.Int64),
        pl.Series("days", [counted.get(n, [0] * DAYS) for n in names], dtype=pl.List(pl.Int64)),
        "last_started_at",
    ).sort("last_started_at", descending=True, nulls_last=True)  # fmt: skip


def running(store: Store, project: str = "") -> pl.DataFrame:
    """Return what runs now, newest first, with every metric's last value."""
    return mlrun.runs(
        project or None, where="state in ('running', 'aborting')", limit=_SHOWN, store=store
    )


def progress(store: Store, runs: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Return how far each run is: `run_id, name, project, lasted, metric, value, curve`.

    Args:
        store: where the curves are.
        runs: as `running()`.
        now: until when they have lasted.
    """
    names = [c.removeprefix("metrics.") for c in runs.columns if c.startswith("metrics.")]
    order = [k for k in _LIKELY if k in names] + sorted(k for k in names if k not in _LIKELY)
    chosen = [
        next((k for k in order if row[f"metrics.{k}"] is not None), None)
        for row in runs.iter_rows(named=True)
    ]
    values = [
        None if key is None else row[f"metrics.{key}"]
        for key, row in zip(chosen, runs.iter_rows(named=True), strict=True)
    ]
    drawn: dict[str, list[float]] = {}
    for key in sorted({k for k in chosen if k is not None}):
        ids = [r for r, k in zip(runs["run_id"], chosen, strict=True) if k == key]
        drawn |= curves(store, ids, key)
    lasted = (pl.lit(now.astimezone(UTC)).cast(_DATE) - pl.col("started_at")).dt.total_seconds()
    return runs.select(
        "run_id", "name", "project", (lasted * 1_000_000).cast(pl.Duration("us")).alias("lasted"),
        pl.Series("metric", chosen, dtype=pl.String), pl.Series("value", values, dtype=pl.Float64),
        pl.Series("curve", [drawn.get(r, []) for r in runs["run_id"]], dtype=pl.List(pl.Float64)),
    )  # fmt: skip


def failed(store: Store, project: str = "") -> pl.DataFrame:
    """Return what failed last: `run_id, name, project, state, started_at, error` (its line that says what happened)."""
    found = mlrun.runs(
        project or None, where="state in ('error', 'lost')", limit=_SHOWN, columns=[*_OWN, "error"],
        store=store,
    )  # fmt: skip
    said = [first_line(text) for text in found["error"]]
    return found.with_columns(pl.Series("error", said, dtype=pl.String))


def first_line(error: str | None) -> str:
    """Return the line of an error that says what happened: behind a traceback's places, or simply the first.

    Example:
        >>> first_line(chr(10).join(["Traceback (most recent call last):", "  File …", "ValueError: no", "more"]))
        'ValueError: no'
    """
    lines = [line for line in (error or "").splitlines() if line.strip()]
    if not lines:
        return ""
    if lines[0].startswith("Traceback "):
        starts = [i for i, line in enumerate(lines) if line.startswith("Traceback ")]
        said = [line for line in lines[starts[-1] + 1 :] if not line.startswith((" ", "\t"))]
        return (said or lines)[0].strip()[:300]
    return lines[0].strip()[:300]
