"""Asking one query: how many rows are fetched for a screen, what is downloaded, and the line that asks the same."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

import mlrun
from mlrun.errors import SQLError

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["ROWS", "Answer", "as_csv", "as_parquet", "ask", "bounded", "python_line"]

ROWS = 10_000  # of an answer that are fetched for a screen


@dataclass(frozen=True)
class Answer:
    """What came of a query.

    Attributes:
        query: as it was written.
        frame: at most `ROWS` rows; without columns if it failed.
        cut: whether there are more.
        error: why there is no answer, for people; empty when there is one.
    """

    query: str
    frame: pl.DataFrame
    cut: bool = False
    error: str = ""


def ask(store: Store, query: str) -> Answer:
    """Answer a query, as far as it is shown.

    Raises:
        MlrunError: the store does not answer; what is wrong with the query itself is told in the answer.
    """
    try:
        found = mlrun.sql(bounded(query), store=store)
    except SQLError as error:
        return Answer(query, pl.DataFrame(), error=str(error))
    return Answer(query, found.head(ROWS), found.height > ROWS)


def bounded(query: str, rows: int = ROWS) -> str:
    """Return a query that fetches one row more than is shown, where that leaves the rows' order as it is.

    A grouped or united answer without `order by` is sorted as a whole, and has to be fetched as one.
    """
    from sqlglot import exp

    from mlrun.sqlquery.check import one_select

    tree = one_select(query)
    if tree.args.get("limit") or tree.args.get("offset") or not isinstance(tree, exp.Select):
        return query
    grouped = tree.args.get("group") or tree.args.get("distinct")
    if grouped and not tree.args.get("order"):
        return query
    return f"{query.rstrip().rstrip(';')}\nlimit {rows + 1}"


def as_csv(frame: pl.DataFrame) -> bytes:
    """Return a frame as CSV; lists and other nested values as JSON."""
    nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
    flat = frame.with_columns(
        pl.Series(name, [_json(v) for v in frame[name].to_list()], dtype=pl.String)
        for name in nested
    )
    lasting = [name for name, kind in frame.schema.items() if kind == pl.Duration]
    flat = flat.with_columns(pl.col(name).dt.total_seconds(fractional=True) for name in lasting)
    return flat.write_csv().encode()


def as_parquet(frame: pl.DataFrame) -> bytes:
    """Return a frame as Parquet."""
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def python_line(query: str) -> str:
    """Return the Python that asks the same."""
    if "\n" in query and '"""' not in query and "\\" not in query and not query.endswith('"'):
        return f'import mlrun\n\nmlrun.sql("""{query}""")'
    return f"import mlrun\n\nmlrun.sql({query!r})"


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, default=str, ensure_ascii=False)
