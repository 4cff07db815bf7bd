"""`mlrun show`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

import mlrun
from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, print_frame, print_json, printable, say
from mlrun.tables import RUNS

if TYPE_CHECKING:
    import polars as pl

    from mlrun.store import Store
    from mlrun.view import RunView

__all__ = ["show"]

_SPARK_WIDTH = 32
_SPARK_METRICS = 50  # more metrics than these get no sparkline
_SHORT = 200  # characters of a parameter or command line on a terminal


@click.command()
@click.argument("run")
@format_options
@click.pass_context
def show(ctx: click.Context, run: str, form: str | None) -> None:
    """Show one run: overview, parameters, results, metrics, artifacts, where it came from.

    RUN is an id, its beginning or end (4 characters or more), or a name: the newest run of that name.
    """
    store = the_store(ctx)
    view = mlrun.get_run(run, store=store)
    sections = _sections(store, view)
    if form == "json":
        print_json(sections)
    elif form == "csv":
        print_frame(_long(sections), form)
    else:
        _print(store, view, sections)


def _sections(store: Store, view: RunView) -> dict[str, Any]:
    record = view.record
    overview = {name: record.get(name) for name in RUNS.visible if name not in {"labels", "error"}}
    began, ended = view.started_at, view.finished_at
    overview["duration"] = ended - began if began and ended else None
    summaries = view.summaries.drop("run_id").select(
        c for c in view.summaries.columns if c not in {"run_id", "last_seq"}
    )
    return {
        "run": overview,
        "tags": view.tags,
        "labels": view.labels,
        "params": view.params,
        "results": view.results,
        "metrics": {row.pop("key"): row for row in summaries.to_dicts()},
        "artifacts": mlrun.artifacts(view, store=store).drop("run_id").to_dicts(),
        "provenance": view.provenance,
        "error": view.error,
    }


def _long(sections: dict[str, Any]) -> pl.DataFrame:
    """Lay the sections out as (section, key, value) rows."""
    import json

    import polars as pl

    from mlrun.cli.output import to_json

    rows: list[tuple[str, str, str]] = []
    for section, content in sections.items():
        if isinstance(content, list):
            pairs = [(str(i), v) for i, v in enumerate(content)]
        else:
            pairs = list(content.items()) if isinstance(content, dict) else [("", content)]
        for key, value in pairs:
            plain = to_json(value)
            text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
            rows.append((section, str(key), "" if plain is None else text))
    schema = {"section": pl.String, "key": pl.String, "value": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _print(store: Store, view: RunView, sections: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    from mlrun.cli.tables import STATE_STYLES

    console = Console(soft_wrap=True, highlight=False)
    state = (view.state, STATE_STYLES.get(view.state, ""))
    console.print(Text.assemble((printable(view.name), "bold"), "  ", state, f"  {view.id}"))
    overview = {k: v for k, v in sections["run"].items() if k not in {"run_id", "name", "state"}}
    overview["tags"], overview["labels"] = sections["tags"], sections["labels"]
    _pairs(console, "", {k: v for k, v in overview.items() if v not in (None, "", [], {})})
    _pairs(console, "params", sections["params"])
    _pairs(console, "results", sections["results"])
    if sections["metrics"]:
        console.print(Text("\nmetrics", style="bold"))
        console.print(_metrics(store, view, sections["metrics"]))
    _pairs(console, "artifacts", _artifacts(sections["artifacts"]))
    _pairs(console, "provenance", _origin(sections["provenance"]))
    if view.error:
        console.print(Text("\nerror", style="bold red"))
        console.print(Text(printable(view.error)))


def _pairs(console: Any, title: str, values: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not values:
        return
    if title:
        console.print(Text(f"\n{title}", style="bold"))
    grid = Table.grid(padding=(0, 2))
    for key, value in values.items():
        text = say(value)
        short = text if len(text) <= _SHORT or not sys.stdout.isatty() else f"{text[:_SHORT]}…"
        grid.add_row(Text(f"  {printable(str(key))}", style="dim"), Text(short))
    console.print(grid)


def _metrics(store: Store, view: RunView, metrics: dict[str, dict[str, Any]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    sparks = _sparklines(store, view, list(metrics))
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("", "last", "min", "max", "count", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for key, row in metrics.items():
        numbers = [say(row[c]) for c in ("last", "min", "max")]
        table.add_row(
            *map(Text, [printable(key), *numbers, f"{row['count']:,}", sparks.get(key, "")])
        )
    return table


def _sparklines(store: Store, view: RunView, keys: list[str]) -> dict[str, str]:
    import polars as pl

    from mlrun.sparkline import sparkline

    if len(keys) > _SPARK_METRICS:
        return {}
    points = mlrun.metrics(view.id, points=2 * _SPARK_WIDTH, store=store)
    drawn = {}
    for key in keys:
        values = points.filter(pl.col("key") == key)["value"]
        drawn[key] = sparkline(values, _SPARK_WIDTH)
    return drawn


def _artifacts(rows: list[dict[str, Any]]) -> dict[str, str]:
    shown = {}
    for row in rows:
        names = f" ({', '.join(row['aliases'])})" if row["aliases"] else ""
        size = "" if row["size"] is None else f"  {_size(row['size'])}"
        shown[f"{row['key']}:v{row['version']}"] = f"{row['type']}{size}{names}"
    return shown


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit takes everything")


def _origin(found: dict[str, Any]) -> dict[str, Any]:
    """What of the provenance a person wants to see at once."""
    git = found.get("git") or {}
    shown: dict[str, Any] = {}
    if git.get("commit"):
        dirty = " with changes" if git.get("dirty") else ""
        branch = f" on {git['branch']}" if git.get("branch") else ""
        shown["commit"] = f"{git['commit'][:12]}{branch}{dirty}"
    if git.get("remote"):
        shown["remote"] = git["remote"]
    if found.get("command"):
        shown["command"] = " ".join(map(str, found["command"]))
    for key in ("python", "platform", "cpu_count"):
        if found.get(key):
            shown[key] = found[key]
    if found.get("gpus"):
        shown["gpus"] = ", ".join(str(g.get("name")) for g in found["gpus"])
    return shown
