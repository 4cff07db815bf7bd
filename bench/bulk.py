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

__all__ = ["LONG", "load_many", "load_runs", "load_series", "run_id"]

LONG = "long-series"  # id of the run that has the one long series
_RUNS_AT_ONCE = 50_000
_POINTS_AT_ONCE = 2_000_000  # what the absorber commits at once
_POINTED_AT_ONCE = _POINTS_AT_ONCE // (10 * made.POINTS)  # runs that have so many points
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


def load_runs(folder: str, runs: int, share: int = 1) -> dict[str, int]:
    """Store the runs of `bench.trackers.made`: records of all, points and rollups of every `share`-th.

    All runs have their params, tags and summaries, which is what a question about runs reads.
    """
    import mlrun
    from mlrun.tables import METRICS, PARAMS, PROJECTS, ROLLUPS, RUNS, SUMMARIES, TAGS

    store = mlrun.open_store(folder)
    store.records.create()
    store.records.apply([("put", PROJECTS.name, {"name": "w1", "updated_at": _BEGAN})])
    store.series.create(METRICS, ROLLUPS)
    parts: dict[str, list[Any]] = {t.name: [] for t in (RUNS, PARAMS, TAGS, SUMMARIES)}
    for first in range(0, runs, _RUNS_AT_ONCE):
        some = [made.run(i) for i in range(first, min(first + _RUNS_AT_ONCE, runs))]
        ids = [run_id(run.number) for run in some]
        for name, part in _record_tables(some, ids).items():
            parts[name].append(part)
        pointed = list(zip(some, ids, strict=True))[::share]
        for start in range(0, len(pointed), _POINTED_AT_ONCE):
            runs_, ids_ = zip(*pointed[start : start + _POINTED_AT_ONCE], strict=True)
            _append(store, _points(runs_, ids_))
    records: Any = store.records  # `load` is an ability of the SQLite store
    for table in (RUNS, PARAMS, TAGS, SUMMARIES):
        records.load(table, parts.pop(table.name))
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


