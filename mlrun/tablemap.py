"""map_table: a function over the batches of a table, on an executor; the batches' answers are one table again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from mlrun.config import settings
from mlrun.errors import ConfigError, JobError
from mlrun.execution.places import chosen, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.execution.law import Executor, Needs
    from mlrun.store import Store

__all__ = ["map_table"]

_BATCH = 65_536  # rows


def map_table(
    store: Store | None,
    fn: Callable[[pl.DataFrame], Any],
    frame_or_query: Any,
    batch_size: int = _BATCH,
    *,
    executor: str | Executor | None = None,
    needs: Needs | None = None,
    in_flight: int | None = None,
    name: str | None = None,
) -> pl.DataFrame:
    """Call `fn` on every batch of a table; see `mlrun.map_table`. `store` answers queries; None for none asked."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size is a number of rows, 1 or more, not {batch_size!r}")
    where = place(chosen(False, executor, settings()))
    if where.carries != "any":
        raise ConfigError(
            f"executor {where.name!r} carries JSON, and tables are none: take 'ray' or 'local'"
        )
    batches = _batches(store, frame_or_query, batch_size)
    answer = _joined(_answers(where, fn, batches, needs, in_flight))
    if name is not None:
        _store_as(name, answer)
    return answer


def _answers(
    where: Executor,
    fn: Callable[[pl.DataFrame], Any],
    batches: Iterator[pl.DataFrame],
    needs: Needs | None,
    in_flight: int | None,
) -> Iterator[pl.DataFrame]:
    """Yield what the batches became, in their order, whichever ends first.

    Raises:
        JobError: `fn` raised; the batches in flight are cancelled.
    """
    early: dict[int, pl.DataFrame] = {}
    due = 0
    results = where.map(fn, batches, needs=needs, in_flight=in_flight)
    try:
        for index, value in results:
            if isinstance(value, JobError):
                raise value
            early[index] = _as_frame(value, fn)
            while due in early:
                yield early.pop(due)
                due += 1
    finally:
        close: Any = getattr(results, "close", None)
        if close is not None:
            close()


def _batches(store: Store | None, given: Any, rows: int) -> Iterator[pl.DataFrame]:
    """Yield the rows of what was given, so many at a time; one batch without rows if there are none."""
    empty: pl.DataFrame | None = None
    for frame in _frames(store, given, rows):
        empty = frame.clear() if empty is None else empty
        for start in range(0, frame.height, rows):
            empty = pl.DataFrame()
            yield frame.slice(start, rows)
    if empty is not None and empty.width:
        yield empty


def _frames(store: Store | None, given: Any, rows: int) -> Iterator[pl.DataFrame]:
    if isinstance(given, str):
        assert store is not None
        yield from _of_query(store, given, rows)
    elif isinstance(given, pl.LazyFrame):
        yield from _collected(given, rows)
    elif isinstance(given, pl.DataFrame):
        yield given
    elif isinstance(given, pa.RecordBatchReader):
        yield _frame_of(given.schema.empty_table())
        for batch in given:
            yield _frame_of(pa.Table.from_batches([batch]))
    elif hasattr(given, "__arrow_c_stream__"):
        yield _frame_of(pa.table(given))
    else:
        raise ConfigError(
            "map_table takes a frame, an Arrow table, a query or the name of a table, "
            f"not {type(given).__name__}"
        )


def _of_query(store: Store, query: str, rows: int) -> Iterator[pl.DataFrame]:
    """Yield a stored table as it is read, or the answer of a query."""
    from mlrun.asking import answering
    from mlrun.sqlquery.answer import run_sql
    from mlrun.sqlquery.question import answer_sql
    from mlrun.sqlquery.scans import SQL_TABLES, sql_tables

    if answering(store) is not None and (name := query.strip()) in SQL_TABLES:
        yield answer_sql(store, f"select * from {name}")
        return
    if answering(store) is not None:
        yield answer_sql(store, query)
        return
    with sql_tables(store) as tables:
        if (name := query.strip()) in SQL_TABLES:
            yield from _collected(tables[name](), rows)
        elif re.fullmatch(r"\w+", name):
            known = ", ".join(SQL_TABLES)
            raise ConfigError(f"no table {name!r}; known: {known}")
        else:
            yield run_sql(query, tables)


def _collected(lazy: pl.LazyFrame, rows: int) -> Iterator[pl.DataFrame]:
    yield lazy.collect_schema().to_frame()
    yield from lazy.collect_batches(chunk_size=rows, maintain_order=True)


def _frame_of(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _as_frame(value: Any, fn: Callable[..., Any]) -> pl.DataFrame:
    if isinstance(value, pl.DataFrame):
        return value
    if isinstance(value, pl.LazyFrame):
        return value.collect()
    if hasattr(value, "__arrow_c_stream__") and not isinstance(value, pl.Series):
        return _frame_of(pa.table(value))
    name = getattr(fn, "__qualname__", repr(fn))
    raise ConfigError(f"{name}() returned {type(value).__name__}, and not a frame or Arrow table")


def _joined(parts: Iterator[pl.DataFrame]) -> pl.DataFrame:
    found = list(parts)
    if not found:
        return pl.DataFrame()
    try:
        return pl.concat(found, rechunk=False)
    except (pl.exceptions.SchemaError, pl.exceptions.ShapeError) as error:
        schemas = {str(dict(frame.schema)) for frame in found}
        raise ConfigError(
            f"the batches became tables of different columns: {'; '.join(sorted(schemas)[:2])}"
        ) from error


def _store_as(name: str, frame: pl.DataFrame) -> None:
    """Store a frame as a dataset of the open run, or of a run of its own."""
    from mlrun.tracking.current import current_run
    from mlrun.tracking.start import init

    run = current_run()
    if run is not None:
        run.log_dataset(name, frame)
        return
    with init(name=f"map_table {name}", kind="map_table") as run:
        run.log_dataset(name, frame)
