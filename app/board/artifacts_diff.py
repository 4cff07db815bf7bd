"""Two versions of an artifact side by side: what differs in metadata, metrics, columns and their statistics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["facts", "metadata_diff", "metrics_diff", "schema_diff", "stats_diff"]

_APART = ("schema", "stats", "preview", "metrics")  # compared by tables of their own
_LONG = 2_000


def facts(meta: Mapping[str, Any]) -> pl.DataFrame:
    """Return metadata as rows `name, value`, without what is shown elsewhere."""
    rows = list(_flat({k: v for k, v in meta.items() if k not in _APART}).items())
    return pl.DataFrame(rows, schema={"name": pl.String, "value": pl.String}, orient="row")


def metadata_diff(
    old: Mapping[str, Any], new: Mapping[str, Any], *, all_rows: bool = False
) -> pl.DataFrame:
    """Return `name, old, new` of what differs, or of everything."""
    before, after = (
        _flat({k: v for k, v in meta.items() if k not in _APART}) for meta in (old, new)
    )
    rows = [(k, before.get(k), after.get(k)) for k in dict.fromkeys((*before, *after))]
    kept = [row for row in rows if all_rows or row[1] != row[2]]
    return pl.DataFrame(kept, schema=dict.fromkeys(("name", "old", "new"), pl.String), orient="row")


def metrics_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> pl.DataFrame:
    """Return `metric, old, new, change` of models that were logged with metrics."""
    before, after = _numbers(old.get("metrics")), _numbers(new.get("metrics"))
    rows = [(k, before.get(k), after.get(k)) for k in dict.fromkeys((*before, *after))]
    schema = {"metric": pl.String, "old": pl.Float64, "new": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        (pl.col("new") - pl.col("old")).alias("change")
    )


def schema_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> pl.DataFrame:
    """Return `column, old, new` types of the columns that were added, removed or changed."""
    before, after = _types(old.get("schema")), _types(new.get("schema"))
    rows = [
        (k, before.get(k), after.get(k))
        for k in dict.fromkeys((*before, *after))
        if before.get(k) != after.get(k)
    ]
    schema = dict.fromkeys(("column", "old", "new"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def stats_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> pl.DataFrame:
    """Return `column, figure, old, new, change` of the numbers that were counted of both tables and differ."""
    rows = []
    tables: list[dict[str, Any]] = [
        meta["stats"] if isinstance(meta.get("stats"), dict) else {} for meta in (old, new)
    ]
    for column in dict.fromkeys(c for table in tables for c in table):
        before, after = (_numbers(table.get(column)) for table in tables)
        rows += [
            (column, k, before.get(k), after.get(k))
            for k in dict.fromkeys((*before, *after))
            if before.get(k) != after.get(k)
        ]
    schema = {"column": pl.String, "figure": pl.String, "old": pl.Float64, "new": pl.Float64}
    found = pl.DataFrame(rows, schema=schema, orient="row")
    return found.with_columns((pl.col("new") - pl.col("old")).alias("change"))


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Return nested values as lines: dicts by dotted names, anything else as short JSON."""
    if isinstance(value, dict) and value:
        return {
            k: v for key, part in value.items() for k, v in _flat(part, _dotted(name, key)).items()
        }
    if not name:
        return {}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return {name: text if len(text) <= _LONG else f"{text[:_LONG]}…"}


def _dotted(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _numbers(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        return {}
    return {
        str(k): float(v)
        for k, v in value.items()
        if isinstance(v, int | float) and not isinstance(v, bool)
    }


def _types(schema: Any) -> dict[str, str]:
    if not isinstance(schema, list):
        return {}
    return {str(c.get("name")): str(c.get("type")) for c in schema if isinstance(c, dict)}
