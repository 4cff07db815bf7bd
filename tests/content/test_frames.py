from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from mlrun.content import catalog, frames

FRAME = pl.DataFrame(
    {
        "x": [1, 2, None, 4],
        "y": [0.5, float("nan"), float("inf"), -1.0],
        "s": ["a", "b", "a", None],
        "t": [datetime(2026, 1, d, tzinfo=UTC) for d in (1, 2, 3, 4)],
        "b": [True, False, None, True],
        "l": [[1], [], None, [2, 3]],
        "c": pl.Series(["u", "v", "u", "u"], dtype=pl.Categorical),
    }
)


def test_polars_round_trip(run: Any) -> None:
    item = catalog.log_dataset(run, "train", FRAME)
    assert (item.type, item.meta["format"]) == ("dataset", "parquet")
    back = item.as_df()
    assert back.schema == FRAME.schema
    assert back.equals(FRAME)
    assert item.load().equals(FRAME)


def test_what_is_known_of_a_frame(run: Any) -> None:
    meta = catalog.log_dataset(run, "train", FRAME).meta
    assert (meta["rows"], meta["columns"]) == (4, 7)
    assert meta["schema"][0] == {"name": "x", "type": "Int64"}
    assert meta["stats"]["x"] == {
        "type": "Int64", "count": 3, "nulls": 1, "mean": 7 / 3, "std": pytest.approx(1.5275, abs=1e-4),
        "min": 1.0, "25%": 1.5, "50%": 2.0, "75%": 3.0, "max": 4.0,
    }  # fmt: skip
    assert (meta["stats"]["y"]["nan"], meta["stats"]["y"]["max"]) == (1, "Infinity")
    assert meta["stats"]["s"] == {
        "type": "String",
        "count": 3,
        "nulls": 1,
        "distinct": 2,
        "top": [["a", 2], ["b", 1]],
    }
    assert meta["stats"]["t"]["min"] == "2026-01-01T00:00:00+00:00"
    assert meta["stats"]["b"]["true"] == 2
    assert meta["stats"]["c"]["distinct"] == 2
    assert meta["preview"]["columns"] == FRAME.columns
    assert meta["preview"]["rows"][1][:3] == [2, "NaN", "b"]
    json.dumps(meta, allow_nan=False)


def test_the_preview_is_short() -> None:
    wide = pl.DataFrame({f"c{i}": ["x" * 1000] * 30 for i in range(150)})
    preview = frames.describe(wide)["preview"]
    assert (len(preview["rows"]), len(preview["columns"]), len(preview["rows"][0])) == (
        20,
        100,
        100,
    )
    assert len(preview["rows"][0][0]) == 200
    assert "stats" not in frames.describe(wide, stats=False)


@pytest.mark.parametrize(
    "frame", [pl.DataFrame(), pl.DataFrame({"a": []}), pl.DataFrame({"a": [None, None]})]
)
def test_empty_frames(run: Any, frame: pl.DataFrame) -> None:
    item = catalog.log_dataset(run, "empty", frame)
    assert item.as_df().shape == frame.shape
    assert item.meta["rows"] == frame.height


def test_every_numeric_type_has_stats() -> None:
    kinds: list[Any] = [pl.Int8, pl.UInt64, pl.Float32, pl.Int128, pl.Decimal(10, 2)]
    frame = pl.DataFrame({str(k): pl.Series([1, 2, 3]).cast(k) for k in kinds})
    for name, stats in frames.describe(frame)["stats"].items():
        assert (stats["min"], stats["max"], stats["mean"]) == (1.0, 3.0, 2.0), name


def test_pandas_comes_back_as_it_was(run: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pd.Index(["r1", "r2"], name="row"))
    frame["c"] = pd.Categorical(["u", "v"])
    item = catalog.log_dataset(run, "pandas", frame)
    pd.testing.assert_frame_equal(item.as_df(pandas=True), frame)
    assert item.as_df().columns == ["a", "b", "c", "row"]


def test_pandas_oddities_are_stored(run: Any) -> None:
    mixed = pd.DataFrame({"m": [1, "two", None, [3]], 5: [1, 2, 3, 4]})
    item = catalog.log_dataset(run, "mixed", mixed)
    assert item.meta["converted_to_text"] == ["m"]
    assert item.as_df()["m"].to_list() == ["1", "two", None, "[3]"]
    assert item.as_df()["5"].to_list() == [1, 2, 3, 4]
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert catalog.log_dataset(run, "twice", twice).as_df().columns == ["a", "a_2"]
    assert catalog.log_dataset(run, "series", pd.Series([1, 2], name="v")).as_df().columns == ["v"]


