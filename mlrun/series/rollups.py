"""Rollups: blocks of consecutive rows of a series, so that a chart reads what its pixels need.

They are built once, when points are absorbed, from the rows of one commit (a *part*), and never again. A chart puts the
blocks of all parts together; `mlrun.tables.ROLLUPS` says what a block holds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlrun.arrowmemory import arrow_of, empty_table, numpy_of
from mlrun.series.ordering import group_codes, sort_rows
from mlrun.tables import METRICS, ROLLUPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

__all__ = ["BLOCK_ROWS", "FANOUT", "WHOLE", "block_rows", "build"]

BLOCK_ROWS = 64
FANOUT = 8
WHOLE = -1  # the level of the block that spans a whole part


def block_rows(level: int) -> int:
    """Return how many rows a block of a level spans; its part's last block may span fewer."""
    return BLOCK_ROWS * int(FANOUT**level)


@dataclass
class _Blocks:
    """Columns of blocks of one level, ordered by part and place; `part` numbers the part."""

    part: Ints
    count: Ints
    nan: Ints
    raw: Bools
    first_step: Ints
    last_step: Ints
    min_step: Ints
    max_step: Ints
    nan_step: Ints
    first_time: Ints
    last_time: Ints
    min_time: Ints
    max_time: Ints
    nan_time: Ints
    first: Floats
    last: Floats
    min: Floats
    max: Floats
    sum: Floats

    def pick(self, rows: Any) -> _Blocks:
        return _Blocks(*(getattr(self, f.name)[rows] for f in fields(self)))


def build(points: pa.Table) -> pa.Table:
    """Return the rollups of one part: rows of METRICS in, rows of ROLLUPS out (sorted).

    Args:
        points: rows of METRICS, best in sort order (others are sorted first); text may be dictionary-encoded.
    """
    points = sort_rows(points.select(METRICS.names), METRICS.sort)
    if not points.num_rows:
        return empty_table(ROLLUPS.schema)
    starts = _starts(group_codes(points, ["project", "run_id", "key"]))
    levels = [_level_zero(points, starts)]
    while np.bincount(levels[-1].part).max() > FANOUT:
        levels.append(_merge(levels[-1], _every(levels[-1].part, FANOUT)))
    whole = _merge(levels[-1], _starts(levels[-1].part))
    for level, blocks in enumerate(levels):
        levels[level] = blocks.pick(whole.count[blocks.part] > block_rows(level))
    tables = [_table(points, starts, WHOLE, whole)]
    tables += [_table(points, starts, level, blocks) for level, blocks in enumerate(levels)]
    return sort_rows(pa.concat_tables(tables).unify_dictionaries(), ROLLUPS.sort)


def _starts(codes: Ints) -> Ints:
    """Return where runs of equal codes begin."""
    return np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1])


def _every(part: Ints, width: int) -> Ints:
    """Return where blocks of `width` rows begin, anew in every part."""
    begins = _starts(part)
    place = np.arange(part.size) - np.repeat(begins, np.diff(np.append(begins, part.size)))
    return np.flatnonzero(place % width == 0)


def _level_zero(points: pa.Table, starts: Ints) -> _Blocks:
    """Make one block of every row, then merge 64 at a time."""
    step = numpy_of(points.column("step"))
    time = numpy_of(points.column("time"))
    value = numpy_of(points.column("value"))
    nan = np.isnan(value)
    part = np.zeros(value.size, np.int64)
    part[starts[1:]] = 1
    part = np.cumsum(part)
    rows = _Blocks(
        part=part,
        count=np.ones(part.size, np.int64),
        nan=nan.astype(np.int64),
        raw=np.zeros(part.size, np.bool_),
        first_step=step,
        last_step=step,
        min_step=step,
        max_step=step,
        nan_step=step,
        first_time=time,
        last_time=time,
        min_time=time,
        max_time=time,
        nan_time=time,
        first=value,
        last=value,
        min=value,
        max=value,
        sum=value,
    )
    return _merge(rows, _every(part, BLOCK_ROWS))


