"""`mlrun metrics` and `mlrun sql`."""

from __future__ import annotations

import sys
from typing import Any

import click

import mlrun
from mlrun.cli.opening import find_runs, the_store
from mlrun.cli.output import format_options, print_frame, split_names
from mlrun.errors import QueryError

__all__ = ["metrics", "sql"]


@click.command()
@click.argument("run", nargs=-1, required=True)
@click.option(
    "--keys",
    "-k",
    multiple=True,
    callback=split_names,
    metavar="NAMES",
    help="Only these metrics; patterns such as val/* too.",
)
@click.option("--points", type=click.IntRange(4), help="Downsample every series to so many points.")
@click.option(
    "--x", default="step", show_default=True, help="step, time, relative or metrics.<key>."
)
@click.option("--start", metavar="X", help="First x, inclusive, in its units.")
@click.option("--end", metavar="X", help="Last x, inclusive.")
@click.option(
    "--method", default="minmaxlttb", show_default=True, help="minmaxlttb, lttb, minmax or m4."
)
@click.option("--last", is_flag=True, help="One row per step: the one written last.")
@format_options
@click.pass_context
def metrics(
    ctx: click.Context,
    /,
    run: tuple[str, ...],
    form: str | None,
    start: str | None,
    end: str | None,
    **question: Any,
) -> None:
    """Print the points of one or more runs (ids, ends of ids, or names)."""
    store = the_store(ctx)
    question |= {"start": _bound(start, question["x"]), "end": _bound(end, question["x"])}
    print_frame(mlrun.metrics(find_runs(store, run), store=store, **question), form)


def _bound(text: str | None, x: str) -> Any:
    """A number, or for `--x time` an ISO 8601 time (UTC if it names no zone)."""
    from datetime import UTC, datetime

    if text is None:
        return None
    try:
        if x == "time":
            time = datetime.fromisoformat(text)
            return time if time.tzinfo else time.replace(tzinfo=UTC)
        return float(text)
    except ValueError:
        what = "an ISO 8601 time" if x == "time" else "a number"
        raise QueryError(f"{text!r} is not {what}") from None


@click.command()
@click.argument("query")
@format_options
@click.pass_context
def sql(ctx: click.Context, query: str, form: str | None) -> None:
    """Answer one SELECT; `-` reads it from stdin.

    Tables: runs, params, results, metrics, summaries, tags, artifacts, logs, system_metrics, runs_wide.
    """
    text = sys.stdin.read() if query == "-" else query
    print_frame(mlrun.sql(text, store=the_store(ctx)), form)
