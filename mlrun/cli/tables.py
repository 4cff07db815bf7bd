"""Tables of the terminal, drawn with rich; stored text is never taken as markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from mlrun.cli.output import printable, say

if TYPE_CHECKING:
    import polars as pl

__all__ = ["STATE_STYLES", "table"]

STATE_STYLES = {
    "running": "cyan",
    "completed": "green",
    "error": "red",
    "lost": "red",
    "aborted": "yellow",
    "aborting": "yellow",
}


def table(frame: pl.DataFrame, *, title: str = "") -> Table:
    """Draw a frame: numbers to the right, long text folded."""
    drawn = Table(box=box.SIMPLE_HEAD, title=Text(title) if title else None, title_justify="left")
    for name, kind in frame.schema.items():
        numeric = kind.is_numeric()
        drawn.add_column(
            Text(printable(name)),
            justify="right" if numeric else "left",
            overflow="ellipsis" if numeric else "fold",
            no_wrap=numeric or kind.is_temporal() or name in {"run_id", "id", "state"},
        )
    states = frame.columns.index("state") if "state" in frame.columns else -1
    for row in frame.iter_rows():
        cells = [Text(say(value)) for value in row]
        if states >= 0:
            cells[states].stylize(STATE_STYLES.get(str(row[states]), ""))
        drawn.add_row(*cells)
    return drawn