def _merge(blocks: _Blocks, begins: Ints) -> _Blocks:
    """Merge runs of blocks that begin at `begins`, each within one part."""
    ends = np.append(begins[1:], blocks.part.size) - 1
    lowest, highest = _extremes(blocks.min, blocks.max, begins)
    gap = _first_hit(np.flatnonzero(blocks.nan), begins)
    # the same step at the end of one block and the start of the next, or time that falls between them
    odd = np.zeros(blocks.part.size, np.bool_)
    odd[1:] = blocks.first_step[1:] == blocks.last_step[:-1]
    odd[1:] |= blocks.first_time[1:] < blocks.last_time[:-1]
    odd[begins] = False
    real = np.where(np.isnan(blocks.min), 0.0, blocks.sum)
    with np.errstate(
        invalid="ignore", over="ignore"
    ):  # inf - inf is NaN, as it is for whoever sums the rows
        total = np.add.reduceat(real, begins)
    total[np.isnan(blocks.min[lowest])] = np.nan
    return _Blocks(
        part=blocks.part[begins],
        count=np.add.reduceat(blocks.count, begins),
        nan=np.add.reduceat(blocks.nan, begins),
        raw=np.logical_or.reduceat(blocks.raw | odd, begins),
        first_step=blocks.first_step[begins],
        last_step=blocks.last_step[ends],
        min_step=blocks.min_step[lowest],
        max_step=blocks.max_step[highest],
        nan_step=blocks.nan_step[gap],
        first_time=np.minimum.reduceat(blocks.first_time, begins),
        last_time=np.maximum.reduceat(blocks.last_time, begins),
        min_time=blocks.min_time[lowest],
        max_time=blocks.max_time[highest],
        nan_time=blocks.nan_time[gap],
        first=blocks.first[begins],
        last=blocks.last[ends],
        min=blocks.min[lowest],
        max=blocks.max[highest],
        sum=total,
    )


def _extremes(least: Floats, greatest: Floats, begins: Ints) -> tuple[Ints, Ints]:
    """Return the rows of the first least and first greatest value from each begin to the next, NaN left out."""
    with np.errstate(invalid="ignore"):
        low, high = np.fmin.reduceat(least, begins), np.fmax.reduceat(greatest, begins)
    spans = np.diff(np.append(begins, least.size))
    return _first_equal(least, low, begins, spans), _first_equal(greatest, high, begins, spans)


def _first_equal(values: Floats, wanted: Floats, begins: Ints, spans: Ints) -> Ints:
    """Return the first row of each span that holds the wanted value; its begin where that is NaN."""
    found = _first_hit(np.flatnonzero(values == np.repeat(wanted, spans)), begins)
    return np.where(np.isnan(wanted), begins, found)


def _first_hit(hits: Ints, begins: Ints) -> Ints:
    """Return the first of the (ascending) hits at or after each begin, or any row if there is none."""
    if not hits.size:
        return begins
    return hits[np.minimum(np.searchsorted(hits, begins), hits.size - 1)]


def _table(points: pa.Table, starts: Ints, level: int, blocks: _Blocks) -> pa.Table:
    """Make rows of ROLLUPS."""
    series = arrow_of(starts[blocks.part])
    out: dict[str, Any] = {
        name: points.column(name).take(series).combine_chunks()
        for name in ("project", "run_id", "key")
    }
    out["level"] = arrow_of(np.full(blocks.part.size, level))
    # a part that fits in one block is read row by row: it says where it is, and costs next to nothing
    short = (blocks.count <= BLOCK_ROWS) if level == WHOLE else np.zeros(blocks.part.size, np.bool_)
    empty = short | np.isnan(blocks.min)
    blank = {"first": short, "last": short, "min": empty, "max": empty, "sum": empty}
    for name in ("step", "time"):
        blank |= {f"min_{name}": empty, f"max_{name}": empty, f"nan_{name}": blocks.nan == 0}
    for field in fields(blocks)[1:]:
        values = getattr(blocks, field.name)
        values = values | short if field.name == "raw" else values
        kind = ROLLUPS.schema.field(field.name).type
        out[field.name] = arrow_of(values, kind, missing=blank.get(field.name))
    return pa.table([_column(out[name]) for name in ROLLUPS.names], names=list(ROLLUPS.names))


def _column(array: Any) -> pa.ChunkedArray:
    return pa.chunked_array([array]) if isinstance(array, pa.Array) else array
