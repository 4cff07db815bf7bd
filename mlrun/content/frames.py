"""DataFrames as artifacts: Parquet, with schema, statistics per column, row count and a preview.

Polars, pandas and Arrow frames, anything that offers `__arrow_c_stream__`, and plain rows or columns are taken. What
pandas keeps beside the columns (its index) is kept in the file and comes back with `as_df(pandas=True)`.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from mlrun.content.bodies import Body, cell, library

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl
    import pyarrow as pa

__all__ = ["describe", "encode", "is_frame", "read_frame", "rows_to_frame", "scan_file"]

PREVIEW_ROWS = 20
PREVIEW_COLUMNS = 100
STATS_COLUMNS = 500
_EXACT_ROWS = 1_000_000  # beyond, distinct values are estimated
_READERS = ("parquet", "csv", "tsv", "arrow", "json", "jsonl")


def is_frame(value: Any) -> bool:
    """Whether this is a Polars, pandas or Arrow frame, or speaks Arrow's C stream; imports nothing."""
    name = type(value).__name__
    if library(value) in {"polars", "pandas"}:
        return name in {"DataFrame", "LazyFrame", "Series", "GeoDataFrame"}
    if library(value) == "pyarrow":
        return name in {"Table", "RecordBatch", "RecordBatchReader", "ChunkedArray"}
    return hasattr(type(value), "__arrow_c_stream__")


def encode(
    data: Any, type: str = "dataset", *, stats: bool = True, preview: int = PREVIEW_ROWS
) -> Body:
    """Write a frame as Parquet (zstd).

    Args:
        data: a frame (see `is_frame`), a dict of columns, or a list of dicts.
        type: the artifact's type.
        stats: also compute statistics of the columns (the first 500).
        preview: rows to show in the metadata.

    Raises:
        TypeError: it is no frame.
    """
    notes: dict[str, Any] = {}
    table = _as_table(data, notes)
    frame = _as_polars(table, notes)
    buffer = io.BytesIO()
    if library(table) == "pyarrow" and not notes.get("renamed"):
        import pyarrow.parquet as pq

        pq.write_table(table, buffer, compression="zstd")
    else:
        frame = _writable(frame, notes)
        frame.write_parquet(buffer, compression="zstd")
    buffer.seek(0)
    return Body(buffer, "parquet", type, {**describe(frame, stats=stats, preview=preview), **notes})


def describe(
    frame: pl.DataFrame, *, stats: bool = True, preview: int = PREVIEW_ROWS
) -> dict[str, Any]:
    """Return what is worth knowing of a frame: rows, schema, stats, preview; every value fits JSON.

    `stats` maps a column to count, nulls and, by its type: mean, std, min, quartiles, max (numbers; NaN left out and
    counted), min and max (times), distinct and the most frequent values (text, categories), true (booleans).
    """
    out: dict[str, Any] = {
        "rows": frame.height,
        "columns": frame.width,
        "schema": [{"name": n, "type": str(t)} for n, t in frame.schema.items()],
    }
    if preview > 0:
        head = frame.head(preview)[:, :PREVIEW_COLUMNS]
        out["preview"] = {
            "columns": head.columns,
            "rows": [[cell(v) for v in row] for row in head.iter_rows()],
        }
    if stats:
        out["stats"] = {n: _column(frame[n]) for n in frame.columns[:STATS_COLUMNS]}
    return out


