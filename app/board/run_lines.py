"""Console lines as text: without colours, found by words, the last ones first."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STREAMS", "as_text", "bare", "cut", "grown", "held"]

STREAMS = ("all", "stdout", "stderr")
# what moves a cursor or colours letters (CSI, OSC and single escapes), and other signs that no text shows
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])|[\x00-\x08\x0b-\x1f\x7f]"
)
_LONG = 4_000  # characters of a line


def bare(line: str) -> str:
    r"""Return a line without colours and control signs; of one that a progress bar rewrote, its last state.

    Example:
        >>> bare("\x1b[31mred\x1b[0m"), bare("10 %\r20 %")
        ('red', '20 %')
    """
    text = _ESCAPES.sub("", line.rstrip("\r").rpartition("\r")[2])
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def grown(lines: pl.DataFrame, since: Callable[[datetime | None], pl.DataFrame]) -> pl.DataFrame:
    """Return the lines and those that have come behind them.

    Args:
        lines: what is known.
        since: asks for the lines from a time on, inclusive: of that instant some may have come since.
    """
    if lines.is_empty():
        return since(None)
    last = lines["time"].max()
    assert isinstance(last, datetime)
    return pl.concat([lines.filter(pl.col("time") < last), since(last)])


def held(lines: pl.DataFrame, words: str, stream: str = "all") -> pl.DataFrame:
    """Return the lines of a stream that hold the words, as they stand, in small or large letters."""
    if stream != "all":
        lines = lines.filter(pl.col("stream") == stream)
    if words:
        small = pl.col("line").str.to_lowercase()
        lines = lines.filter(small.str.contains(words.lower(), literal=True))
    return lines


def cut(lines: pl.DataFrame, count: int) -> pl.DataFrame:
    """Return the last lines."""
    return lines.tail(count)


def as_text(lines: pl.DataFrame, *, times: bool = False) -> str:
    """Return lines as one text, each with its time (UTC) before it if that is wanted."""
    texts = [bare(line) for line in lines["line"].to_list()]
    if times:
        at = lines["time"].dt.strftime("%H:%M:%S%.3f").to_list()
        texts = [f"{when}  {text}" for when, text in zip(at, texts, strict=True)]
    return "\n".join(texts)
