"""`mlrun logs`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

import mlrun
from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, note, print_frame, printable, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from mlrun.store import Store

__all__ = ["logs"]

_LOOK = 0.2  # seconds between two looks of --follow


@click.command()
@click.argument("run")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run has ended, or Ctrl-C.")
@click.option("--tail", "-n", type=click.IntRange(0), help="Only the last so many lines.")
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="Only this stream.")
@click.option("--times", "-t", is_flag=True, help="Begin each line with its time.")
@format_options
@click.pass_context
def logs(
    ctx: click.Context, /, run: str, follow: bool, form: str | None, times: bool, **choice: Any
) -> None:
    """Print what a run printed.

    With --follow, --json prints one object a line.
    """
    store = the_store(ctx)
    view = mlrun.get_run(run, store=store)
    if not follow and form:
        print_frame(_chosen(mlrun.logs(view, store=store), **choice), form)
        return
    found = (
        _follow(store, view.id, **choice)
        if follow
        else iter([_chosen(mlrun.logs(view, store=store), **choice)])
    )
    try:
        for number, lines in enumerate(found):
            _print(lines, form, times, header=number == 0)
    except KeyboardInterrupt:
        return  # that is how following ends
    if follow:
        note(f"run {view.name!r} is {view.refresh().state}")


def _chosen(lines: pl.DataFrame, tail: int | None, stream: str | None) -> pl.DataFrame:
    import polars as pl

    if stream:
        lines = lines.filter(pl.col("stream") == stream)
    return lines if tail is None else lines.tail(tail)


def _follow(
    store: Store, run_id: str, tail: int | None, stream: str | None
) -> Iterator[pl.DataFrame]:
    from mlrun.view import TERMINAL_STATES

    seen = 0
    while True:
        # looked at before reading: nothing comes after
        ended = mlrun.get_run(run_id, store=store).state in TERMINAL_STATES
        lines = mlrun.logs(run_id, store=store)
        fresh = lines.slice(seen)
        if fresh.height or not seen:
            yield _chosen(fresh, tail if not seen else None, stream)
        seen = lines.height
        if ended:
            return
        time.sleep(_LOOK)


def _print(lines: pl.DataFrame, form: str | None, times: bool, *, header: bool) -> None:
    import json

    out = sys.stdout
    if form == "csv":
        print_frame(lines, form) if header else out.write(_without_header(lines))
    elif form == "json":
        for row in lines.iter_rows(named=True):
            out.write(json.dumps(to_json(row), ensure_ascii=False) + "\n")
    else:
        # a terminal must not obey what a run printed; a file may have it as it was
        show = printable if out.isatty() else str
        for time_, line in lines.select("time", "line").iter_rows():
            stamp = f"{time_.astimezone():%H:%M:%S.%f}  " if times else ""
            out.write(f"{stamp}{show(line)}\n")
    out.flush()


def _without_header(lines: pl.DataFrame) -> str:
    import polars as pl

    shown = lines.with_columns(pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    return shown.write_csv(include_header=False)