def rows_to_frame(data: Any, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Make a frame of a dict of columns, a list of dicts, or a list of rows with column names.

    A column whose values do not agree in type becomes text.

    Raises:
        TypeError: the data has none of these forms.
    """
    import polars as pl

    if library(data) == "numpy":
        data = data.tolist()
    try:
        if isinstance(data, dict):
            pairs = {
                str(k): list(v) if not isinstance(v, (str, bytes)) else [v] for k, v in data.items()
            }
            return pl.DataFrame([_series(k, v) for k, v in pairs.items()])
        rows = list(data)
        if rows and isinstance(rows[0], dict):
            names = list(dict.fromkeys(k for row in rows for k in row))
            return pl.DataFrame([_series(str(n), [row.get(n) for row in rows]) for n in names])
        width = len(columns) if columns else len(rows[0]) if rows else 0
        header = [str(c) for c in columns] if columns else [f"column_{i}" for i in range(width)]
        return pl.DataFrame(
            [_series(n, [row[i] for row in rows]) for i, n in enumerate(_unique(header))]
        )
    except (
        TypeError,
        ValueError,
        IndexError,
        KeyError,
        AttributeError,
        pl.exceptions.PolarsError,
    ) as error:
        raise TypeError(f"{type(data).__name__} is no table: {error}") from error


def read_frame(path: Path, format: str, *, pandas: bool = False) -> Any:
    """Read a stored file as a Polars frame, or a pandas one.

    Raises:
        TypeError: the format holds no frame.
    """
    if format not in _READERS:
        raise TypeError(
            f"an artifact of format {format!r} is no frame; use open(), get() or load()"
        )
    if pandas and format == "parquet":
        import pyarrow.parquet as pq

        with path.open("rb") as file:
            return pq.read_table(file).to_pandas()
    with path.open("rb") as file:  # the object has no suffix that a reader could go by
        frame = _read(file, format)
    return frame.to_pandas() if pandas else frame


def scan_file(path: Path, format: str) -> dict[str, Any]:
    """Describe a Parquet, CSV or Arrow file that is stored as it is."""
    with path.open("rb") as file:
        return describe(_read(file, format))


def _read(file: Any, format: str) -> pl.DataFrame:
    import polars as pl

    match format:
        case "parquet":
            return pl.read_parquet(file)
        case "arrow":
            return pl.read_ipc(file)
        case "jsonl":
            return pl.read_ndjson(file)
        case "json":
            import json

            content = json.loads(file.read())
            return rows_to_frame(content)
        case _:
            return pl.read_csv(
                file, separator="\t" if format == "tsv" else ",", try_parse_dates=True
            )


def _series(name: str, values: list[Any]) -> pl.Series:
    import polars as pl

    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        pass  # mixed types: numbers are brought together, the rest becomes text
    if all(v is None or isinstance(v, (int, float)) for v in values):
        return pl.Series(name, [None if v is None else float(v) for v in values], pl.Float64)
    return pl.Series(name, [None if v is None else str(v) for v in values], pl.String)


def _as_table(data: Any, notes: dict[str, Any]) -> pl.DataFrame | pa.Table:
    """Return a Polars frame or an Arrow table, whichever is nearer to what was given."""
    home = library(data)
    if home == "pandas":
        return _from_pandas(data, notes)
    if not is_frame(data):
        return rows_to_frame(data)
    if home == "polars":
        return _as_polars(data, notes)
    import pyarrow as pa

    if isinstance(data, pa.ChunkedArray):
        return pa.table({"value": data})
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    return data if isinstance(data, pa.Table) else pa.table(data)


def _from_pandas(data: Any, notes: dict[str, Any]) -> pa.Table:
    import pyarrow as pa

    if type(data).__name__ == "Series":
        data = data.to_frame(data.name if data.name is not None else "value")
    if not data.columns.is_unique:
        data = data.copy(deep=False)
        data.columns = _renamed([str(c) for c in data.columns], notes)
    elif "mixed" in data.columns.inferred_type:
        data = data.rename(columns=str)  # Parquet names columns by text only
    try:
        return pa.Table.from_pandas(data)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        pass  # columns of mixed Python objects
    data = data.copy(deep=False)
    converted = []
    for name in data.columns:
        try:
            pa.array(data[name], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            data[name] = [None if _is_missing(v) else str(v) for v in data[name]]
            converted.append(str(name))
    notes["converted_to_text"] = converted
    return pa.Table.from_pandas(data)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _as_polars(data: Any, notes: dict[str, Any]) -> pl.DataFrame:
    import polars as pl

    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if isinstance(data, pl.Series):
        return data.to_frame()
    if len(set(data.column_names)) < data.num_columns:
        data = data.rename_columns(_renamed(data.column_names, notes))
    frame = pl.from_arrow(data)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _writable(frame: pl.DataFrame, notes: dict[str, Any]) -> pl.DataFrame:
    """Turn Python objects, which Parquet cannot hold, into their text."""
    import polars as pl

    objects = [n for n, t in frame.schema.items() if t == pl.Object]
    if not objects:
        return frame
    notes["converted_to_text"] = objects
    as_text = [
        pl.Series(n, [None if v is None else str(v) for v in frame[n].to_list()], pl.String)
        for n in objects
    ]
    return frame.with_columns(as_text)


def _renamed(names: Sequence[str], notes: dict[str, Any]) -> list[str]:
    notes["renamed"] = True
    return _unique(names)


def _unique(names: Sequence[str]) -> list[str]:
    """Number the repetitions of a name: a, a_2, a_3."""
    taken: dict[str, None] = {}
    for name in names:
        fresh, number = name, 1
        while fresh in taken:
            number += 1
            fresh = f"{name}_{number}"
        taken[fresh] = None
    return list(taken)


def _column(series: pl.Series) -> dict[str, Any]:
    import polars as pl

    kind = series.dtype
    out: dict[str, Any] = {
        "type": str(kind),
        "count": len(series) - series.null_count(),
        "nulls": series.null_count(),
    }
    try:
        if kind == pl.Boolean:
            out["true"] = int(series.sum() or 0)
        elif kind.is_numeric():
            out |= _numbers(series)
        elif kind.is_temporal():
            out |= {"min": _text(series.min()), "max": _text(series.max())}
        elif kind in (pl.String, pl.Categorical, pl.Enum):
            out |= _words(series.cast(pl.String))
    except pl.exceptions.PolarsError:  # a type without this statistic keeps its counts
        pass
    return out


def _numbers(series: pl.Series) -> Mapping[str, Any]:
    import polars as pl

    found = series.drop_nulls()
    out: dict[str, Any] = {}
    if found.dtype.is_float():
        out["nan"] = int(found.is_nan().sum())
        found = found.drop_nans()
    found = found.cast(pl.Float64)
    if found.is_empty():
        return out
    low, middle, high = (found.quantile(q, "linear") for q in (0.25, 0.5, 0.75))
    mean, std = found.mean(), found.std()
    return out | {
        "mean": mean, "std": std, "min": found.min(), "25%": low, "50%": middle, "75%": high, "max": found.max(),
    }  # fmt: skip


def _words(series: pl.Series) -> Mapping[str, Any]:
    import polars as pl

    if len(series) > _EXACT_ROWS:
        frame = series.to_frame("value")
        return {
            "distinct": frame.select(pl.col("value").drop_nulls().approx_n_unique()).item(),
            "estimated": True,
        }
    counts = series.drop_nulls().value_counts(sort=True, name="n")
    top = [
        [cell(value), n]
        for value, n in counts.sort("n", series.name, descending=[True, False]).head(5).iter_rows()
    ]
    return {"distinct": counts.height, "top": top}


def _text(value: Any) -> str | None:
    return (
        None if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
    )
