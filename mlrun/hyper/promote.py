"""What a hyperparameter job leaves at its parent: the best results and artifacts, the table, the picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.hyper.selector import found_value
from mlrun.hyper.table import iteration_frame
from mlrun.ids import now_us
from mlrun.tables import LINEAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from mlrun.hyper.selector import Selector
    from mlrun.tracking.run import Run

__all__ = ["promote"]

_LINES = 2_000  # of the picture: more cannot be told apart


def promote(
    run: Run,
    outcomes: Sequence[Mapping[str, Any]],
    selector: Selector | None,
    facts: Mapping[str, Any],
    best: int | None = None,
) -> int | None:
    """Give the parent what its children came to.

    Args:
        run: the parent.
        outcomes: what the children came to, with their params.
        selector: decides on the best.
        facts: of the job, for its provenance; `params` are the hyperparameters in the order given.
        best: the best iteration, when somebody else has decided.

    Returns:
        The best iteration, or None.
    """
    if not outcomes or run.store is None:
        return None
    if best is None and selector is not None:
        best = selector.best(outcomes)
    if best is not None:
        chosen = next(o for o in outcomes if o["iteration"] == best)
        run.log_results({"best_iteration": best, **_results(chosen, selector)})
        _link_artifacts(run, chosen["run_id"])
    frame = iteration_frame(outcomes)
    named = [(c, c.partition(".")) for c in frame.columns]
    outputs = [key for _, (kind, _, key) in named if kind == "output"]
    params = [key for _, (kind, _, key) in named if kind == "param"]
    run.set_provenance({"hyper": {**facts, "params": params, "outputs": outputs}})
    _log_table(run, frame)
    _log_picture(run, frame, facts.get("keys") or params, selector)
    return best


def _results(outcome: Mapping[str, Any], selector: Selector | None) -> dict[str, Any]:
    """Return a child's results, and the metric that decided where it is none of them."""
    found = dict(outcome.get("results") or {})
    if selector is not None and selector.key not in found:
        decided = found_value(outcome, selector.key)
        if decided is not None:
            found[selector.key] = decided
    return found


def _link_artifacts(run: Run, child: str) -> None:
    """Name the best child's artifacts as the parent's too: the same versions, no copies."""
    from mlrun.query import artifacts

    made = artifacts(run.store, child)
    rows = made.select("project", "key", "version").iter_rows(named=True)
    stamp = {"run_id": run.id, "role": "output", "step": 0, "time": now_us()}
    run.record([("put", LINEAGE.name, {**row, **stamp}) for row in rows])


def _log_table(run: Run, frame: pl.DataFrame) -> None:
    from mlrun.content.bodies import Body
    from mlrun.content.registration import Options, register

    def make() -> Body:
        text = frame.write_csv().encode()
        return Body(text, "csv", "table", {"rows": frame.height}, name="iteration_results.csv")

    register(run, "iteration_results", make, "table", Options(lenient=True))


def _log_picture(
    run: Run, frame: pl.DataFrame, keys: Sequence[str], selector: Selector | None
) -> None:
    """Log parallel coordinates as Plotly's JSON, written without Plotly: it is read by whoever shows it."""
    from mlrun.content.bodies import Body
    from mlrun.content.registration import Options, register

    axes = [c for c in frame.columns if c.removeprefix("param.") in keys or c.startswith("output.")]
    dimensions = [_dimension(frame[c].head(_LINES)) for c in axes]
    dimensions = [d for d in dimensions if d is not None]
    if not dimensions:
        return
    line: dict[str, Any] = {}
    told = f"output.{selector.key}" if selector is not None else ""
    if told in frame.columns and frame[told].dtype.is_numeric():
        line = {
            "color": frame[told].head(_LINES).to_list(),
            "colorscale": "Viridis",
            "showscale": True,
        }
    figure = {
        "data": [{"type": "parcoords", "dimensions": dimensions, "line": line}],
        "layout": {"title": {"text": "Iterations"}},
    }
    register(
        run,
        "parallel_coordinates",
        lambda: Body(json.dumps(figure, allow_nan=False).encode(), "plotly", "figure"),
        "figure",
        Options(lenient=True),
    )


def _dimension(column: pl.Series) -> dict[str, Any] | None:
    """Return one axis: numbers as they are, words by their place in alphabetical order."""
    label = column.name.partition(".")[2]
    if column.dtype.is_numeric():
        values = [v if v is not None and abs(v) < float("inf") else None for v in column.to_list()]
        return {"label": label, "values": values} if any(v is not None for v in values) else None
    texts = [None if v is None else str(v) for v in column.to_list()]
    words = sorted({t for t in texts if t is not None})
    if not words:
        return None
    places = {word: i for i, word in enumerate(words)}
    return {
        "label": label,
        "values": [None if t is None else places[t] for t in texts],
        "tickvals": list(range(len(words))),
        "ticktext": [w[:40] for w in words],
    }
