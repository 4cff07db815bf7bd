"""Whatever plan is chosen, the answer is the same: every plan against the Polars compiler."""

from __future__ import annotations

import json
import math
import random
from contextlib import closing
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from mlrun.contracts import OrderKey, RunQuery
from mlrun.registry import storage_class
from mlrun.storage import sqlite_find, sqlite_walk
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS
from mlrun.testing.records_ops import run_put, value_put
from mlrun.where import parse, parse_order
from mlrun.where.frames import RunFrames, select_runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TERMS = (
    "params.x = 1", "params.x > 0.5", "params.x in (2, 'a')", "params.x >= 'a'", "params.y",
    "metrics.acc > 0.5", "metrics.acc <= 0.9", "metrics.acc.max > 0.9", "metrics.acc is nan",
    "'t' in tags", "labels.team = 'cv'", "state = 'running'", "state in ('running', 'lost')",
    "name like 'n%'", "not params.x = 1", "params.x = 1 or 't' in tags", "results.x != 1",
    "params.x > params.y", "started_at > timestamp '1970-01-01 00:00:02'", "project = 'p'",
)  # fmt: skip
_ORDERS = (
    "", "-started_at", "started_at", "-metrics.acc", "metrics.acc", "params.x", "-params.x", "run_id",
    "-metrics.acc.max", "metrics.absent", "-labels.team", "metrics.acc, -started_at", "name", "-results.x",
)  # fmt: skip


def _ops(random: random.Random) -> tuple[list[Any], list[Any]]:
    values = [0, 1, 2, 0.5, True, "a", "b", math.nan, None, [1]]
    ops: list[Any] = []
    summaries: list[Any] = []
    for number in random.sample(range(1000), 120):
        run = f"run-{number:03d}"
        row = {
            "state": random.choice(["running", "completed", "lost"]),
            "name": random.choice(["n1", "m", None]),
            "started_at": random.choice([None, *range(1_000_000, 5_000_000, 500_000)]),
            "parent": random.choice([None, None, None, "run-x"]),
            "archived_at": random.choice([None, None, None, 1]),
            "labels": random.choice([None, json.dumps({"team": random.choice(values)})]),
        }
        ops.append(run_put(run, **{**row, "project": random.choice("pppq")}))
        for table, key in (("params", "x"), ("params", "y"), ("results", "x")):
            if random.random() < 0.8:
                ops.append(value_put(table, run, key, random.choice(values)))
        if random.random() < 0.3:
            ops.append(("put", "tags", {"run_id": run, "tag": "t"}))
        for step in range(random.randrange(4)):
            value = random.choice([0.2, 0.5, 0.9, 1.0, math.nan])
            nan = int(math.isnan(value))
            number_ = None if nan else value
            summaries.append(
                (run, "acc", value, number_, number_, number_, 1, nan, step, step, 0, step)
            )
    return ops, summaries


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path: Path = tmp_path_factory.mktemp("find") / "mlrun.db"
    with closing(storage_class("sqlite:")(f"sqlite:///{path}")) as records:
        records.create()
        ops, summaries = _ops(random.Random(7))
        records.apply(ops, summaries=summaries)
        yield records


@pytest.mark.parametrize("seed", range(12))
def test_every_plan_gives_the_answer_of_polars(
    store: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    # small bounds make small data take the ways of large data
    monkeypatch.setattr(sqlite_find, "_FEW", chance.choice([0, 2, 10, 3000]))
    monkeypatch.setattr(sqlite_find, "_COUNTED", chance.choice([0, 2, 10, 20_000]))
    monkeypatch.setattr(sqlite_find, "_SURE", chance.choice([0, 3, 64]))
    monkeypatch.setattr(sqlite_find, "_SOME", chance.choice([0, 10, 20_000]))
    monkeypatch.setattr(sqlite_find, "_MOST_STEPS", chance.choice([0, 20, 12_000]))
    monkeypatch.setattr(sqlite_find, "_MOST_UNITED", chance.choice([0, 50]))
    monkeypatch.setattr(sqlite_walk, "_FIRST", chance.choice([1, 5, 512]))
    monkeypatch.setattr(sqlite_walk, "_STRIDE", chance.choice([4, 50, 65_536]))
    monkeypatch.setattr(sqlite_walk, "_LONG_TIE", chance.choice([1, 3, 1024]))
    with store.read() as view:
        tables = (view.scan(t) for t in (RUNS, TAGS, PARAMS, RESULTS, SUMMARIES))
        frames = RunFrames(*(pl.DataFrame(pl.from_arrow(t)) for t in tables))
        ids = frames.runs["run_id"].to_list()
        for _ in range(60):
            terms = chance.sample(_TERMS, chance.choice([0, 1, 1, 2, 2, 3]))
            text = chance.choice([" and ", " and ", " or "]).join(f"({t})" for t in terms)
            order = chance.choice(_ORDERS)
            keys: tuple[OrderKey, ...] = parse_order(order) if order else ()
            query = RunQuery(
                project=chance.choice([None, "p", "q"]),
                where=parse(text) if text else None,
                order_by=keys,
                limit=chance.choice([None, 1, 5, 30]),
                offset=chance.choice([0, 0, 3]),
                exclude=frozenset(chance.sample(ids, chance.choice([0, 0, 20]))),
                children=chance.random() < 0.5,
                archived=chance.random() < 0.5,
            )
            found = view.find(query).column("run_id").to_pylist()
            assert found == select_runs(frames, query)["run_id"].to_list(), (text, order, query)


def _steps(view: Any, monkeypatch: pytest.MonkeyPatch, **query: Any) -> int:
    """Return how many statements a question takes."""
    counted: list[str] = []
    connection = view.connection
    for verb in ("arrow", "rows"):
        call = getattr(type(connection), verb)

        def counting(self: Any, sql: str, *rest: Any, call: Any = call, **more: Any) -> Any:
            counted.append(sql)
            return call(self, sql, *rest, **more)

        monkeypatch.setattr(type(connection), verb, counting)
    view.find(RunQuery(**query))
    return len(counted)


def test_conditions_that_exclude_each_other_end_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the runs satisfy each condition and none both: a walk would check all of them one by one."""
    monkeypatch.setattr(sqlite_find, "_FEW", 20)
    monkeypatch.setattr(sqlite_find, "_COUNTED", 20)
    monkeypatch.setattr(sqlite_find, "_MOST_STEPS", 100)
    monkeypatch.setattr(sqlite_walk, "_FIRST", 8)
    with closing(storage_class("sqlite:")(f"sqlite:///{tmp_path}/mlrun.db")) as records:
        records.create()
        ops: list[Any] = []
        for n in range(2000):
            ops += [run_put(f"r{n}", started_at=n), value_put("params", f"r{n}", "a", n % 2)]
            ops += [value_put("params", f"r{n}", "b", n % 2)]
        records.apply(ops)
        where = parse("params.a = 1 and params.b = 0")
        with records.read() as view:
            order = parse_order("-started_at")
            assert _steps(view, monkeypatch, where=where, order_by=order, limit=5) < 20
            assert view.find(RunQuery(where=where, order_by=order, limit=5)).num_rows == 0
