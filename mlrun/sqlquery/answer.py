"""`sql()`: one read-only SELECT over named tables, run by Polars over lazy scans.

The query is parsed first and everything in it is checked against closed lists; what the engine gets is printed from the
checked tree, never the user's text. Only the tables that the query names are opened.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import polars as pl

from mlrun.errors import SnapshotExpired, SQLError, StoreError
from mlrun.ids import now_us as clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlglot import exp

__all__ = ["run_sql"]

# Whole numbers are Int64 and others Float64, however the engine counts.
_REGULAR: dict[Any, Any] = {
    **dict.fromkeys((pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32), pl.Int64),
    **dict.fromkeys((pl.Float32, pl.Decimal), pl.Float64),
}
_PATH = re.compile(r"(?:file://)?(?<![\w'\"])(?:/[\w.@+=-]+){2,}/?")


def run_sql(
    query: str,
    tables: Mapping[str, Callable[[], pl.LazyFrame]],
    *,
    now_us: int | None = None,
) -> pl.DataFrame:
    """Return the answer of a query.

    Args:
        query: one SELECT; common table expressions, unions, joins, subqueries and windows are fine.
        tables: what may be read; a table is built only if the query names it.
        now_us: the instant that `now()` means, in microseconds; the current one by default.

    Returns:
        A frame whose columns are named as in the query, or by their words (`max(m.value)`). Without `order by`, the
        rows of a grouped, distinct or united answer are sorted by their columns.

    Raises:
        SQLError: it is no such query, or it cannot be answered; says where and why.
        SnapshotExpired: files were freed while the query ran; ask again.
        StoreError: the files of a table cannot be read.
    """
    from mlrun.sqlquery.check import one_select, tables_used  # sqlglot takes 0.4 s to load
    from mlrun.sqlquery.write import engine_text

    tree = one_select(query)
    frames = {name: tables[name]() for name in tables_used(tree, tables, query)}
    columns = {name: frame.collect_schema().names() for name, frame in frames.items()}
    unordered = _comes_unordered(tree)
    text = engine_text(tree, columns, query, clock() if now_us is None else now_us)
    try:
        with pl.SQLContext(frames) as context:
            answer = context.execute(text, eager=False).collect(engine="streaming")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise SQLError(f"the query cannot be answered: {_plain(str(error))}", query) from error
    except FileNotFoundError as error:
        raise SnapshotExpired("files of a table were freed by compaction; ask again") from error
    except OSError as error:
        raise StoreError(f"a table cannot be read: {_plain(str(error))}") from error
    answer = answer.cast(_REGULAR)
    return _sorted(answer) if unordered else answer


def _comes_unordered(tree: exp.Query) -> bool:
    """Whether the engine returns the rows of a grouped answer in an order of its own."""
    from sqlglot import exp

    if tree.args.get("order") or tree.args.get("limit") or tree.args.get("offset"):
        return False
    return isinstance(tree, exp.SetOperation) or bool(
        tree.args.get("group") or tree.args.get("distinct")
    )


def _sorted(answer: pl.DataFrame) -> pl.DataFrame:
    by = [name for name, kind in answer.schema.items() if not kind.is_nested()]
    return answer.sort(by, nulls_last=True) if by else answer


def _plain(message: str) -> str:
    """Return the first lines of an engine's message, without places of this machine."""
    first = " ".join(message.strip().splitlines()[:2])
    return _PATH.sub(lambda found: f"…/{found.group().rstrip('/').rpartition('/')[2]}", first)[:500]
