from __future__ import annotations

import math
from itertools import groupby
from typing import Any

import polars as pl
import pyarrow as pa
from hypothesis import example, given, settings, strategies as st

from mlrun.series.rollups import BLOCK_ROWS, WHOLE, block_rows, build
from mlrun.tables import METRICS, ROLLUPS

Row = tuple[Any, ...]  # key, step, time, value


def part(rows: list[Row]) -> pa.Table:
    columns = {
        "project": ["p"] * len(rows),
        "run_id": ["r"] * len(rows),
        "key": [r[0] for r in rows],
        "step": [r[1] for r in rows],
        "time": pa.array([r[2] for r in rows], pa.timestamp("us", "UTC")),
        "value": [r[3] for r in rows],
        "writer": ["w"] * len(rows),
        "seq": list(range(len(rows))),
    }
    return pa.table(columns).cast(METRICS.schema)


def blocks_of(rows: list[Row]) -> list[dict[str, Any]]:
    """The rollups by definition: one row after the other, no array in sight."""
    out = []
    ordered = sorted(enumerate(rows), key=lambda r: (r[1][0], r[1][1], r[1][2], r[0]))
    for key, group in groupby((row for _, row in ordered), key=lambda r: r[0]):
        series = list(group)
        out.append(block_of(key, WHOLE, series))
        level = 0
        while len(series) > block_rows(level):
            size = block_rows(level)
            out += [block_of(key, level, series[i : i + size]) for i in range(0, len(series), size)]
            level += 1
    return out


def block_of(key: str, level: int, rows: list[Row]) -> dict[str, Any]:
    steps, times, values = ([r[i] for r in rows] for i in (1, 2, 3))
    real = [v for v in values if not math.isnan(v)]
    odd = len(set(steps)) < len(steps) or times != sorted(times)
    block: dict[str, Any] = {
        "project": "p", "run_id": "r", "key": key, "level": level, "count": len(rows),
        "nan": len(values) - len(real), "raw": odd, "first_step": steps[0], "last_step": steps[-1],
        "first_time": min(times), "last_time": max(times), "first": values[0], "last": values[-1],
    }  # fmt: skip
    for name, best in (("min", min), ("max", max)):
        found = values.index(best(real)) if real else None
        block[name] = None if found is None else values[found]
        block[f"{name}_step"] = None if found is None else steps[found]
        block[f"{name}_time"] = None if found is None else times[found]
    gap = next((i for i, v in enumerate(values) if math.isnan(v)), None)
    block["nan_step"] = None if gap is None else steps[gap]
    block["nan_time"] = None if gap is None else times[gap]
    block["sum"] = sum(real) if real else None
    if level == WHOLE and len(rows) <= BLOCK_ROWS:
        block["raw"] = True
        names = [
            "first",
            "last",
            "min",
            "max",
            "sum",
            "min_step",
            "max_step",
            "min_time",
            "max_time",
        ]
        block |= dict.fromkeys(names)
    return block


def built(rows: list[Row]) -> list[dict[str, Any]]:
    table = build(part(rows))
    times = [f.name for f in table.schema if pa.types.is_timestamp(f.type)]
    for name in times:
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, table.column(name).cast(pa.int64()))
    out: list[dict[str, Any]] = table.to_pylist()
    return out


def same(a: Any, b: Any, name: str) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) if name == "sum" else a == b
    return bool(a == b)


values = st.sampled_from([0.0, -0.0, 1.0, 2.5, -3.0, math.inf, -math.inf, math.nan])
run = st.builds(
    lambda key, n, start, gap, vs: [(key, start + i * gap, i, vs[i % len(vs)]) for i in range(n)],
    st.sampled_from(["a", "é", ""]),
    st.integers(1, 700),
    st.integers(-5, 100),
    st.sampled_from([0, 1, 1, 1, 7]),
    st.lists(values, min_size=1, max_size=9),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(run, min_size=1, max_size=4).map(lambda runs: [row for one in runs for row in one]))
@example([("a", i, i, float(i % 5)) for i in range(64)])
@example([("a", i, i, float(i % 5)) for i in range(65)])
@example([("a", i, i, math.nan) for i in range(600)])
def test_blocks_are_those_of_the_definition(rows: list[Row]) -> None:
    expected = {(b["key"], b["level"], i): b for i, b in enumerate_blocks(blocks_of(rows))}
    found = {(b["key"], b["level"], i): b for i, b in enumerate_blocks(built(rows))}
    assert found.keys() == expected.keys()
    for place, block in expected.items():
        differing = {
            name: (block[name], found[place][name])
            for name in ROLLUPS.names
            if not same(block[name], found[place][name], name)
        }
        assert not differing, place


def enumerate_blocks(blocks: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Number the blocks of every (key, level)."""
    count: dict[tuple[str, int], int] = {}
    out = []
    for block in blocks:
        place = block["key"], block["level"]
        out.append((count.get(place, 0), block))
        count[place] = count.get(place, 0) + 1
    return out


def test_levels_of_a_long_series() -> None:
    n = 300_000
    rollups = pl.DataFrame(build(part([("a", i, i, float(i % 1000)) for i in range(n)])))
    assert rollups.group_by("level").len().sort("level").rows() == [
        (-1, 1), (0, math.ceil(n / 64)), (1, math.ceil(n / 512)), (2, math.ceil(n / 4096)),
        (3, math.ceil(n / 32768)), (4, 2),
    ]  # fmt: skip
    assert rollups.group_by("level").agg(pl.col("count").sum())["count"].unique().to_list() == [n]
    whole = rollups.filter(pl.col("level") == WHOLE).row(0, named=True)
    assert (whole["min"], whole["max"], whole["max_step"], whole["raw"]) == (0.0, 999.0, 999, False)


def test_nothing_gives_nothing() -> None:
    assert build(METRICS.schema.empty_table()).equals(ROLLUPS.schema.empty_table())


def test_dictionary_text_and_any_order_are_taken() -> None:
    rows = [("b", i % 50, i, float(i)) for i in range(200)] + [("a", i, i, 1.0) for i in range(99)]
    plain = part(rows)
    encoded = plain.set_column(2, "key", plain.column("key").dictionary_encode())
    assert build(encoded).cast(ROLLUPS.schema).equals(build(plain).cast(ROLLUPS.schema))
