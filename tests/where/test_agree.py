"""Random runs, random expressions: frames, SQLite, PostgreSQL and a reference in plain Python give the same runs."""

from __future__ import annotations

import json
import math
import tempfile
from contextlib import closing
from functools import cmp_to_key
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from mlrun.registry import storage_class
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS, Table
from mlrun.where import parse, to_text
from mlrun.where.ast import (
    Arith,
    Compare,
    Expr,
    InList,
    IsNaN,
    IsNull,
    Like,
    Literal_,
    Logic,
    Name,
    Neg,
    Not,
    Now,
    TagIn,
    Value,
)
from mlrun.where.frames import RunFrames, select_runs
from mlrun.where.parse_names import RUN_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import SimpleNamespace

    from mlrun.contracts import OrderKey, RunQuery

NAN = math.nan
Store = Any  # rows of each table: runs, tags, params, results, summaries
RANDOM = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHARED = settings(
    RANDOM, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

# -- the reference: one run at a time, in plain Python ---------------------------------------

MISSING, OTHER = object(), object()  # no value; a value that is neither number nor text


class Micros(NamedTuple):
    us: int


class Reference:
    """The semantics of `mlrun.where.ast`, as literally as it can be written."""

    def __init__(self, store: Store, query: RunQuery) -> None:
        self.store, self.query = store, query

    def answer(self) -> list[str]:
        q = self.query
        kept = [
            r
            for r in self.store.runs
            if self.visible(r) and (q.where is None or self.true(q.where, r))
        ]
        kept.sort(key=lambda r: str(r["run_id"]), reverse=True)
        for key in reversed(q.order_by):
            kept.sort(key=cmp_to_key(lambda a, b, key=key: self.order(key, a, b)))  # type: ignore[misc]
        ids = [str(r["run_id"]) for r in kept][q.offset :]
        return ids if q.limit is None else ids[: q.limit]

    def visible(self, run: dict[str, Any]) -> bool:
        q = self.query
        return (
            q.project in (None, run["project"])
            and run["run_id"] not in q.exclude
            and (q.children or run["parent"] is None)
            and (q.archived or run["archived_at"] is None)
            and (q.deleted or run["deleted_at"] is None)
        )

    def order(self, key: OrderKey, a: dict[str, Any], b: dict[str, Any]) -> int:
        left, right = (self.rank(self.value(key.name, run)) for run in (a, b))
        if left is None or right is None:
            return (left is None) - (right is None)
        return int((left > right) - (left < right)) * (-1 if key.descending else 1)

    def rank(self, value: Any) -> Any:
        if isinstance(value, str):
            return (1, value)
        if isinstance(value, Micros):
            return (0, value.us)
        return None if value in (MISSING, OTHER) or value != value else (0, value)

    def value(self, node: Value, run: dict[str, Any]) -> Any:
        match node:
            case Name("run", "duration"):
                start, end = run.get("started_at"), run.get("finished_at")
                return MISSING if start is None or end is None else Micros(end - start)
            case Name("run", key):
                found = run.get(key)
                if found is None:
                    return MISSING
                return Micros(found) if RUN_COLUMNS[key] == "time" else found
            case Name("labels", key):
                return decoded(json.loads(run["labels"] or "{}").get(key))
            case Name("metrics", key, aggregate):
                rows = [
                    s
                    for s in self.store.summaries
                    if (s["run_id"], s["key"]) == (run["run_id"], key)
                ]
                return aggregated(rows[0], aggregate) if rows else MISSING
            case Name(scope, key):
                rows = self.store.params if scope == "params" else self.store.results
                mine = [r["value"] for r in rows if (r["run_id"], r["key"]) == (run["run_id"], key)]
                return decoded(json.loads(mine[0])) if mine else MISSING
            case Literal_(value, kind):
                return Micros(int(value)) if kind in ("time", "duration") else decoded(value)
            case Now():
                return Micros(self.query.now_us)
            case Neg(inner):
                return calculate("-", None, self.value(inner, run))
            case Arith(op, left, right):
                return calculate(op, self.value(left, run), self.value(right, run))

    def true(self, node: Expr, run: dict[str, Any]) -> bool:
        match node:
            case Logic("and", terms):
                return all(self.true(t, run) for t in terms)
            case Logic(_, terms):
                return any(self.true(t, run) for t in terms)
            case Not(inner):
                return not self.true(inner, run)
            case Compare(op, left, right):
                return compared(op, self.value(left, run), self.value(right, run))
            case InList(value, items):
                return any(compared("=", self.value(value, run), self.value(i, run)) for i in items)
            case Like(value, pattern, ignore_case):
                found = self.value(value, run)
                return isinstance(found, str) and matches(
                    *((fold(p) if ignore_case else p) for p in (pattern, found))
                )
            case IsNull(value):
                return self.value(value, run) is MISSING
            case IsNaN(value):
                found = self.value(value, run)
                return bool(found != found)
            case TagIn(tag):
                return any((t["run_id"], t["tag"]) == (run["run_id"], tag) for t in self.store.tags)
            case Name():
                return compared("=", self.value(node, run), 1.0)


def decoded(value: Any) -> Any:
    if value is None:
        return MISSING
    if isinstance(value, (int, float)):
        return float(value)
    return value if isinstance(value, str) else OTHER


def aggregated(row: dict[str, Any], aggregate: str) -> float:
    if aggregate == "mean":
        return NAN if row["sum"] is None else row["sum"] / (row["count"] - row["nan"])
    return NAN if row[aggregate] is None else float(row[aggregate])


def calculate(op: str, left: Any, right: Any) -> Any:
    if isinstance(right, Micros):
        if left is None:
            return Micros(-right.us)
        if left is MISSING:
            return MISSING
        return Micros(left.us + right.us if op == "+" else left.us - right.us)
    if isinstance(left, Micros):
        return MISSING
    if not isinstance(right, float | int) or not isinstance(left, float | int | None):
        return MISSING
    if left is None:
        return -right
    if op == "/":
        return left / right if right else NAN
    return left + right if op == "+" else left - right if op == "-" else left * right


def compared(op: str, left: Any, right: Any) -> bool:
    families = [
        2 if isinstance(v, Micros) else 1 if isinstance(v, str) else 0 for v in (left, right)
    ]
    if MISSING in (left, right) or OTHER in (left, right) or families[0] != families[1]:
        return False
    if left != left or right != right:
        return False
    results: dict[str, bool] = {
        "=": left == right, "!=": left != right, "<": left < right,
        "<=": left <= right, ">": left > right, ">=": left >= right,
    }  # fmt: skip
    return results[op]


def fold(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


def matches(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    head, rest = pattern[0], pattern[1:]
    if head == "%":
        return any(matches(rest, text[i:]) for i in range(len(text) + 1))
    if head == "\\":
        return text[:1] == rest[:1] and matches(rest[1:], text[1:])
    return bool(text) and head in ("_", text[0]) and matches(rest, text[1:])


# -- what is compared ----------------------------------------------------------------------


def frame(table: Table, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Build a frame as the overlay does: `num` and `text` decoded, NaN kept."""
    columns = []
    for column, kind in zip(table.columns, table.schema.types, strict=True):
        values = [with_decoded(table, r).get(column.name) for r in rows]
        plain = (
            pa.array(values, pa.int64()) if column.type == "timestamp" else pa.array(values, kind)
        )
        columns.append(plain.cast(kind))
    made = pl.from_arrow(pa.table(columns, names=list(table.names)))
    assert isinstance(made, pl.DataFrame)
    return made


def with_decoded(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    if table not in (PARAMS, RESULTS):
        return row
    value = decoded(json.loads(row["value"]))
    is_text, is_number = isinstance(value, str), isinstance(value, float)
    return {**row, "num": value if is_number else None, "text": value if is_text else None}


def frames_of(store: Store) -> RunFrames:
    tables = (RUNS, TAGS, PARAMS, RESULTS, SUMMARIES)
    return RunFrames(*(frame(t, rows) for t, rows in zip(tables, store, strict=True)))


def ask(records: Any, store: Store, query: RunQuery) -> list[str]:
    """Put the rows into an empty records store and ask it."""
    tables = (RUNS, TAGS, PARAMS, RESULTS)
    ops = [("put", t.name, r) for t, rows in zip(tables, store, strict=False) for r in rows]
    records.apply(ops, summaries=[[s[c] for c in SUMMARIES.names] for s in store.summaries])
    with records.read() as view:
        return list(view.find(query).column("run_id").to_pylist())


def ask_sqlite(store: Store, query: RunQuery) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        records = storage_class("sqlite://")(f"sqlite:///{Path(folder) / 'mlrun.db'}")
        records.create()
        with closing(records):
            return ask(records, store, query)


def empty_postgres(records: Any) -> None:
    """Empty every table: many examples share one database."""
    with records._pool.transaction(write=True) as connection:
        names = (
            "select tablename from pg_tables where schemaname = 'mlrun' and tablename <> 'version'"
        )
        tables = ", ".join(f"mlrun.{name}" for (name,) in connection.rows(names))
        connection.execute(f"truncate {tables} restart identity" if tables else "select 1")
    records.create()


def compare(left: list[str], right: list[str], query: RunQuery) -> None:
    shown = to_text(query.where) if query.where else ""
    order = [(to_text(k.name), k.descending) for k in query.order_by]
    assert left == right, f"where {shown}\norder by {order}"


@given(data=st.data())
@RANDOM
def test_frames_answer_as_the_reference(language: SimpleNamespace, data: st.DataObject) -> None:
    store, query = data.draw(language.stores), data.draw(language.queries)
    compare(
        select_runs(frames_of(store), query)["run_id"].to_list(),
        Reference(store, query).answer(),
        query,
    )


@pytest.mark.slow
@given(data=st.data())
@RANDOM
def test_sqlite_answers_as_the_reference(language: SimpleNamespace, data: st.DataObject) -> None:
    store, query = data.draw(language.stores), data.draw(language.queries)
    compare(ask_sqlite(store, query), Reference(store, query).answer(), query)


@pytest.fixture
def records(postgres_url: str) -> Iterator[Any]:
    with closing(storage_class(postgres_url)(postgres_url)) as records:
        yield records


@pytest.mark.slow
@pytest.mark.postgres
@given(data=st.data())
@SHARED
def test_postgres_answers_as_the_reference(
    language: SimpleNamespace, records: Any, data: st.DataObject
) -> None:
    store, query = data.draw(language.stores), data.draw(language.queries)
    empty_postgres(records)
    compare(ask(records, store, query), Reference(store, query).answer(), query)


@given(data=st.data())
@RANDOM
def test_what_is_printed_parses_to_the_same_tree(
    language: SimpleNamespace, data: st.DataObject
) -> None:
    tree = data.draw(language.conditions)
    assert parse(to_text(tree)) == tree
