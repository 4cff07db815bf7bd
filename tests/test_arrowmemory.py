from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from mlrun.arrowmemory import arrow_of, empty_table, numpy_of, valid_of

KINDS = [pa.int64(), pa.int32(), pa.float64(), pa.bool_(), pa.timestamp("us", "UTC")]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(
    values=st.lists(st.none() | st.integers(0, 1), max_size=40),
    cut=st.integers(0, 40),
    skip=st.integers(0, 10),
)
def test_there_and_back(kind: pa.DataType, values: list[int | None], cut: int, skip: int) -> None:
    array = pa.array(values, pa.int64()).cast(kind)
    column = pa.chunked_array([array[:cut], array[cut:]], kind).slice(skip)
    numbers, valid = numpy_of(column), valid_of(column)
    assert valid.tolist() == [v is not None for v in values[skip:]]
    kept = [int(v) for v in numbers[valid]]
    assert kept == [v for v in values[skip:] if v is not None]
    again = arrow_of(numbers, kind, missing=~valid)
    assert again.equals(array[skip:])
    for chunk in column.chunks:
        assert numpy_of(chunk).size == len(chunk)


def test_one_chunk_is_not_copied() -> None:
    values = np.arange(1000)
    array = arrow_of(values)
    assert np.shares_memory(numpy_of(array), values)
    assert np.shares_memory(numpy_of(pa.chunked_array([array])), values)


def test_nothing() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    assert empty_table(schema).equals(schema.empty_table())
    assert numpy_of(pa.chunked_array([], pa.float64())).dtype == np.float64
    assert valid_of(pa.chunked_array([], pa.float64())).size == 0


def test_pandas_is_not_loaded() -> None:
    code = """
import sys, numpy as np
from mlrun.arrowmemory import arrow_of, empty_table, numpy_of, valid_of
a = arrow_of(np.arange(3), missing=np.array([True, False, False]))
numpy_of(a), valid_of(a), arrow_of(np.ones(3, bool)), empty_table
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
