from __future__ import annotations

import ctypes
import gc
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from mlrun.storage.arrowrows import Row, StreamError, read_rows


def told(table: pa.Table, rows: int = 100) -> list[tuple[Any, ...]]:
    """Read a table through the C stream, as a driver gives it."""
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=rows))
    place = ctypes.create_string_buffer(64)
    reader._export_to_c(ctypes.addressof(place))
    rows_read: list[tuple[Any, ...]] = read_rows(ctypes.addressof(place))
    return rows_read


TABLE = pa.table(
    {
        "text": pa.array(["a", None, "é🙂", "", "x" * 5000], pa.string()),
        "long": pa.array(["a", "b", None, "d", "e"], pa.large_string()),
        "int": pa.array([1, -(2**63), None, 2**63 - 1, 0], pa.int64()),
        "small": pa.array([1, None, 3, 4, 5], pa.int16()),
        "float": pa.array([0.5, float("inf"), None, -0.0, 1e300], pa.float64()),
        "bool": pa.array([True, False, None, True, False]),
        "none": pa.nulls(5),
    }
)


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_rows_are_those_of_pyarrow(rows: int) -> None:
    expected = [tuple(row.values()) for row in TABLE.to_pylist()]
    assert told(TABLE, rows) == expected
    assert told(TABLE.slice(2, 2), rows) == expected[2:4]
    assert told(TABLE.slice(0, 0), rows) == []


def test_more_bits_than_a_byte_holds() -> None:
    values = [None if n % 5 == 0 else n % 3 == 0 for n in range(1000)]
    table = pa.table({"b": pa.array(values), "n": pa.array(range(1000), pa.int64())})
    assert told(table.slice(13, 900), 77) == list(zip(values[13:913], range(13, 913), strict=True))


def test_times_come_as_microseconds() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    table = pa.table({"t": pa.array([at, None], pa.timestamp("us", "UTC"))})
    assert told(table) == [(int(at.timestamp() * 1e6),), (None,)]


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match=r"\+l"):
        told(pa.table({"x": pa.array([[1]])}))


def test_an_error_of_the_driver_is_raised() -> None:
    def batches() -> Any:
        yield TABLE.to_batches()[0]
        raise ValueError("the server is gone")

    reader = pa.RecordBatchReader.from_batches(TABLE.schema, batches())
    place = ctypes.create_string_buffer(64)
    reader._export_to_c(ctypes.addressof(place))
    with pytest.raises(StreamError, match="the server is gone"):
        read_rows(ctypes.addressof(place))


def test_a_row_is_read_by_others_and_lives_as_long_as_it_is_kept() -> None:
    values = ("é'x\n", -5, 1.5, True, False, None, "", "y" * 3000)
    row = Row(values)
    array, schema = ctypes.create_string_buffer(80), ctypes.create_string_buffer(72)
    row.move_to(ctypes.addressof(array), ctypes.addressof(schema))
    gc.collect()
    batch = pa.RecordBatch._import_from_c(ctypes.addressof(array), ctypes.addressof(schema))
    batch.validate(full=True)
    assert tuple(batch.to_pylist()[0].values()) == values
    del batch


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OverflowError):
        Row([2**63])
