"""What a records store promises of `find`: every corner of the language, on runs made by hand."""

# ruff: noqa: D102 - the name of a test is its sentence
from __future__ import annotations

import json
import math
from itertools import chain
from typing import Any

import pytest

from mlrun.contracts import Op, OrderKey, RunQuery
from mlrun.tables import SUMMARIES
from mlrun.testing.records_ops import run_put, value_put
from mlrun.where import parse, parse_order
from mlrun.where.ast import Compare, InList, Literal_, Logic, Name, Not

__all__ = ["FindConformance"]

_HOUR = 3_600_000_000
_NOW = 1_700_000_000_000_000


def _metric(run_id: str, key: str, *values: float) -> list[tuple[Any, ...]]:
    """Return one partial summary for every value."""
    rows = []
    for step, value in enumerate(values):
        nan = int(math.isnan(value))
        number = None if nan else value
        rows.append((run_id, key, value, number, number, number, 1, nan, step, step, _NOW, step))
    assert all(len(r) == len(SUMMARIES.names) for r in rows)
    return rows


def _labelled(run_id: str, labels: Any, **columns: Any) -> Op:
    return run_put(run_id, labels=json.dumps(labels), **columns)


_OPS: list[Op] = [
    _labelled("a", {"team": "cv", "n": 3}, name="mlp", state="completed", started_at=_NOW - _HOUR),
    _labelled("b", {"team": "nlp", "n": math.nan}, name="MLP", state="running", started_at=_NOW),
    _labelled("c", [1], name="50%", state="completed", started_at=_NOW - 48 * _HOUR, iteration=2),
    run_put("d", name=None, labels="no json", dropped=0),
    run_put("child", parent="a", state="error", started_at=_NOW - 1),
    run_put("old", archived_at=1),
    run_put("gone", deleted_at=1),
    run_put("else", project="other", state="completed", started_at=_NOW - 2),
    ("put", "runs", {"run_id": "a", "finished_at": _NOW - _HOUR + 90_000_000}),
    value_put("params", "a", "lr", 0.1),
    value_put("params", "b", "lr", "0.1"),
    value_put("params", "c", "lr", math.nan),
    value_put("params", "d", "lr", None),
    value_put("params", "else", "lr", 1),
    value_put("params", "a", "flag", True),
    value_put("params", "b", "flag", False),
    value_put("params", "c", "flag", [1]),
    value_put("params", "d", "flag", math.inf),
    value_put("results", "a", "score", "A*"),
    value_put("results", "b", "score", "a_"),
    value_put("results", "c", "score", "é\nb"),
    value_put("results", "d", "score", ""),
    ("put", "tags", {"run_id": "a", "tag": "best"}),
    ("put", "tags", {"run_id": "c", "tag": "best"}),
    ("put", "tags", {"run_id": "c", "tag": "it's"}),
]
_METRICS = [
    *_metric("a", "acc", 0.5, 0.9),
    *_metric("b", "acc", 0.7, math.nan),
    *_metric("c", "acc", 0.9, 0.2, 0.4),
    *_metric("else", "acc", math.inf),
    *_metric("d", "val/acc", math.nan),
]
# condition -> ids of the runs of project p that satisfy it
_CONDITIONS = {
    "state = 'completed'": "a c",
    "state != 'completed'": "b",
    "not state = 'completed'": "b d",
    "state in ('running', 'lost')": "b",
    "state is null": "d",
    "state is not null": "a b c",
    "state > 'completed'": "b",
    "iteration = 2": "c",
    "iteration + 1 = 3": "c",
    "dropped = 0": "d",
    "run_id >= 'c'": "c d",
    "name = 'mlp'": "a",
    "name like 'm%'": "a",
    "name ilike 'm%'": "a b",
    "name like '50\\%'": "c",
    "not name like 'm%'": "b c d",
    "params.lr = 0.1": "a",
    "params.lr = '0.1'": "b",
    "params.lr != 0.1": "",
    "not params.lr = 0.1": "b c d",
    "params.lr < 1": "a",
    "params.lr in (0.1, '0.1')": "a b",
    "params.lr is nan": "c",
    "params.lr is null": "d",
    "params.absent is null": "a b c d",
    "params.lr is missing or params.lr is nan": "c d",
    "params.flag": "a",
    "not params.flag": "b c d",
    "params.flag = false": "b",
    "params.flag >= 0": "a b d",
    "params.flag is null": "",
    "params.flag > 1e300": "d",
    "params.lr / 0 is nan": "a c",
    "params.lr / 0 is null": "b d",
    "params.flag - params.flag is nan": "d",
    "params.flag / 2 = 0.5": "a",
    "-params.lr < 0": "a",
    "results.score like 'A*'": "a",
    "results.score ilike 'a_'": "a b",
    "results.score like 'é%b'": "c",
    "results.score = ''": "d",
    "results.score < 'a'": "a d",
    "metrics.acc > 0.5": "a",
    "metrics.acc.max >= 0.9": "a c",
    "metrics.acc.min < 0.5": "c",
    "metrics.acc.mean = 0.7": "a b",
    "metrics.acc.count = 3": "c",
    "metrics.acc.first_step = 0 and metrics.acc.last_step = 1": "a b",
    "metrics.acc is nan": "b",
    "metrics.acc is null": "d",
    'metrics."val/acc" is nan and metrics."val/acc".max is nan': "d",
    "metrics.acc.count > metrics.acc.last_step": "a b c",
    "labels.team = 'cv'": "a",
    "labels.n = 3": "a",
    "labels.n is nan": "b",
    "labels.team is null": "c d",
    "'best' in tags": "a c",
    "'it''s' in tags": "c",
    "not 'best' in tags": "b d",
    "started_at > now() - interval '1 day'": "a b",
    "started_at is null": "d",
    "finished_at - started_at = interval '90 seconds'": "a",
    "duration > 89": "a",
    "duration is null": "b c d",
    "state = 'completed' and metrics.acc > 0.5": "a",
    "state = 'running' or 'best' in tags": "a b c",
    "not (state = 'completed' or state is null)": "b",
    "(params.lr = 0.1 or params.lr = '0.1') and not name = 'MLP'": "a",
}
# order -> ids of the runs of project p
_ORDERS = {
    "": "d c b a",
    "run_id": "a b c d",
    "-run_id": "d c b a",
    "started_at": "c a b d",
    "-started_at": "b a c d",
    "state": "c a b d",
    "-state, name": "b c a d",
    "metrics.acc": "c a d b",
    "-metrics.acc": "a c d b",
    "-metrics.acc.max": "c a b d",
    "-metrics.acc.count, run_id": "c a b d",
    "params.lr": "a b d c",
    "-params.lr": "b a d c",
    "-params.flag": "d a b c",
    "-labels.n": "a d c b",
    "params.absent": "d c b a",
    "-duration": "a d c b",
}


