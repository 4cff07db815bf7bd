"""`mlrun runs`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

import mlrun
from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, note, print_frame, say, split_names

if TYPE_CHECKING:
    import polars as pl

__all__ = ["runs"]

_FIRST = ["run_id", "name", "project", "state", "started_at", "duration", "tags"]
_PADDING = 3  # between two columns of a table


@click.command()
@click.argument("project", required=False)
@click.option("--project", "-p", "project_option", metavar="NAME", help="Only this project.")
@click.option(
    "--where", "-w", metavar="EXPR", help="Such as \"metrics.acc > 0.9 and 'best' in tags\"."
)
@click.option(
    "--order-by", "-o", multiple=True, callback=split_names, metavar="NAMES",
    help="Names, - before one turns it round.  [default: -started_at]",
)  # fmt: skip
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(0),
    default=None,
    help="At most so many runs.  [default: 50 on a terminal]",
)
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out so many first.")
@click.option(
    "--columns", "-c", multiple=True, callback=split_names, metavar="NAMES",
    help="Only these, such as name,params.lr,metrics.acc.",
)  # fmt: skip
@click.option("--children", is_flag=True, help="Also iterations, retries and steps of other runs.")
@click.option("--archived", is_flag=True, help="Also archived runs.")
@click.option("--deleted", is_flag=True, help="Also runs deleted in the last 30 days.")
@click.option("--watch", is_flag=True, help="Refresh until Ctrl-C; needs a terminal.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1),
    default=2.0,
    show_default=True,
    help="Seconds between two refreshes.",
)
@format_options
@click.pass_context
def runs(
    ctx: click.Context,
    /,
    project: str | None,
    project_option: str | None,
    form: str | None,
    watch: bool,
    interval: float,
    **question: Any,
) -> None:
    """List runs, newest first.

    On a terminal, the columns that fit are shown; in a pipe, and as JSON or CSV, all of them.
    """
    if project and project_option and project != project_option:
        raise click.UsageError("give the project once")
    store = the_store(ctx)
    terminal = not form and sys.stdout.isatty()
    if watch and not terminal:
        raise click.UsageError("--watch needs a terminal, and neither --json nor --csv")
    question["order_by"] = question["order_by"] or "-started_at"
    if terminal and question["limit"] is None:
        question["limit"] = 50
    question |= {"project": project or project_option, "store": store}
    if watch:
        _watch(question, interval)
        return
    found = mlrun.runs(**question)
    if not terminal:
        print_frame(found, form)
        return
    shown, hidden = _fitting(found, question["columns"])
    print_frame(shown, form)
    _tell(found, hidden, question)


def _tell(found: pl.DataFrame, hidden: int, question: dict[str, Any]) -> None:
    if hidden:
        note(f"{hidden} more columns: --columns chooses, --json and --csv print all")
    if question["limit"] is not None and found.height == question["limit"]:
        note(f"the first {found.height} runs: --limit and --offset show others")


def _watch(question: dict[str, Any], interval: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from mlrun.cli.tables import table

    def drawn() -> Group:
        shown, _ = _fitting(mlrun.runs(**question), question["columns"])
        status = f"{time.strftime('%H:%M:%S')}  {shown.height} runs  Ctrl-C ends"
        return Group(table(shown), Text(status, style="dim"))

    try:
        with Live(drawn(), auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                time.sleep(interval)
                live.update(drawn(), refresh=True)
    except KeyboardInterrupt:
        return  # that is how watching ends


def _fitting(found: pl.DataFrame, chosen: list[str] | None) -> tuple[pl.DataFrame, int]:
    """Return the columns that a terminal has room for, and how many are left out."""
    import polars as pl
    from rich.console import Console

    if "run_id" in found.columns:
        # the end of an id is random, its beginning a time: the end tells runs apart
        found = found.with_columns(pl.col("run_id").str.tail(8).alias("run_id"))
    if chosen is not None:
        return found, 0
    keep = [
        c
        for c in _FIRST
        if c in found.columns and (c not in {"project", "tags"} or _tells(found, c))
    ]
    wanted = [c for c in found.columns if c.partition(".")[0] in {"metrics", "results", "params"}]
    wanted.sort(key=lambda c: ("metrics", "results", "params").index(c.partition(".")[0]))
    room = Console().width - sum(_width(found, c) for c in keep)
    for name in wanted:
        width = _width(found, name)
        if found[name].null_count() < found.height and width <= room:
            keep.append(name)
            room -= width
    return found.select(keep), len(wanted) + len(_FIRST) - len(keep)


def _tells(found: pl.DataFrame, column: str) -> bool:
    if column == "tags":
        return bool(found["tags"].list.len().sum())
    return found[column].n_unique() > 1


def _width(found: pl.DataFrame, column: str) -> int:
    return max([len(column), *(len(say(v)) for v in found[column].head(50).to_list())]) + _PADDING
