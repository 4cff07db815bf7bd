"""A run's values as frames for people: parameters, results, metrics, where it came from."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import polars as pl

from mlrun.lookup.widen import aggregate

from .words import bytes_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.view import RunView

__all__ = [
    "command_line",
    "found",
    "host_table",
    "made_and_used",
    "metric_table",
    "text_of",
    "value_table",
]

_LONG = 2_000  # characters of a value that a table shows


def text_of(value: Any) -> str:
    """Return a stored value as text: text as it is, anything else as JSON.

    Example:
        >>> text_of("adam"), text_of([1, None]), text_of(0.1)
        ('adam', '[1, null]', '0.1')
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def value_table(values: Mapping[str, Any]) -> pl.DataFrame:
    """Return `name, value` as text, by name."""
    rows = [(name, text_of(value)) for name, value in sorted(values.items())]
    return pl.DataFrame(rows, schema={"name": pl.String, "value": pl.String}, orient="row")


def metric_table(view: RunView) -> pl.DataFrame:
    """Return `name, last, min, max, mean, points, step` of every metric; all of every row that was logged."""
    return view.summaries.select(
        pl.col("key").alias("name"),
        aggregate("last").alias("last"),
        pl.col("min", "max"),
        aggregate("mean").alias("mean"),
        pl.col("count").alias("points"),
        pl.col("last_step").alias("step"),
    )


def found(frame: pl.DataFrame, words: str) -> pl.DataFrame:
    """Return the rows whose name or value holds all the words, in small or large letters."""
    for word in words.lower().split():
        texts = [c for c in ("name", "value") if c in frame.columns]
        holds = [pl.col(c).str.to_lowercase().str.contains(word, literal=True) for c in texts]
        frame = frame.filter(pl.any_horizontal(holds))
    return frame


def command_line(provenance: Mapping[str, Any]) -> str:
    """Return the command that started the run, quoted as a shell reads it; empty if it is not known."""
    words = provenance.get("command")
    return shlex.join(map(str, words)) if isinstance(words, list) else str(words or "")


def host_table(view: RunView) -> pl.DataFrame:
    """Return `name, value` of what is known of the host, the code and the surroundings."""
    known = view.provenance
    git: dict[str, Any] = dict(known.get("git") or {})
    record = view.record
    told: dict[str, Any] = {
        "commit": git.get("commit"),
        "uncommitted changes": None if "dirty" not in git else "yes" if git["dirty"] else "none",
        "branch": git.get("branch"),
        "remote": git.get("remote"),
        "script": known.get("script"),
        "folder": known.get("cwd"),
        "host": known.get("host") or record["host"],
        "user": known.get("user") or record["user"],
        "platform": known.get("platform"),
        "Python": known.get("python"),
        "processors": known.get("cpu_count"),
        "memory": bytes_of(known.get("memory_bytes")) or None,
        "GPUs": known.get("gpus") or None,
        "group": record["group"],
        "kind": record["kind"],
    }
    rows = [(name, text_of(value)) for name, value in told.items() if value not in (None, "")]
    return pl.DataFrame(rows, schema={"name": pl.String, "value": pl.String}, orient="row")


def made_and_used(lineage: pl.DataFrame) -> pl.DataFrame:
    """Return one row per artifact of `RunView.lineage`, with its newest version and how often it was logged.

    Columns `role, key, type, version, size, logged, project`.
    """
    roles = {"output": "made", "input": "used"}
    by_key = lineage.group_by("role", "project", "key", maintain_order=True).agg(
        pl.col("type", "version", "size").last(), pl.len().alias("logged")
    )
    return by_key.select(
        pl.col("role").replace(roles), "key", "type", "version", "size", "logged", "project"
    )
