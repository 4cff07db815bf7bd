"""Fill a store without logging: runs and long series straight into its records and series, as an import would.

The rows are those that logging and absorbing leave behind, rollups and summaries included. It runs in children.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.trackers import made

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrun.store import Store

__all__ = ["LONG", "load_runs", "load_series"]

LONG = "long-series"  # id of the run that has the one long series
_RUNS_AT_ONCE = 10_000
_POINTS_AT_ONCE = 2_000_000  # what the absorber commits at once
_BEGAN = 1_760_000_000_000_000
# what the SDK gathers about a run makes rows wide: so are these
_PROVENANCE = json.dumps(
    {
        "command": ["python", "train.py", "--config", "configs/base.yaml"],
        "executable": "python",
        "script": "/home/user/projects/vision/train.py",
        "cwd": "/home/user/projects/vision",
        "python": "3.11.7",
        "platform": "Linux x86_64",
        "host": "worker",
        "user": "user",
        "cpu_count": 2,
        "memory_bytes": 25_276_502_016,
        "packages": {"count": 68, "sha256": "0" * 64, "uri": "objects/00/" + "0" * 64},
    }
)


def load_runs(folder: str, runs: int) -> dict[str, int]:
    """Store the runs of `bench.trackers.made`, each with its params, tags, points, rollups and summaries."""
    import mlrun
    from mlrun.tables import METRICS, PROJECTS, ROLLUPS

    store = mlrun.open_store(folder)
    store.records.create()
    store.records.apply([("put", PROJECTS.name, {"name": "w1", "updated_at": _BEGAN})])
    store.series.create(METRICS, ROLLUPS)
    for first in range(0, runs, _RUNS_AT_ONCE):
        some = [made.run(i) for i in range(first, min(first + _RUNS_AT_ONCE, runs))]
        ids = [_run_id(run.number) for run in some]
        _load_records(store, some, ids)
        _append(store, _points(some, ids))
    mlrun.compact(store=folder)
    return {"runs": runs}


def load_series(folder: str, points: int) -> dict[str, int]:
    """Store one series of so many points: a random walk of the run LONG under the key `loss`."""
    import numpy as np

    import mlrun
    from mlrun.tables import METRICS, ROLLUPS

    store = mlrun.open_store(folder)
    store.records.create()
    store.series.create(METRICS, ROLLUPS)
    chance = np.random.default_rng(0)
    at = 0.0
    for first in range(0, points, _POINTS_AT_ONCE):
        size = min(_POINTS_AT_ONCE, points - first)
        walk = at + np.cumsum(chance.normal(size=size))
        at = float(walk[-1])
        steps = np.arange(first, first + size)
        none = np.zeros(size, np.int32)
        _append(store, _rows([LONG], none, ["loss"], none, steps, _BEGAN + steps * 1000, walk))
    return {"points": points}


def _run_id(number: int) -> str:
    """Make an id like those of the SDK, from the second in which the run begins."""
    return (
        f"{(_BEGAN // 1000 + number * 1000):012x}"[:8]
        + f"-{number & 0xFFFF:04x}-7000-8000-{number:012x}"
    )


def _load_records(store: Store, some: Sequence[made.MadeRun], ids: Sequence[str]) -> None:
    import pyarrow as pa

    from mlrun.tables import PARAMS, RUNS, SUMMARIES, TAGS

    records: Any = store.records  # `load` is an ability of the SQLite store
    records.load(
        RUNS, pa.Table.from_pylist([_run_row(r, i) for r, i in zip(some, ids, strict=True)])
    )
    params = [
        {"run_id": i, "key": k, "value": json.dumps(v), "type": _type(v)}
        for run, i in zip(some, ids, strict=True)
        for k, v in run.params.items()
    ]
    records.load(PARAMS, pa.Table.from_pylist(params))
    tags = [{"run_id": i, "tag": t} for r, i in zip(some, ids, strict=True) for t in r.tags]
    records.load(TAGS, pa.Table.from_pylist(tags))
    rows = [
        _summary(run, i, place, key, last)
        for run, i in zip(some, ids, strict=True)
        for place, (key, last) in enumerate(run.last.items())
    ]
    schema = pa.schema([SUMMARIES.schema.field(name) for name in rows[0]])
    columns = {n: pa.array([row[n] for row in rows], _plain(schema.field(n).type)) for n in rows[0]}
    records.load(SUMMARIES, pa.table(columns).cast(schema))


def _run_row(run: made.MadeRun, run_id: str) -> dict[str, Any]:
    from datetime import UTC, datetime, timedelta

    begin = datetime.fromtimestamp(_began(run.number) / 1e6, UTC)
    end = begin + timedelta(milliseconds=900)
    return {
        "run_id": run_id, "name": run.name, "project": "w1", "state": "completed", "kind": "run",
        "user": "user", "host": "worker", "started_at": begin, "finished_at": end,
        "writer": "w-000000000000#1", "provenance": _PROVENANCE, "updated_at": end,
    }  # fmt: skip


def _type(value: Any) -> str:
    return "text" if isinstance(value, str) else type(value).__name__


def _began(number: int) -> int:
    return _BEGAN + number * 1_000_000


def _summary(run: made.MadeRun, run_id: str, place: int, key: str, last: float) -> dict[str, Any]:
    final = made.POINTS - 1
    first = made.value_at(last, 0)
    return {
        "run_id": run_id, "key": key, "last": last, "min": first, "max": last,
        "sum": last * (made.POINTS + 1) / 2, "count": made.POINTS, "nan": 0, "first_step": 0,
        "last_step": final, "last_time": _began(run.number) + final * 1000,
        "last_seq": _seq(run.number, final, place),
    }  # fmt: skip


def _seq(number: int, step: int, place: int) -> int:
    return (number * made.POINTS + step) * 10 + place


def _plain(kind: Any) -> Any:
    import pyarrow as pa

    return pa.int64() if pa.types.is_timestamp(kind) else kind


def _points(some: Sequence[made.MadeRun], ids: Sequence[str]) -> Any:
    """Rows of METRICS of some runs: POINTS values of each metric, growing to its last."""
    import numpy as np

    keys = list(some[0].last)
    last = np.array([[run.last[k] for k in keys] for run in some])
    growth = (np.arange(made.POINTS) + 1) / made.POINTS
    values = (last[:, :, None] * growth).ravel()
    shape = (len(some), len(keys), made.POINTS)
    run, key, step = (a.ravel() for a in np.indices(shape, dtype=np.int64))
    began = np.array([_began(r.number) for r in some])
    return _rows(
        ids,
        run.astype(np.int32),
        keys,
        key.astype(np.int32),
        step,
        began[run] + step * 1000,
        values,
    )


def _rows(
    ids: Sequence[str], run: Any, keys: Sequence[str], key: Any, step: Any, time: Any, value: Any
) -> Any:
    import numpy as np
    import pyarrow as pa

    from mlrun.tables import METRICS

    none = np.zeros(len(value), np.int32)
    columns = {
        "project": pa.DictionaryArray.from_arrays(none, ["w1"]),
        "run_id": pa.DictionaryArray.from_arrays(run, list(ids)),
        "key": pa.DictionaryArray.from_arrays(key, list(keys)),
        "step": pa.array(step),
        "time": pa.array(time).cast(METRICS.schema.field("time").type),
        "value": pa.array(value),
        "writer": pa.DictionaryArray.from_arrays(none, ["w-000000000000"]),
        "seq": pa.array(np.arange(len(value)) + int(step[0]) * len(keys)),
    }
    return pa.table(columns)


def _append(store: Store, rows: Any) -> None:
    from mlrun.series.rollups import build
    from mlrun.tables import METRICS, ROLLUPS

    series: Any = store.series  # `gather` is an ability of the Delta store
    series.append(METRICS, rows)
    series.append(ROLLUPS, build(rows))
    series.gather(ROLLUPS)  # the absorber's last step
