"""The frame of the runs table: what the table shows of runs, and the curve of each; no Streamlit here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl

import mlrun
from mlrun.lookup.liveness import OPEN_STATES

from .look import STATE_ICONS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from mlrun.store import Store

__all__ = ["CURVE", "POINTS", "as_csv", "curves", "laid_over", "open_runs", "shown"]

CURVE = "curve"
POINTS = 30


def open_runs(rows: pl.DataFrame) -> list[str]:
    """Return the ids of the runs that have not ended."""
    return [r for r, s in rows.select("run_id", "state").iter_rows() if s in OPEN_STATES]


def laid_over(rows: pl.DataFrame, fresh: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with what `fresh` says of some of them; its columns are some of theirs."""
    if fresh.is_empty():
        return rows
    same = fresh.cast({c: rows.schema[c] for c in fresh.columns}, strict=False)
    return rows.update(same, on="run_id", how="left", include_nulls=True)


def curves(
    store: Store, run_ids: Sequence[str], key: str, points: int = POINTS
) -> dict[str, list[float]]:
    """Return the values of a metric of each run, in order, few enough to be drawn in a cell; NaN and ±Inf left out."""
    if not run_ids:
        return {}
    found = mlrun.metrics(list(run_ids), [key], points=points, store=store)
    # a name that holds `*` is one name here, and no pattern
    mine = found.filter((pl.col("key") == key) & pl.col("value").is_finite())
    told: dict[str, list[float]] = {run_id: [] for run_id in run_ids}
    for run_id, value in mine.select("run_id", "value").iter_rows():
        told[run_id].append(value)
    return told


def shown(
    rows: pl.DataFrame, columns: Sequence[str], now: datetime, curve: dict[str, list[float]] | None
) -> pl.DataFrame:
    """Return what the table shows.

    Args:
        rows: a page of `mlrun.runs`.
        columns: titles, in order.
        now: until when runs that have not ended have lasted.
        curve: values of each run; None for no such column.
    """
    frame = rows
    if "duration" in columns and "started_at" in rows.columns:
        lasted = pl.lit(now).cast(pl.Datetime("us", "UTC")) - pl.col("started_at")
        going = pl.col("state").is_in(["running", "aborting"])
        took = pl.when(going).then(lasted).otherwise("duration").cast(pl.Duration("us"))
        frame = frame.with_columns(_rounded(took).alias("duration"))
    if "state" in columns:
        words = {state: f"{icon} {state}" for state, icon in STATE_ICONS.items()}
        frame = frame.with_columns(pl.col("state").replace(words))
    listed = [frame[c] for c in columns if c in frame.columns]
    if curve is not None:
        values = [curve.get(run_id, []) for run_id in rows["run_id"]]
        at = next((i + 1 for i, c in enumerate(columns) if c == "name"), len(listed))
        listed.insert(at, pl.Series(CURVE, values, dtype=pl.List(pl.Float64)))
    return pl.DataFrame(listed)


def _rounded(took: pl.Expr) -> pl.Expr:
    """Return durations without the digits that nobody reads."""
    micros = took.dt.total_microseconds()
    unit = (
        pl.when(micros >= 10_000_000).then(1_000_000).when(micros >= 1_000_000).then(10_000)
        .when(micros >= 1_000).then(1_000).otherwise(1)
    )  # fmt: skip
    return (micros // unit * unit).cast(pl.Duration("us"))


def as_csv(frame: pl.DataFrame) -> bytes:
    """Return a frame as CSV: lists as JSON text, durations in seconds, times as ISO 8601."""
    told = []
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if isinstance(dtype, pl.List):
            texts = [
                None if v is None else json.dumps(v, ensure_ascii=False)
                for v in frame[name].to_list()
            ]
            column = pl.Series(name, texts, dtype=pl.String)  # type: ignore[assignment]
        elif dtype == pl.Duration:
            column = column.dt.total_microseconds() / 1e6
        told.append(column)
    return frame.with_columns(told).write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ").encode()
