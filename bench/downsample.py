"""Many long series at once on Ray, beside what one core needs for them; and a large table handed to several tasks."""

from __future__ import annotations

import shutil
import statistics
import time
from typing import TYPE_CHECKING, Any

from bench.children import ChildFailed, call
from bench.figures import Figure
from bench.rounds import fresh, say

if TYPE_CHECKING:
    from bench.figures import Options

__all__ = ["run"]

_POINTS = 2_000
_CORES = 2
_TASKS = 4


def run(options: Options) -> list[Figure]:
    """Measure 1,000 series of 1M points from arrays and from a store, and a table of 1 GB for four tasks."""
    series, rows = (50, 100_000) if options.quick else (1_000, 1_000_000)
    found = call("bench.downsample:arrays", series=series, rows=rows, repeats=5)
    say(f"downsample: {found}")
    title = f"{series:,} series of {rows:,} points to {_POINTS:,}"
    out = [
        Figure.median(f"{title}: on Ray, from arrays", found["ray"], "s"),
        Figure.median(f"{title}: tsdownsample alone, over {_CORES} cores", found["pure"], "s"),
        Figure("the same, times the bare one", found["ratio"], "", goal="<= 1.5"),
    ]
    out += _stored(options, series, rows)
    megabytes = 50 if options.quick else 1_000
    shared = call("bench.downsample:table", megabytes=megabytes)
    say(f"downsample: {shared}")
    name = (
        f"an Arrow table of {megabytes:,} MB for {_TASKS} tasks: own memory of each task, at most"
    )
    return [*out, Figure(name, max(shared["grown"]) / 1e6, "MB", goal="<= 100")]


def _stored(options: Options, series: int, rows: int) -> list[Figure]:
    folder = fresh(options.folder, "many")
    begin = time.monotonic()
    ids = call("bench.bulk:load_many", folder=str(folder), series=series, points=rows)["ids"]
    say(f"downsample: {series:,} series stored in {time.monotonic() - begin:.0f} s")
    taken = call("bench.downsample:stored", folder=str(folder), ids=ids, repeats=3)["taken"]
    shutil.rmtree(folder)
    title = f"{series:,} series of {rows:,} points to {_POINTS:,}: on Ray, from the store"
    return [
        Figure(f"{title}, first of its workers", taken[0], "s", goal="<= 10"),
        Figure.median(title, taken[1:], "s", goal="<= 10"),
    ]


def stored(folder: str, ids: list[str], repeats: int) -> dict[str, Any]:
    """Have the workers of Ray ask a store for the charts of its runs, in the child."""
    import mlrun
    from mlrun.executors.downsample import compare
    from mlrun.registry import executor_class

    store, taken = mlrun.open_store(folder), []
    with executor_class("ray")(num_cpus=_CORES) as executor:
        assert executor.submit(len, "12").result() == _CORES
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            answer = compare(store, ids, ["loss"], _POINTS, executor=executor)
            taken.append(time.perf_counter() - begin)
            if answer["run_id"].n_unique() != len(ids):
                raise ChildFailed("series are missing")
    return {"taken": taken}


def arrays(series: int, rows: int, repeats: int) -> dict[str, Any]:
    """Downsample arrays that lie in Ray's object store, and the same arrays on one core, in the child."""
    import numpy as np
    import ray

    from mlrun.executors.downsample import downsample
    from mlrun.registry import executor_class

    chance = np.random.default_rng(0)
    executor = executor_class("ray")(
        num_cpus=_CORES, object_store_memory=int(series * rows * 8 * 1.3) + 200_000_000
    )
    with executor:
        assert executor.slots == _CORES
        references = {f"s{n}": ray.put(np.cumsum(chance.normal(size=rows))) for n in range(series)}
        taken, pure = [], []
        for number in range(repeats + 1):
            begin = time.perf_counter()
            answer = downsample(references, _POINTS, executor=executor)
            if number:  # the first maps the arrays into the workers
                taken.append(time.perf_counter() - begin)
            if answer["key"].n_unique() != series:
                raise ChildFailed("series are missing")
            pure.append(_pure(rows, series) / _CORES)
        ratio = statistics.median(taken) / statistics.median(pure)
        return {"ray": taken, "pure": pure[1:], "ratio": ratio}


def _pure(rows: int, series: int) -> float:
    """Return the seconds that `tsdownsample` takes on one core, from a tenth of as many arrays."""
    import numpy as np
    import tsdownsample

    engines: Any = tsdownsample
    chance = np.random.default_rng(1)
    some = [np.cumsum(chance.normal(size=rows)) for _ in range(max(series // 10, 1))]
    begin = time.perf_counter()
    for values in some:
        engines.MinMaxLTTBDownsampler().downsample(values, n_out=_POINTS)
    return (time.perf_counter() - begin) * series / len(some)


def table(megabytes: int) -> dict[str, Any]:
    """Hand one table to tasks that read all of it, and return how much memory of its own each took, in the child."""
    import numpy as np
    import pyarrow as pa

    from mlrun.registry import executor_class

    size = megabytes * 1_000_000
    made = pa.table({"x": np.zeros(size // 8)})
    with executor_class("ray")(num_cpus=_CORES, object_store_memory=size * 2) as executor:

        def all_tasks(given: Any) -> list[int]:
            jobs = [executor.submit(own_memory, given) for _ in range(_TASKS)]
            return [job.result() for job in jobs]

        for _ in range(3):  # until every worker has loaded what it needs
            before = all_tasks(pa.table({"x": np.zeros(1)}))
        return {"grown": [after - min(before) for after in all_tasks(made)]}


def own_memory(given: Any) -> int:
    """Read a table, and return how many bytes of memory are this process's alone."""
    import psutil
    import pyarrow.compute as pc

    assert pc.sum(given["x"]).as_py() == 0
    found: int = psutil.Process().memory_full_info().uss
    return found
