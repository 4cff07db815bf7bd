"""Many series are downsampled at once, with the points that one by one would have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from polars.testing import assert_frame_equal

import mlrun
from mlrun.errors import ConfigError
from mlrun.executors.downsample import compare, downsample
from mlrun.registry import executor_class
from mlrun.series.downsampling import select

if TYPE_CHECKING:
    from collections.abc import Iterator

on_ray = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


@pytest.fixture
def executor(ray_session: Any) -> Iterator[Any]:
    with executor_class("ray")() as opened:
        yield opened


def walks(count: int, rows: int) -> dict[str, np.ndarray]:
    made = np.random.default_rng(0)
    return {f"s{n}": np.cumsum(made.normal(size=rows)) for n in range(count)}


def assert_chosen(answer: Any, series: dict[str, np.ndarray], points: int) -> None:
    assert answer["key"].unique(maintain_order=True).to_list() == list(series)
    for key, values in series.items():
        chosen = select(None, values, points, "minmaxlttb")
        own = answer.filter(key=key)
        np.testing.assert_array_equal(own["x"].to_numpy(), chosen)
        np.testing.assert_array_equal(own["value"].to_numpy(), values[chosen])


def test_threads_choose_what_one_by_one_would() -> None:
    series = {**walks(9, 30_000), "short": np.arange(3.0), "gap": np.full(5000, np.nan)}
    assert_chosen(downsample(series, 200), series, 200)


def test_positions_may_be_given() -> None:
    x = np.arange(10_000) * 2.5
    answer = downsample({"a": (x, np.sin(x))}, 100)
    assert set(answer["x"]) <= set(x)
    assert answer.height <= 100
    with pytest.raises(ConfigError, match="positions"):
        downsample({"a": (x[:5], np.sin(x))}, 100)


def test_no_series_give_no_rows() -> None:
    assert downsample({}, 10).columns == ["key", "x", "value"]
    with pytest.raises(ConfigError, match="points"):
        downsample({}, 3)
    with pytest.raises(ConfigError, match="minmaxlttb"):
        downsample({}, method="best")


class TestOnRay:
    pytestmark = on_ray

    def test_arrays_and_references_give_the_same_points(self, executor: Any) -> None:
        import ray

        series = walks(20, 20_000)
        answer = downsample(series, 100, executor=executor)
        assert_chosen(answer, series, 100)
        references = {key: ray.put(values) for key, values in series.items()}
        assert_frame_equal(downsample(references, 100, executor=executor), answer)

    def test_series_with_and_without_positions_go_together(self, executor: Any) -> None:
        import ray

        x, y = np.arange(5_000) * 2.5, np.sin(np.arange(5_000))
        given: dict[str, Any] = {"a": y, "none": y[:0], "b": (x, y), "few": (x[:3], y[:3])}
        answer = downsample(given, 100, executor=executor)
        assert_frame_equal(answer, downsample(given, 100))
        assert answer["key"].unique(maintain_order=True).to_list() == ["a", "b", "few"]
        assert downsample({}, 100, executor=executor).columns == answer.columns
        held = {**given, "b": (ray.put(x), ray.put(y))}
        assert_frame_equal(downsample(held, 100, executor=executor), answer)

    @pytest.mark.parametrize("count", [1, 9, 100])
    def test_calls_that_run_together_hold_half_of_the_series(
        self, executor: Any, count: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []
        plain = executor.map

        def counted(fn: Any, work: list[Any]) -> Any:
            sizes.extend(len(series) for series, *_ in work)
            return plain(fn, work)

        monkeypatch.setattr(executor, "map", counted)
        series = walks(count, 50)
        assert downsample(series, 10, executor=executor)["key"].n_unique() == count
        assert sum(sizes) == count
        assert max(sizes) * executor.slots <= count / 2 + executor.slots

    def test_compare_is_what_metrics_answers(self, executor: Any) -> None:
        for number in range(5):
            with mlrun.init(project="p", name=f"r{number}") as run:
                for step in range(500):
                    run.log({"loss": number + 1 / (step + 1), "acc": step * 0.1})
        ids = mlrun.runs("p")["run_id"].to_list()
        store = mlrun.open_store()
        answer = compare(store, ids, ["loss"], 50, executor=executor)
        assert_frame_equal(answer, mlrun.metrics(sorted(ids), ["loss"], 50))
        assert compare(store, [], None, 50, executor=executor).height == 0