def test_arrow_keeps_its_types(run: Any) -> None:
    table = pa.table(
        {"d": pa.array(["a", "b"]).dictionary_encode(), "n": pa.array([Decimal("1.50"), None])}
    )
    for data in (table, table.to_batches()[0], table.to_reader()):
        item = catalog.log_dataset(run, "arrow", data)
        assert item.as_df()["n"].to_list() == [Decimal("1.50"), None]
    import pyarrow.parquet as pq

    assert pq.read_schema(catalog.log_dataset(run, "arrow", table).path()).equals(table.schema)


def test_lazy_frames_and_series(run: Any) -> None:
    assert (
        catalog.log_dataset(run, "lazy", FRAME.lazy().select("x")).as_df().equals(FRAME.select("x"))
    )
    assert catalog.log_dataset(run, "series", FRAME["x"]).as_df().equals(FRAME.select("x"))


def test_python_objects_become_text(run: Any) -> None:
    frame = pl.DataFrame({"o": pl.Series([complex(1, 2), None], dtype=pl.Object)})
    item = catalog.log_dataset(run, "objects", frame)
    assert item.as_df()["o"].to_list() == ["(1+2j)", None]
    assert item.meta["converted_to_text"] == ["o"]


def test_the_same_frame_is_the_same_version(run: Any) -> None:
    assert (
        catalog.log_dataset(run, "d", FRAME).version
        == catalog.log_dataset(run, "d", FRAME.clone()).version
    )


@pytest.mark.parametrize(
    ("data", "columns", "expected"),
    [
        ({"a": [1, 2], "b": ["x", "y"]}, None, {"a": [1, 2], "b": ["x", "y"]}),
        ([{"a": 1}, {"a": 2.5, "b": "x"}], None, {"a": [1.0, 2.5], "b": [None, "x"]}),
        ([[1, "x"], [2, "y"]], ["n", "s"], {"n": [1, 2], "s": ["x", "y"]}),
        ([[1, 2]], ["n", "n"], {"n": [1], "n_2": [2]}),
        ([[1, "x"], ["two", None]], None, {"column_0": ["1", "two"], "column_1": ["x", None]}),
        (np.array([[1, 2], [3, 4]]), ["a", "b"], {"a": [1, 3], "b": [2, 4]}),
        ([], ["a"], {"a": []}),
    ],
)
def test_tables_from_rows_and_columns(
    run: Any, data: Any, columns: Any, expected: dict[str, Any]
) -> None:
    item = catalog.log_table(run, "preds", data, columns, caption="of the test set")
    assert (item.type, item.meta["caption"]) == ("table", "of the test set")
    assert item.as_df().to_dict(as_series=False) == expected


@pytest.mark.parametrize("data", [7, "text.parquet.not.there", [[1], [2, 3, 4], []], [1, 2]])
def test_what_is_no_table_warns(run: Any, data: Any) -> None:
    assert catalog.log_table(run, "t", data, ["a", "b"] if isinstance(data, list) else None).error
    assert run.warnings.pop("artifact:t")


_CELLS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes()
)


@given(st.lists(st.dictionaries(st.text(max_size=3), _CELLS, max_size=4), max_size=6))
@settings(deadline=None, max_examples=100)
def test_any_rows_make_a_file_and_metadata(rows: list[dict[str, Any]]) -> None:
    from mlrun.content.bodies import strict_json

    body = frames.encode(rows, "table")
    names = {name for row in rows for name in row}
    assert body.meta["columns"] == len(names)
    assert pl.read_parquet(body.source).columns == [c["name"] for c in body.meta["schema"]]
    json.loads(strict_json(body.meta))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow", "ndjson", "json", "tsv"])
def test_files_of_frames(run: Any, tmp_path: Any, suffix: str) -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    file = tmp_path / f"data.{suffix}"
    match suffix:
        case "parquet":
            frame.write_parquet(file)
        case "arrow":
            frame.write_ipc(file)
        case "ndjson":
            frame.write_ndjson(file)
        case "json":
            frame.write_json(file)
        case _:
            frame.write_csv(file, separator="\t" if suffix == "tsv" else ",")
    item = catalog.log_artifact(run, file)
    assert item.as_df().equals(frame)
    assert item.as_df(pandas=True)["a"].tolist() == [1, 2]


def test_a_dataset_file_is_described(run: Any, tmp_path: Any) -> None:
    FRAME.write_parquet(tmp_path / "f.parquet")
    item = catalog.log_dataset(run, "train", tmp_path / "f.parquet")
    assert (item.meta["rows"], item.type) == (4, "dataset")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    assert catalog.log_dataset(run, "bad", tmp_path / "bad.parquet").error
    assert run.warnings.pop("artifact:bad")


def test_what_holds_no_frame(run: Any) -> None:
    with pytest.raises(TypeError, match="no frame"):
        catalog.log_artifact(run, "x", body="text").as_df()
