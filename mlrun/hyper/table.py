"""The iteration table: one row per iteration, with its state, parameters and outputs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.tables import PARAMS, RESULTS, RUNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import polars as pl

    from mlrun.store import Store

__all__ = ["children_of", "iteration_frame", "stored_iterations"]


def iteration_frame(outcomes: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the table of outcomes (`state`, `iteration`, `params`, `results`), in the order of their iterations.

    Returns:
        Columns `state, iter`, then `param.<key>` and `output.<key>` in the order in which they first appear. Values of
        a column that are all numbers are numbers; otherwise, when they differ in type, their JSON.

    Example:
        >>> iteration_frame([{"state": "completed", "iteration": 1, "params": {"p": 2}, "results": {"acc": 4}}]).rows()
        [('completed', 1, 2, 4)]
    """
    import polars as pl

    found = sorted(outcomes, key=lambda o: o["iteration"])
    columns: dict[str, list[Any]] = {"state": [], "iter": []}
    for number, outcome in enumerate(found):
        columns["state"].append(outcome.get("state"))
        columns["iter"].append(outcome["iteration"])
        for prefix, part in (("param", "params"), ("output", "results")):
            for key, value in (outcome.get(part) or {}).items():
                name = f"{prefix}.{key}"
                if name not in columns:
                    columns[name] = [None] * len(found)
                columns[name][number] = value
    return pl.DataFrame([_series(name, values) for name, values in columns.items()])


def _series(name: str, values: list[Any]) -> pl.Series:
    import polars as pl

    kinds = {type(v) for v in values if v is not None}
    if name == "iter" or kinds == {int}:
        return pl.Series(name, values, pl.Int64, strict=False)
    if kinds and kinds <= {int, float}:
        return pl.Series(name, [None if v is None else float(v) for v in values], pl.Float64)
    if kinds == {bool}:
        return pl.Series(name, values, pl.Boolean)
    if kinds <= {str}:
        return pl.Series(name, values, pl.String)
    texts = [None if v is None else json.dumps(v, ensure_ascii=False, default=repr) for v in values]
    return pl.Series(name, texts, pl.String)


def stored_iterations(store: Store, run_id: str) -> pl.DataFrame:
    """Return the iteration table of a stored run: its children that have a number, live ones included."""
    from mlrun.lookup.sight import snapshot

    rows = [row for row in children_of(store, run_id) if row["iteration"] is not None]
    ids = [row["run_id"] for row in rows]
    with snapshot(store) as sight:
        params, results = (
            _by_run(sight.rows(table, ids).to_dicts()) for table in (PARAMS, RESULTS)
        )
        above = sight.rows(RUNS, [run_id]).to_dicts()
    order = json.loads((above[0]["provenance"] if above else None) or "{}").get("hyper") or {}
    return iteration_frame(
        {
            "state": row["state"],
            "iteration": row["iteration"],
            "params": _ordered(params.get(row["run_id"], {}), order.get("params") or ()),
            "results": _ordered(results.get(row["run_id"], {}), order.get("outputs") or ()),
        }
        for row in rows
    )


def children_of(store: Store, run_id: str) -> list[dict[str, Any]]:
    """Return the rows of a run's children, by iteration; archived ones too."""
    from mlrun.lookup.sight import snapshot
    from mlrun.query import run_query

    where = f"parent = {_quoted(run_id)}"
    query = run_query(None, where, ["iteration", "started_at"], None, 0, True, True, False)
    with snapshot(store) as sight:
        rows = sight.rows(RUNS, sight.find(query)).to_dicts()
    return sorted(rows, key=lambda r: (r["iteration"] is None, r["iteration"] or 0, r["run_id"]))


def _ordered(values: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the values in the order in which the job named them, the others behind."""
    return {k: values[k] for k in (*(k for k in keys if k in values), *values)}


def _quoted(text: str) -> str:
    """Return the text as a literal of the `where` language, which doubles quotes."""
    return "'" + text.replace("'", "''") + "'"


def _by_run(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["run_id"], {})[row["key"]] = json.loads(row["value"])
    return found
