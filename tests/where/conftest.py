"""Random runs and random expressions, for tests that compare answers."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st

from mlrun.contracts import OrderKey, RunQuery
from mlrun.where.ast import (
    AGGREGATES,
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
from mlrun.where.parse_names import RUN_COLUMNS

NOW = 1_700_000_000_000_000
INF, NAN = math.inf, math.nan
RUN_IDS = ("r1", "r2", "r3", "R", "é", "日")
NUMBERS = (0.0, -0.0, 1.0, 2.0, -1.0, 0.5, 0.1, 3.0, 1e308, -1e308, 5e-324, INF, -INF)
TEXTS = (
    "",
    "a",
    "A",
    "é",
    "É",
    "ab",
    "a%b",
    "a_b",
    "a\\b",
    "it's",
    '"q"',
    "1",
    "true",
    "NaN",
    "null",
    "\n",
    "日本",
)
KEYS = ("x", "a.max", 'é"q', "it's", "val/acc")
TAG_NAMES = ("base", "it's", "日", "")
TIMES = tuple(NOW + d for d in (-2_000_000, -1, 0, 1, 3_600_000_000))
SPANS = (0, 1, -1, 2_000_000, 3_600_000_000)

# -- runs ----------------------------------------------------------------------------------


class Store(NamedTuple):
    """Rows of each table, as the records store takes them."""

    runs: list[dict[str, Any]]
    tags: list[dict[str, Any]]
    params: list[dict[str, Any]]
    results: list[dict[str, Any]]
    summaries: list[dict[str, Any]]


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


jsons = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.sampled_from([NAN, None, True, False, 0, 1, 2**60 + 1, [1], {"a": 1}, []]),
)
labels = st.dictionaries(
    st.sampled_from(KEYS),
    st.sampled_from([*TEXTS, 0, 1, 0.5, True, False, None, [1], {"x": "a"}, "last"]),
    max_size=3,
)
run_rows = st.fixed_dictionaries(
    {
        "name": maybe(st.sampled_from(TEXTS)),
        "project": st.sampled_from(["p", "q"]),
        "state": st.sampled_from(["running", "completed"]),
        "group": maybe(st.sampled_from(TEXTS)),
        "parent": maybe(st.just("r1")),
        "iteration": maybe(st.sampled_from([0, 1, 2, -1])),
        "dropped": st.sampled_from([0, 3]),
        "started_at": maybe(st.sampled_from(TIMES)),
        "finished_at": maybe(st.sampled_from(TIMES)),
        "archived_at": maybe(st.just(NOW)),
        "deleted_at": maybe(st.just(NOW)),
        "labels": maybe(labels.map(json.dumps)),
    }
)


@st.composite
def stores(draw: st.DrawFn) -> Store:
    ids = draw(st.lists(st.sampled_from(RUN_IDS), unique=True, min_size=1, max_size=6))
    store = Store([], [], [], [], [])
    for run_id in ids:
        store.runs.append({"run_id": run_id, **draw(run_rows)})
        for tag in draw(st.lists(st.sampled_from(TAG_NAMES), unique=True, max_size=2)):
            store.tags.append({"run_id": run_id, "tag": tag})
        for rows in (store.params, store.results):
            for key, value in draw(
                st.dictionaries(st.sampled_from(KEYS), jsons, max_size=4)
            ).items():
                kind = type(value).__name__
                rows.append(
                    {"run_id": run_id, "key": key, "value": json.dumps(value), "type": kind}
                )
        for key, values in draw(
            st.dictionaries(
                st.sampled_from(KEYS),
                st.lists(st.sampled_from((*NUMBERS, NAN)), min_size=1, max_size=3),
            )
        ).items():
            store.summaries.append(summary(run_id, key, values))
    return store


def summary(run_id: str, key: str, values: list[float]) -> dict[str, Any]:
    numbers = [v for v in values if v == v]
    total = sum(numbers) if numbers else None
    return {
        "run_id": run_id, "key": key, "last": values[-1] if values[-1] == values[-1] else None,
        "min": min(numbers, default=None), "max": max(numbers, default=None),
        "sum": None if total != total else total,
        "count": len(values), "nan": len(values) - len(numbers),
        "first_step": 5, "last_step": 5 + len(values), "last_time": NOW, "last_seq": 1,
    }  # fmt: skip


# -- expressions ---------------------------------------------------------------------------

keys = st.sampled_from((*KEYS, "absent"))
any_names = st.builds(Name, st.sampled_from(["params", "results", "labels"]), keys)
metric_names = st.builds(Name, st.just("metrics"), keys, st.sampled_from(AGGREGATES))


def columns(kind: str) -> st.SearchStrategy[Value]:
    return st.sampled_from([Name("run", c) for c, k in RUN_COLUMNS.items() if k == kind])


def literals(kind: Any, values: Any) -> st.SearchStrategy[Literal_]:
    return st.builds(Literal_, st.sampled_from(values), st.just(kind))


numbers = literals("number", NUMBERS)
booleans = literals("bool", (True, False))
texts = literals("text", TEXTS)
times = literals("time", TIMES)
spans = literals("duration", SPANS)

numerics: st.SearchStrategy[Value] = st.recursive(
    st.one_of(numbers, metric_names, any_names, columns("number")),
    lambda inner: st.one_of(
        st.builds(Arith, st.sampled_from(["+", "-", "*", "/"]), inner, inner), st.builds(Neg, inner)
    ),
    max_leaves=4,
)
durations: st.SearchStrategy[Value] = st.one_of(
    columns("duration"),
    spans,
    st.builds(
        Arith, st.just("-"), columns("time"), st.one_of(columns("time"), times, st.builds(Now))
    ),
    st.builds(Arith, st.sampled_from(["+", "-"]), columns("duration"), spans),
    st.builds(Neg, columns("duration")),
)
instants: st.SearchStrategy[Value] = st.one_of(
    columns("time"),
    times,
    st.builds(Now),
    st.builds(
        Arith, st.sampled_from(["+", "-"]), st.one_of(columns("time"), st.builds(Now)), durations
    ),
    st.builds(Arith, st.just("+"), spans, columns("time")),
)
words: st.SearchStrategy[Value] = st.one_of(columns("text"), any_names, texts)
patterns = st.lists(
    st.sampled_from(["a", "A", "é", "É", "%", "_", "\\%", "\\\\", "\\a", "'", "\n", "日"]),
    max_size=4,
)
ops = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def lists(*kinds: st.SearchStrategy[Literal_]) -> st.SearchStrategy[tuple[Literal_, ...]]:
    return st.lists(st.one_of(*kinds), min_size=1, max_size=4).map(tuple)


conditions: st.SearchStrategy[Expr] = st.recursive(
    st.one_of(
        st.builds(Compare, ops, numerics, st.one_of(numerics, booleans)),
        st.builds(Compare, ops, words, words),
        st.builds(Compare, ops, any_names, st.one_of(any_names, texts, numbers, booleans)),
        st.builds(Compare, ops, instants, instants),
        st.builds(Compare, ops, durations, durations),
        st.builds(InList, any_names, lists(numbers, texts, booleans)),
        st.builds(InList, numerics.filter(lambda v: not any_name(v)), lists(numbers, booleans)),
        st.builds(InList, columns("text"), lists(texts)),
        st.builds(InList, instants, lists(times)),
        st.builds(InList, durations, lists(spans)),
        st.builds(Like, words, patterns.map("".join), st.booleans()),
        st.builds(IsNull, st.one_of(numerics, words, instants, durations)),
        st.builds(IsNaN, numerics),
        st.builds(TagIn, st.sampled_from((*TAG_NAMES, "absent"))),
        any_names,
    ),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(
            Logic,
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=2, max_size=3).map(tuple),
        ),
    ),
    max_leaves=5,
)
order_keys = st.builds(
    OrderKey,
    st.one_of(any_names, metric_names, *map(columns, ("number", "text", "time", "duration"))),
    st.booleans(),
)
queries = st.builds(
    RunQuery,
    project=maybe(st.sampled_from(["p", "none"])),
    where=maybe(conditions),
    order_by=st.lists(order_keys, max_size=3).map(tuple),
    limit=maybe(st.integers(0, 4)),
    offset=st.integers(0, 2),
    exclude=st.frozensets(st.sampled_from(RUN_IDS), max_size=2),
    children=st.booleans(),
    archived=st.booleans(),
    deleted=st.booleans(),
    now_us=st.just(NOW),
)


def any_name(value: Value) -> bool:
    return isinstance(value, Name) and value.scope in ("params", "results", "labels")


@pytest.fixture(scope="session")
def language() -> SimpleNamespace:
    """Return the strategies `stores`, `queries` and `conditions`."""
    return SimpleNamespace(stores=stores(), queries=queries, conditions=conditions)
