"""What is new in the log: asked for with little between, or after long."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.contracts import PointFilter
from mlrun.registry import storage_class
from mlrun.storage import clickhouse_log
from mlrun.tables import METRICS
from mlrun.testing.series_sample import sample

if TYPE_CHECKING:
    from mlrun.storage.clickhouse_log import State

pytestmark = [pytest.mark.clickhouse, pytest.mark.xdist_group("clickhouse")]


def test_who_looks_often_knows_what_they_know_who_look_once(
    clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    plain: Any = clickhouse_log._news

    def news(table: str, *, grouped: bool) -> str:
        asked.append(grouped)
        question: str = plain(table, grouped=grouped)
        return question

    monkeypatch.setattr(clickhouse_log, "_news", news)
    monkeypatch.setattr(clickhouse_log, "_FRESH_SECONDS", 600.0)
    writer, often, once = (storage_class(clickhouse_url)(clickhouse_url) for _ in range(3))
    monkeypatch.setattr(
        clickhouse_log, "time", SimpleNamespace(monotonic=lambda: 1e6, sleep=time.sleep)
    )
    writer.create(METRICS)
    looks = [_seen(often)]
    for number in range(1, 4):
        assert writer.append(METRICS, sample(METRICS, 6), marks={"a": number, f"b{number}": 7})
        looks.append(_seen(often))
    writer.delete_runs(METRICS, ["nobody"])
    writer.delete_points(METRICS, PointFilter(run_ids=("r",), keys=("k",)))
    looks.append(_seen(often))
    first = len(asked)
    assert _seen(once) == looks[-1]
    assert asked[first:] == [True]
    assert False in asked
    assert looks[-1].marks == {"a": 3, "b1": 7, "b2": 7, "b3": 7}
    assert [look.commit for look in looks] == [0, 1, 2, 3, looks[-1].commit]
    for handle in (writer, often, once):
        handle.close()


def _seen(series: Any) -> State:
    state: State = series.snapshot(METRICS)._state
    return replace(state, looked=0.0)
