"""A process that answers queries of callers, one after the other; see `app.sqlpool`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from mlrun.errors import SQLError
from mlrun.lookup.restricted import ProjectsOnly
from mlrun.sqlquery.answer import run_sql
from mlrun.sqlquery.scans import sql_tables

from .childloop import answer_all

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["answer"]


def answer(store: Store, asked: dict[str, Any]) -> memoryview:
    """Return the answer of a query as an Arrow IPC stream."""
    only = asked["projects"]
    seen: Any = store if only is None else ProjectsOnly(store, frozenset(only))
    try:
        with sql_tables(seen, asked["query"]) as tables:
            if not asked["audits"]:
                del tables["audit"]
            frame = run_sql(asked["query"], tables)
    except RecursionError:
        raise SQLError("the query is too deep") from None
    if frame.height > asked["rows"]:
        raise SQLError(
            f"the answer has {frame.height:,} rows, more than {asked['rows']:,}: add a limit"
        )
    body = io.BytesIO()
    frame.write_ipc_stream(body, compression="zstd")
    return body.getbuffer()


if __name__ == "__main__":
    answer_all(answer)
