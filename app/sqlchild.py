"""A process that answers queries of callers, one after the other: started, fed and ended by `app.sqlpool`."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError, SQLError
from mlrun.lookup.restricted import ProjectsOnly
from mlrun.sqlquery.answer import run_sql
from mlrun.sqlquery.scans import sql_tables
from mlrun.store import Store
from mlrun.wire import problem_of

if TYPE_CHECKING:
    import polars as pl

__all__ = ["main"]

_HEAD = struct.Struct("<BQ")


def main() -> None:
    """Answer until the gateway closes the pipe."""
    source = sys.stdin.buffer
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing else speaks there
    # the pipe is the gateway's own: nobody else can write to it
    folder, urls = pickle.loads(_message(source))
    store = Store(Path(folder), **urls)
    while asked := _message(source):
        kind, body = _answered(store, pickle.loads(asked))
        out.write(_HEAD.pack(kind, len(body)))
        out.write(body)
        out.flush()


def _message(source: Any) -> bytes:
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size:
        sys.exit(0)
    return bytes(source.read(_HEAD.unpack(head)[1]))


def _answered(store: Any, asked: dict[str, Any]) -> tuple[int, memoryview]:
    try:
        frame = _frame(store, asked)
    except MlrunError as error:
        return 1, memoryview(json.dumps(problem_of(error)).encode())
    except RecursionError:
        told = problem_of(SQLError("the query is too deep"))
        return 1, memoryview(json.dumps(told).encode())
    body = io.BytesIO()
    frame.write_ipc_stream(body, compression="zstd")
    return 0, body.getbuffer()


def _frame(store: Any, asked: dict[str, Any]) -> pl.DataFrame:
    only = asked["projects"]
    seen: Any = store if only is None else ProjectsOnly(store, frozenset(only))
    with sql_tables(seen) as tables:
        if not asked["audits"]:
            del tables["audit"]
        frame = run_sql(asked["query"], tables)
    if frame.height > asked["rows"]:
        raise SQLError(
            f"the answer has {frame.height:,} rows, more than {asked['rows']:,}: add a limit"
        )
    return frame


if __name__ == "__main__":
    main()
