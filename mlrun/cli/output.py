"""How answers are printed: a table on a terminal, tab-separated text in a pipe, or JSON or CSV when asked.

Only data goes to stdout. JSON is strict: NaN and infinities become null, times are ISO 8601 in UTC, durations seconds.
CSV has the same columns, with lists joined by commas and NaN written as NaN. Control characters in stored text are
shown, never sent to a terminal.
"""

from __future__ import annotations

import json
import math
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import polars as pl

__all__ = ["format_options", "note", "print_frame", "print_json", "printable", "say", "to_json"]

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MOST_ROWS = 200  # of a table on a terminal; pipes, JSON and CSV get all
_JSON_TEXT = frozenset({"labels"})  # columns that hold JSON


def format_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--json` and `--csv`; it gets the argument `form`: json, csv or empty."""
    for name in ("csv", "json"):
        command = click.option(
            f"--{name}",
            "form",
            flag_value=name,
            help=f"Print {name.upper()}, whole and unformatted.",
        )(command)
    return command


def print_frame(frame: pl.DataFrame, form: str | None, *, title: str = "") -> None:
    """Print a frame in the form asked for.

    Args:
        frame: any columns.
        form: json, csv, or empty: a table on a terminal, tab-separated lines elsewhere.
        title: above the table.
    """
    if form == "json":
        print_json_rows(frame.iter_rows(named=True))
    elif form == "csv":
        _write(_flat(frame).write_csv())
    elif sys.stdout.isatty():
        _print_table(frame, title)
    else:
        _print_lines(frame)


def print_json_rows(rows: Iterable[dict[str, Any]]) -> None:
    """Print a JSON array, an object a line."""
    before = "["
    for row in rows:
        shown = {k: _parsed(v) if k in _JSON_TEXT else v for k, v in row.items()}
        _write(f"{before}{_dump(shown)}")
        before = ",\n "
    _write("[]\n" if before == "[" else "]\n")


def print_json(value: Any) -> None:
    """Print one JSON value, indented on a terminal."""
    _write(_dump(value, indent=2 if sys.stdout.isatty() else None) + "\n")


def to_json(value: Any) -> Any:
    """Make a value strictly JSON-able: NaN and infinities to null, times to ISO 8601 (UTC), durations to seconds."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [to_json(v) for v in value]
    return str(value)


def printable(text: str) -> str:
    """Show control and direction-changing characters as escapes: stored text must not steer a terminal."""
    return _CONTROLS.sub(lambda m: m[0].encode("unicode_escape").decode(), text)


def say(value: Any) -> str:
    """Return a value as people read it: short numbers, local times, durations in words."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, timedelta):
        return _duration(value.total_seconds())
    if isinstance(value, list):
        return ", ".join(say(v) for v in value)
    if isinstance(value, dict):
        return printable(json.dumps(to_json(value), ensure_ascii=False))
    return printable(str(value))


def note(text: str) -> None:
    """Tell people something that is no data, on stderr."""
    click.echo(printable(text), err=True)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s"


def _dump(value: Any, indent: int | None = None) -> str:
    return json.dumps(to_json(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text  # damaged: shown as it is


def _write(text: str) -> None:
    sys.stdout.write(text)


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Turn columns that CSV has no form for into text or numbers."""
    import polars as pl

    flat = []
    for name, kind in frame.schema.items():
        column = pl.col(name)
        if isinstance(kind, pl.List):
            column = column.cast(pl.List(pl.String)).list.join(",")
        elif isinstance(kind, pl.Duration):
            column = (column.dt.total_microseconds() / 1e6).round(6)
        elif isinstance(kind, pl.Datetime):
            column = column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        elif isinstance(kind, pl.Struct):
            column = column.struct.json_encode()
        elif kind in (pl.Object, pl.Binary):
            column = column.map_elements(str, return_dtype=pl.String)
        flat.append(column.alias(name))
    return frame.select(flat)


def _print_lines(frame: pl.DataFrame) -> None:
    """Print tab-separated values; tabs and line ends inside values are escaped."""
    _write("\t".join(_field(c) for c in frame.columns) + "\n")
    for row in _flat(frame).iter_rows():
        _write("\t".join(_field(v) for v in row) + "\n")


def _field(value: Any) -> str:
    text = "" if value is None else repr(value) if isinstance(value, float) else str(value)
    return printable(text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n"))


def _print_table(frame: pl.DataFrame, title: str) -> None:
    from rich.console import Console

    from mlrun.cli.tables import table

    console = Console()
    if frame.height > _MOST_ROWS:
        note(f"{frame.height:,} rows; the first {_MOST_ROWS} are shown: --json or --csv prints all")
    console.print(table(frame.head(_MOST_ROWS), title=title))
    if not frame.height:
        note("nothing found")


def split_names(_: click.Context, __: click.Parameter, value: Sequence[str]) -> list[str] | None:
    """Callback of options that take names, repeated or separated by commas outside of quotes."""
    names = [n.strip() for v in value for n in re.findall(r'(?:"[^"]*"|[^,])+', v)]
    return [n for n in names if n] or None
