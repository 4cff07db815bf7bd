"""What is known of an artifact beside its bytes: columns of a table, bars of a histogram, facts of a model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from .words import bytes_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.content.dataitem import DataItem

__all__ = ["bars", "model_facts", "parsed", "schema_table"]

_STATS = ("nulls", "mean", "std", "min", "max", "distinct")
_FACTS = ("framework", "class", "format")


def schema_table(meta: Mapping[str, Any]) -> pl.DataFrame:
    """Return `column, type` and what statistics are known, one row a column of a table."""
    schema, stats = meta.get("schema"), meta.get("stats")
    known = stats if isinstance(stats, dict) else {}
    rows = []
    for column in schema if isinstance(schema, list) else []:
        if isinstance(column, dict):
            name = str(column.get("name"))
            told = known.get(name)
            found = told if isinstance(told, dict) else {}
            rows.append([name, str(column.get("type")), *(_said(found.get(s)) for s in _STATS)])
    names = ("column", "type", *_STATS)
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def _said(value: Any) -> str | None:
    if value is None:
        return None
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def bars(content: Any) -> pl.DataFrame:
    """Return a stored histogram as `low, high, count`.

    Raises:
        ValueError: it is none.
    """
    try:
        edges = content["edges"]
        columns = {"low": edges[:-1], "high": edges[1:], "count": content["counts"]}
        return pl.DataFrame(columns).cast(pl.Float64)
    except (TypeError, KeyError, pl.exceptions.PolarsError) as error:
        raise ValueError("this is no histogram: it has no counts and edges that fit") from error


def model_facts(item: DataItem) -> pl.DataFrame:
    """Return `name, value` of what a model file is."""
    told: dict[str, Any] = {
        "file": item.file_name,
        "size": bytes_of(item.size),
        "SHA-256": item.sha256,
    }
    told |= {name: item.meta.get(name) for name in _FACTS}
    rows = [(name, str(value)) for name, value in told.items() if value]
    return pl.DataFrame(rows, schema={"name": pl.String, "value": pl.String}, orient="row")


def parsed(text: str) -> Any:
    """Return what JSON text holds.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
