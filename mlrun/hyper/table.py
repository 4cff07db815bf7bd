"""The iteration table: one row per iteration, with its state, parameters and outputs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.asking import asked
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES
from mlrun.tracking.runconfig import RunConfig, tree_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import polars as pl

    from mlrun.lookup.sight import Snapshot
    from mlrun.store import Store

__all__ = ["flat_params", "iteration_frame", "last_values", "stored_iterations", "stored_outcomes"]


def iteration_frame(outcomes: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the table of outcomes (`state`, `iteration`, `params`, `results`), in the order of their iterations.

    Outputs are the results, and those metrics (`metrics`, their last values) that somebody judges by.

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
    params: dict[str, list[Any]] = {}
    outputs: dict[str, list[Any]] = {}
    for number, outcome in enumerate(found):
        columns["state"].append(outcome.get("state"))
        columns["iter"].append(outcome["iteration"])
        results = {**(outcome.get("metrics") or {}), **(outcome.get("results") or {})}
        parts = (
            ("param", params, flat_params(outcome.get("params") or {})),
            ("output", outputs, results),
        )
        for prefix, part, values in parts:
            for key, value in values.items():
                part.setdefault(f"{prefix}.{key}", [None] * len(found))[number] = value
    columns |= params | outputs
    return pl.DataFrame([_series(name, values) for name, values in columns.items()])


def flat_params(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return params as they are stored: nested ones as `a.b`."""
    if not any(isinstance(v, dict) for v in params.values()):
        return params
    found: dict[str, Any] = RunConfig(tree_of(dict(params))).flat()
    return found


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


@asked("iterations")
def stored_iterations(store: Store, run_id: str) -> pl.DataFrame:
    """Return the iteration table of a stored run: its children that have a number, live ones included.

    Of an iteration that was tried again, the newest try counts.
    """
    return iteration_frame(stored_outcomes(store, run_id))


def stored_outcomes(store: Store, run_id: str, names: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return what the iterations of a stored run came to, in their order.

    Args:
        store: where.
        run_id: the parent.
        names: metrics whose last values count; default those that the job named.
    """
    from mlrun.lookup.sight import snapshot

    rows = {
        row["iteration"]: row for row in _children_of(store, run_id) if row["iteration"] is not None
    }
    ids = [row["run_id"] for row in rows.values()]
    with snapshot(store) as sight:
        params, results = (
            _by_run(sight.rows(table, ids).to_dicts()) for table in (PARAMS, RESULTS)
        )
        above = sight.rows(RUNS, [run_id]).to_dicts()
        facts = json.loads((above[0]["provenance"] if above else None) or "{}").get("hyper") or {}
        outputs = facts.get("outputs") or ()
        named = set(names) or set(facts.get("judged") or ())
        metrics = last_values(sight, ids, named) if named else {}
    return [
        {
            "run_id": row["run_id"],
            "state": row["state"],
            "iteration": number,
            "error": row["error"],
            "params": _ordered(params.get(row["run_id"], {}), facts.get("params") or ()),
            "results": _ordered(results.get(row["run_id"], {}), outputs),
            "metrics": _without(metrics.get(row["run_id"], {}), results.get(row["run_id"], {})),
        }
        for number, row in rows.items()
    ]


def last_values(
    sight: Snapshot, run_ids: Sequence[str], names: Collection[str]
) -> dict[str, dict[str, float]]:
    """Return the last values of these metrics, by run."""
    import polars as pl

    from mlrun.lookup.widen import aggregate

    rows = sight.rows(SUMMARIES, run_ids, keys=list(names)).filter(pl.col("key").is_in(list(names)))
    found: dict[str, dict[str, float]] = {}
    for run_id, key, last in rows.select(
        "run_id", "key", aggregate("last").alias("last")
    ).iter_rows():
        found.setdefault(run_id, {})[key] = last
    return found


def _without(values: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k not in known}


def _children_of(store: Store, run_id: str) -> list[dict[str, Any]]:
    """Return the rows of a run's children, by iteration; archived ones too."""
    from mlrun.lookup.sight import snapshot
    from mlrun.query import run_query

    where = f"parent = {_quoted(run_id)}"
    query = run_query(None, where, ["iteration", "started_at"], None, 0, True, True, False)
    with snapshot(store) as sight:
        rows = sight.rows(RUNS, sight.find(query)).to_dicts()
    return sorted(rows, key=lambda r: (r["iteration"] or 0, r["started_at"], r["run_id"]))


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
