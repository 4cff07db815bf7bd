"""Series in ClickHouse: appending batches large and small, reading a series of 1M points, charts of 1M and 100M.

The engine is that of the tests: the wheel `chdb` in a process of its own, behind HTTP on loopback.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.bulk import LONG, load_series
from bench.charts import draw, read
from bench.children import call
from bench.figures import Figure, percentile
from bench.rounds import fresh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.figures import Options

__all__ = ["run"]


def run(options: Options) -> list[Figure]:
    """Measure appends and then series of 1M and, unless quick, 100M points."""
    folder = fresh(options.folder, "appends")
    found = call(
        "bench.clickhouse:append", folder=str(folder), large=5 if options.quick else 30, small=200
    )
    out = [Figure.median("append 100,000 points", found["large"], "points/s")]
    for name, taken in (("100 points", found["small"]), ("look at the marks", found["looks"])):
        title = f"append {name}" if "points" in name else name
        out.append(Figure(f"{title}, p50", percentile(taken, 50) * 1000, "ms"))
        out.append(Figure(f"{title}, p95", percentile(taken, 95) * 1000, "ms"))
    for points in (1_000_000,) if options.quick else (1_000_000, 100_000_000):
        folder = fresh(options.folder, f"series-{points}")
        found = call("bench.clickhouse:series", folder=str(folder), points=points)
        title = f"{points // 1_000_000}M points"
        out.append(Figure(f"{title}: stored with rollups", points / found["stored"], "points/s"))
        goal = "<= 20" if points == 1_000_000 else "<= 100"
        for name, (first, *taken) in found["taken"].items():
            ms = [t * 1000 for t in taken]
            out.append(Figure(f"{title}: {name}, p50", percentile(ms, 50), "ms"))
            out.append(Figure(f"{title}: {name}, p95", percentile(ms, 95), "ms", goal=goal))
            out.append(Figure(f"{title}: {name}, first of its process", first * 1000, "ms"))
        if found["read"]:
            out.append(Figure.median(f"{title}: read all", found["read"][1:], "s", goal="<= 0.05"))
    return out


@contextmanager
def _server(folder: str) -> Iterator[str]:
    """Run an engine, and let stores of this process keep their series there."""
    from mlrun.testing.clickhouse import ClickHouseServer

    with ClickHouseServer(folder=Path(folder)) as server:
        os.environ["MLRUN_SERIES_URL"] = server.url("bench")
        yield os.environ["MLRUN_SERIES_URL"]


def append(folder: str, large: int, small: int) -> dict[str, Any]:
    """Append batches of 100,000 and of 100 points of ten series, in the child."""
    from mlrun.registry import storage_class
    from mlrun.tables import METRICS

    with _server(folder) as url:
        series = storage_class(url)(url)
        series.create(METRICS)
        rates, taken, looks = [], [], []
        for number in range(large + small):
            rows = _batch(100_000 if number < large else 100, number)
            begin = time.perf_counter()
            series.append(METRICS, rows, marks={"w": number + 1})
            seconds = time.perf_counter() - begin
            if number < large:
                rates.append(rows.num_rows / seconds)
                continue
            taken.append(seconds)
            begin = time.perf_counter()
            series.snapshot(METRICS)
            looks.append(time.perf_counter() - begin)
        series.close()
    return {"large": rates, "small": taken, "looks": looks}


def _batch(rows: int, number: int) -> Any:
    import numpy as np
    import pyarrow as pa

    from mlrun.tables import METRICS

    key = pa.DictionaryArray.from_arrays(
        np.arange(rows, dtype=np.int32) % 10, [f"metric/{k}" for k in range(10)]
    )
    same = {"project": "bench", "run_id": f"{LONG}-{number % 7}", "writer": "w-000000000000"}
    chance = random.Random(number)
    step = np.arange(rows) // 10 + number * rows
    columns = {name: pa.repeat(word, rows) for name, word in same.items()}
    columns |= {
        "key": key,
        "step": pa.array(step),
        "time": pa.array(1_760_000_000_000_000 + step * 1000).cast(
            METRICS.schema.field("time").type
        ),
        "value": pa.array(np.random.default_rng(chance.randrange(1 << 30)).normal(size=rows)),
        "seq": pa.array(np.arange(rows) + (number << 32)),
    }
    return pa.table({name: columns[name] for name in METRICS.names})


def series(folder: str, points: int) -> dict[str, Any]:
    """Store a long series, draw it and, if it is not too long, read it, in the child."""
    with _server(folder):
        place = str(Path(folder) / "store")
        begin = time.monotonic()
        load_series(place, points)
        stored = time.monotonic() - begin
        taken = draw(place, points, 30, [1.0, 0.1, 0.001])["taken"]
        whole = read(place, points, 10)["taken"] if points <= 1_000_000 else []
    return {"stored": stored, "taken": taken, "read": whole}
