"""What executors promise of values: those that carry any, and those that share memory.

Part of `mlrun.testing.executors`, which is where to import these classes from.
"""

# ruff: noqa: D102 - the name of a test is its sentence
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from mlrun.testing import executor_calls as calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["MemoryConformance", "Opened", "ValuesConformance"]


class Opened:
    """Gives every test an executor of its own."""

    @pytest.fixture
    def executor(self, make: Callable[[], Any]) -> Iterator[Any]:
        """Open the executor, and close it after the test."""
        opened = make()
        yield opened
        opened.close()


class ValuesConformance(Opened):
    """Values, for executors that carry any."""

    patience: ClassVar[float] = 60.0

    @pytest.mark.parametrize("rows", [3, 50_000])
    def test_frames_tables_and_arrays_arrive_as_what_they_are(
        self, executor: Any, rows: int
    ) -> None:
        import numpy as np
        import polars as pl
        import pyarrow as pa

        frame = _frame(rows)
        values = [
            frame,
            frame["text"],
            pa.table({"a": list(range(rows))}),
            np.arange(rows * 1.0),
            {"deep": [frame, (np.arange(rows), "text")]},
        ]
        for value in values[:-1]:
            back = executor.submit(_echo, value).result(self.patience)
            assert back[0] == calls.told_type(value)
            _assert_same(back[1], value)
        kinds = executor.submit(_kinds, values[-1]).result(self.patience)
        assert kinds == ["polars.DataFrame", "numpy.ndarray", "str"]
        assert executor.submit(calls.add, pl.Series([1]), 2).result(self.patience).to_list() == [3]

    def test_a_slice_travels_without_the_rest(self, executor: Any) -> None:
        import numpy as np
        import pyarrow as pa

        whole = pa.table({"x": np.zeros(200_000), "text": ["abc"] * 200_000})
        part = whole.slice(100_000, 3)
        for value in (part, part.to_batches()[0], part["x"], part["text"].chunk(0)):
            held, back = executor.submit(_held_by, {"deep": [value]}).result(self.patience)
            assert held < 10_000
            assert back.equals(value)
            assert back.get_total_buffer_size() < 10_000

    def test_a_result_may_be_anything_that_pickles(self, executor: Any) -> None:
        assert executor.submit(complex, 1, 2).result(self.patience) == 1 + 2j
        assert executor.submit(_echo, {1: {2, 3}}).result(self.patience)[1] == {1: {2, 3}}

    def test_the_caller_may_change_an_array_between_calls(self, executor: Any) -> None:
        import numpy as np

        array = np.zeros(100_000)
        first = executor.submit(_total, array)
        assert first.result(self.patience) == 0
        array[:] = 1
        assert executor.submit(_total, array).result(self.patience) == 100_000

    def test_the_caller_may_change_a_frame_between_calls(self, executor: Any) -> None:
        import polars as pl

        frame = pl.DataFrame({"a": [0.0] * 100_000})
        assert executor.submit(_total_of_a, frame).result(self.patience) == 0
        frame[0, "a"] = 5.0
        assert executor.submit(_total_of_a, frame).result(self.patience) == 5


class MemoryConformance(Opened):
    """Shared memory, for executors that have it.

    Attributes:
        store_bytes: how much shared memory there is; results of twice as much are held at once.
    """

    patience: ClassVar[float] = 120.0
    store_bytes: ClassVar[int] = 200_000_000

    def test_a_table_handed_to_calls_is_not_copied(self, executor: Any, tmp_path: Path) -> None:
        import pyarrow as pa

        table = pa.table({"a": pa.array(range(10_000_000), pa.int64())})
        go = tmp_path / "go"
        jobs = [executor.submit(calls.grown, table, str(go)) for _ in range(2)]
        time.sleep(1)
        go.touch()
        for job in jobs:
            assert job.result(self.patience) < 0.25 * table.nbytes

    @pytest.mark.parametrize("rows", [10, 100_000])
    def test_arrays_are_read_only_on_both_sides(self, executor: Any, rows: int) -> None:
        import numpy as np

        assert "read-only" in executor.submit(calls.write_into, np.zeros(rows)).result(
            self.patience
        )
        back = executor.submit(calls.add, np.zeros(rows)).result(self.patience)
        assert "read-only" in calls.write_into(back)

    def test_more_than_the_memory_holds_is_not_lost(self, executor: Any) -> None:
        size = 25
        jobs = [
            executor.submit(calls.burst, size) for _ in range(2 * self.store_bytes // 10**6 // size)
        ]
        for job in jobs:
            value = job.result(self.patience)
            assert (value[0], value[-1], value.nbytes) == (size, size, size * 1_000_000)
        assert executor.submit(calls.add, 1).result(self.patience) == 2


def _echo(value: Any) -> tuple[str, Any]:
    return calls.told_type(value), value


def _kinds(value: Any) -> list[str]:
    frame, (array, text) = value["deep"]
    return [calls.told_type(frame), calls.told_type(array), type(text).__name__]


def _total(array: Any) -> float:
    return float(array.sum())


def _total_of_a(frame: Any) -> float:
    return float(frame["a"].sum())


def _held_by(given: Any) -> tuple[int, Any]:
    [value] = given["deep"]
    return value.get_total_buffer_size(), value


def _frame(rows: int) -> Any:
    import polars as pl

    number = pl.int_range(rows, eager=True)
    return pl.DataFrame({
        "number": number,
        "text": number.cast(pl.String),
        "gap": [None, *range(rows - 1)],
        "kind": pl.Series(["a", "b", "a"] * (rows // 3 + 1))[:rows].cast(pl.Enum(["a", "b"])),
        "class": pl.Series(["u", "v", "u"] * (rows // 3 + 1))[:rows].cast(pl.Categorical),
        "when": number.cast(pl.Datetime("us", "UTC")),
        "many": [[1, 2]] * rows,
        "money": number.cast(pl.Decimal(12, 2)),
    })  # fmt: skip


def _assert_same(back: Any, value: Any) -> None:
    import numpy as np
    import polars as pl
    from polars.testing import assert_frame_equal, assert_series_equal

    if isinstance(value, pl.DataFrame):
        assert_frame_equal(back, value)
    elif isinstance(value, pl.Series):
        assert_series_equal(back, value)
    elif isinstance(value, np.ndarray):
        np.testing.assert_array_equal(back, value)
    else:
        assert back.equals(value)