class FindConformance:
    """Tests over the fixture `records`; a part of `RecordsConformance`."""

    @pytest.fixture
    def some_runs(self, records: Any) -> Any:
        """Put the runs that the tables above speak of."""
        records.apply(_OPS, summaries=_METRICS)
        return records

    def _found(self, records: Any, project: str | None = "p", **query: Any) -> list[str]:
        with records.read() as view:
            found = view.find(RunQuery(project=project, now_us=_NOW, **query))
        assert found.column_names == ["run_id"]
        ids: list[str] = found.column("run_id").to_pylist()
        return ids

    def test_conditions(self, some_runs: Any) -> None:
        for text, ids in _CONDITIONS.items():
            assert (text, sorted(self._found(some_runs, where=parse(text)))) == (text, ids.split())

    def test_conditions_of_a_page(self, some_runs: Any) -> None:
        order = (OrderKey(parse_order("-started_at")[0].name, True),)
        for text, ids in _CONDITIONS.items():
            found = self._found(some_runs, where=parse(text), order_by=order, limit=10)
            assert (text, sorted(found)) == (text, ids.split())

    def test_orders(self, some_runs: Any) -> None:
        for text, ids in _ORDERS.items():
            keys = parse_order(text) if text else ()
            assert (text, self._found(some_runs, order_by=keys)) == (text, ids.split())
            pages = [self._found(some_runs, order_by=keys, limit=2, offset=n) for n in (0, 2, 4)]
            assert (text, [*chain(*pages)]) == (text, ids.split())

    def test_limits(self, some_runs: Any) -> None:
        assert self._found(some_runs, limit=0) == []
        assert self._found(some_runs, limit=1, offset=3) == ["a"]
        assert self._found(some_runs, limit=5, offset=9) == []
        assert self._found(some_runs, offset=3) == ["a"]

    def test_which_runs_are_seen(self, some_runs: Any) -> None:
        assert self._found(some_runs, None) == ["else", "d", "c", "b", "a"]
        assert self._found(some_runs, "absent") == []
        assert self._found(some_runs, children=True) == ["d", "child", "c", "b", "a"]
        assert self._found(some_runs, archived=True) == ["old", "d", "c", "b", "a"]
        assert self._found(some_runs, deleted=True) == ["gone", "d", "c", "b", "a"]
        everything = {"children": True, "archived": True, "deleted": True}
        assert len(self._found(some_runs, None, **everything)) == 8
        newest = parse_order("-started_at")
        assert self._found(some_runs, None, order_by=newest, limit=3, **everything) == [
            "b",
            "child",
            "else",
        ]
        assert self._found(some_runs, where=parse("parent = 'a'"), children=True) == ["child"]

    def test_excluded_runs(self, some_runs: Any) -> None:
        many = frozenset({"a", "c", *(f"absent-{n}" for n in range(3000))})
        assert self._found(some_runs, exclude=many) == ["d", "b"]
        assert self._found(
            some_runs, exclude=many, limit=1, order_by=parse_order("metrics.acc")
        ) == ["d"]

    def test_values_are_bound(self, some_runs: Any) -> None:
        hostile = "x' or 1 = 1 --"
        for text in ("name", "params.lr", "labels.team"):
            quoted = hostile.replace("'", "''")
            assert self._found(some_runs, where=parse(f"{text} = '{quoted}'")) == []
        key = json.dumps("a' or 1 --")
        assert self._found(some_runs, where=parse(f"metrics.{key} > 0")) == []
        assert (
            self._found(
                some_runs, where=parse(f"'{hostile.replace(chr(39), chr(39) * 2)}' in tags")
            )
            == []
        )

    def test_an_empty_store(self, records: Any) -> None:
        for text in _ORDERS:
            keys = parse_order(text) if text else ()
            assert self._found(records, order_by=keys, limit=5) == []
        assert self._found(records, where=parse("params.x > 1")) == []

    def test_long_lists_and_many_terms(self, some_runs: Any) -> None:
        items = (*(f"x{n}" for n in range(2000)), "mlp")
        name = Name("run", "name")
        listed = InList(name, tuple(Literal_(i, "text") for i in items))
        assert self._found(some_runs, where=listed) == ["a"]
        assert self._found(some_runs, where=Logic("and", (listed, parse("params.lr = 0.1")))) == [
            "a"
        ]
        terms = tuple(Compare("=", name, Literal_(i, "text")) for i in items)
        assert self._found(some_runs, where=Logic("or", terms)) == ["a"]
        assert self._found(some_runs, where=Not(Logic("or", terms))) == ["d", "c", "b"]