def load_many(folder: str, series: int, points: int) -> dict[str, Any]:
    """Store runs of one long series each, under the key `loss`; returns their ids."""
    import numpy as np

    import mlrun
    from mlrun.tables import METRICS, PROJECTS, ROLLUPS, RUNS

    store = mlrun.open_store(folder)
    store.records.create()
    store.records.apply([("put", PROJECTS.name, {"name": "w1", "updated_at": _BEGAN})])
    store.series.create(METRICS, ROLLUPS)
    ids = [run_id(number) for number in range(series)]
    records: Any = store.records
    records.load(RUNS, [_run_rows([made.run(number) for number in range(series)], ids)])
    chance = np.random.default_rng(0)
    at_once = max(_POINTS_AT_ONCE // points, 1)
    steps = np.arange(points)
    for first in range(0, series, at_once):
        some = ids[first : first + at_once]
        which = np.repeat(np.arange(len(some), dtype=np.int32), points)
        walks = np.cumsum(chance.normal(size=(len(some), points)), axis=1).ravel()
        step = np.tile(steps, len(some))
        none = np.zeros(len(step), np.int32)
        _append(store, _rows(some, which, ["loss"], none, step, _BEGAN + step * 1000, walks))
    return {"ids": ids}


def run_id(number: int) -> str:
    """Make an id like those of the SDK, from the second in which the run begins."""
    return (
        f"{(_BEGAN // 1000 + number * 1000):012x}"[:8]
        + f"-{number & 0xFFFF:04x}-7000-8000-{number:012x}"
    )


def _record_tables(some: Sequence[made.MadeRun], ids: Sequence[str]) -> dict[str, Any]:
    """Return the rows of the record tables by name, texts as dictionaries where they repeat."""
    from mlrun.tables import PARAMS, RUNS, SUMMARIES, TAGS

    return {
        RUNS.name: _run_rows(some, ids),
        PARAMS.name: _param_rows(some, ids),
        TAGS.name: _tag_rows(some, ids),
        SUMMARIES.name: _summary_rows(some, ids),
    }


def _run_rows(some: Sequence[made.MadeRun], ids: Sequence[str]) -> Any:
    import numpy as np
    import pyarrow as pa

    begin = np.array([_began(run.number) for run in some])
    end = begin + 900_000
    columns: dict[str, Any] = {"run_id": pa.array(ids), "name": pa.array([r.name for r in some])}
    same = {
        "project": "w1", "state": "completed", "kind": "run", "user": "user", "host": "worker",
        "writer": "w-000000000000#1", "provenance": _PROVENANCE,
    }  # fmt: skip
    columns |= {name: _repeated([text], np.zeros(len(some))) for name, text in same.items()}
    times = {"started_at": begin, "finished_at": end, "updated_at": end}
    return pa.table(columns | {name: _time(us) for name, us in times.items()})


def _param_rows(some: Sequence[made.MadeRun], ids: Sequence[str]) -> Any:
    import numpy as np
    import pyarrow as pa

    keys = list(some[0].params)
    values = [v for run in some for v in run.params.values()]
    kinds = {str: 0, int: 1, float: 2}
    return pa.table({
        "run_id": _repeated(ids, np.repeat(np.arange(len(some)), len(keys))),
        "key": _repeated(keys, np.tile(np.arange(len(keys)), len(some))),
        "value": pa.array([json.dumps(v) for v in values]),
        "type": _repeated(["str", "int", "float"], np.array([kinds[type(v)] for v in values])),
    })  # fmt: skip


def _tag_rows(some: Sequence[made.MadeRun], ids: Sequence[str]) -> Any:
    import numpy as np
    import pyarrow as pa

    place = np.repeat(np.arange(len(some)), [len(run.tags) for run in some])
    return pa.table({
        "run_id": _repeated(ids, place),
        "tag": pa.array([tag for run in some for tag in run.tags]),
    })  # fmt: skip


def _summary_rows(some: Sequence[made.MadeRun], ids: Sequence[str]) -> Any:
    import numpy as np
    import pyarrow as pa

    keys = list(some[0].last)
    last = np.array([list(run.last.values()) for run in some]).ravel()
    number = np.repeat([run.number for run in some], len(keys))
    place = np.tile(np.arange(len(keys)), len(some))
    final = made.POINTS - 1
    same = {"count": made.POINTS, "nan": 0, "first_step": 0, "last_step": final}
    return pa.table({
        "run_id": _repeated(ids, np.repeat(np.arange(len(some)), len(keys))),
        "key": _repeated(keys, place),
        "last": pa.array(last),
        "min": pa.array(made.value_at(last, 0)),  # type: ignore[arg-type]
        "max": pa.array(last),
        "sum": pa.array(last * (made.POINTS + 1) / 2),
        **{name: pa.array(np.full(len(last), value)) for name, value in same.items()},
        "last_time": _time(_BEGAN + number * 1_000_000 + final * 1000),
        "last_seq": pa.array((number * made.POINTS + final) * 10 + place),
    })  # fmt: skip


def _repeated(texts: Sequence[str], places: Any) -> Any:
    """Return texts by their places, each stored once."""
    import numpy as np
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(places.astype(np.int32), list(texts)).cast(pa.string())


def _time(us: Any) -> Any:
    import pyarrow as pa

    return pa.array(us).cast(pa.timestamp("us", "UTC"))


def _began(number: int) -> int:
    return _BEGAN + number * 1_000_000


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
    from mlrun.contracts import CanGather
    from mlrun.series.rollups import build
    from mlrun.tables import METRICS, ROLLUPS

    series = store.series
    series.append(METRICS, rows)
    series.append(ROLLUPS, build(rows))
    if isinstance(series, CanGather):
        series.gather(ROLLUPS)  # the absorber's last step
