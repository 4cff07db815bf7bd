"""`mlrun.map_table`: batches out, one table back, in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import mlrun
from mlrun.errors import ConfigError, JobError
from mlrun.execution.places import place

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def local() -> Iterator[None]:
    yield
    place("local").close()
    from mlrun.execution import places

    places._places.clear()


def double(batch: pl.DataFrame) -> pl.DataFrame:
    return batch.with_columns(pl.col("x") * 2, pid=pl.lit(os.getpid()))


def by_local(*args: Any, **more: Any) -> pl.DataFrame:
    return mlrun.map_table(*args, executor="local", **more)


def test_the_rows_come_back_in_order_from_other_processes() -> None:
    frame = pl.DataFrame({"x": range(1000), "s": [f"text {n}" for n in range(1000)]})
    answer = by_local(double, frame, 64)
    assert_frame_equal(answer.drop("pid"), frame.with_columns(pl.col("x") * 2))
    assert os.getpid() not in answer["pid"].to_list()


@pytest.mark.parametrize(
    "given",
    [
        pl.DataFrame({"x": [1, 2, 3]}),
        pl.LazyFrame({"x": [1, 2, 3]}),
        pa.table({"x": [1, 2, 3]}),
        pa.table({"x": [1, 2, 3]}).to_reader(2),
    ],
    ids=["frame", "lazy", "arrow", "reader"],
)
def test_any_table_is_taken_and_arrow_may_be_given_back(given: Any) -> None:
    answer = by_local(lambda batch: batch.select(n=pl.col("x").sum()).to_arrow(), given, 2)
    assert answer["n"].to_list() == [3, 3]


def test_a_stored_table_and_a_query_are_read() -> None:
    with mlrun.init(project="p", name="a") as run:
        for step in range(10):
            run.log({"loss": float(step)})
    answer = by_local(lambda batch: batch.select(pl.col("value") + 1), "metrics", 3)
    assert sorted(answer["value"].to_list()) == [n + 1.0 for n in range(10)]
    query = "select value from metrics where value > 6 order by value"
    assert by_local(lambda batch: batch, query, 2)["value"].to_list() == [7.0, 8.0, 9.0]
    with pytest.raises(ConfigError, match="no table 'nothing'"):
        by_local(double, "nothing")


def test_the_answer_is_stored_under_a_name() -> None:
    frame = pl.DataFrame({"x": [1, 2, 3]})
    by_local(lambda batch: batch.select(pl.col("x") * 3), frame, 2, name="tripled")
    assert mlrun.get_artifact("default/tripled").as_df()["x"].to_list() == [3, 6, 9]
    with mlrun.init(project="p", name="open") as run:
        by_local(lambda batch: batch, frame, 2, name="same")
        run_id = run.id
    assert mlrun.get_artifact("p/same").as_df()["x"].to_list() == [1, 2, 3]
    assert mlrun.artifacts(run_id)["key"].to_list() == ["same"]


def test_a_table_without_rows_still_has_columns() -> None:
    answer = by_local(lambda b: b.select(y=pl.col("x") * 0.5), pl.DataFrame({"x": []}, {"x": int}))
    assert (answer.height, answer.schema) == (0, pl.Schema({"y": pl.Float64}))


def test_errors_come_back() -> None:
    def odd(batch: pl.DataFrame) -> Any:
        if batch["x"][0] == 4:
            raise ValueError("not this one")
        return batch

    frame = pl.DataFrame({"x": range(10)})
    with pytest.raises(JobError, match="not this one"):
        by_local(odd, frame, 2)
    with pytest.raises(ConfigError, match="returned int"):
        by_local(lambda batch: 1, frame)
    with pytest.raises(ConfigError, match="different columns"):
        by_local(lambda b: b.rename({"x": f"x{b['x'][0]}"}), frame, 5)
    with pytest.raises(ConfigError, match="batch_size"):
        by_local(double, frame, 0)
    with pytest.raises(ConfigError, match="not int"):
        by_local(double, 5)
