"""What differs between runs: their parameters, results and last values as one table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from .words import short

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["diff_table", "differing"]

_SIDE_BY_SIDE = 12  # more runs than these are rows, not columns
_KINDS = {"params": "param", "results": "result", "metrics": "metric, last"}


def differing(frame: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return the columns that are not the same in all runs; a missing value differs from any other."""
    return [name for name in columns if frame[name].n_unique() > 1]


def diff_table(frame: pl.DataFrame, names: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """Return a table of what runs have, as text.

    Args:
        frame: as of `mlrun.runs`, a row per run.
        names: of the runs, no two alike.
        columns: which to show, such as `params.lr`.

    Returns:
        Of few runs a row per column: `kind, name`, and a column per run. Of many a row per run: `run`, and a column
        per column.
    """
    texts = {name: [_told(value) for value in frame[name].to_list()] for name in columns}
    if frame.height > _SIDE_BY_SIDE:
        return pl.DataFrame({"run": list(names), **{n: frame[n] for n in columns}})
    heads = [name.partition(".") for name in columns]
    out = {
        "kind": pl.Series([_KINDS.get(scope, scope) for scope, _, _ in heads], dtype=pl.String),
        "name": pl.Series([key for _, _, key in heads], dtype=pl.String),
    }
    for at, name in enumerate(names):
        head = name if name not in out else f"{name} (run)"
        out[head] = pl.Series([texts[n][at] for n in columns], dtype=pl.String)
    return pl.DataFrame(out)


def _told(value: Any) -> str:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return short(value)
