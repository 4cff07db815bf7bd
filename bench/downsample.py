"""Many long series at once on Ray, beside what one core needs for them; and a large table handed to several tasks."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.children import Child, ChildFailed, call, tell
from bench.figures import Figure
from bench.rounds import fresh, say

if TYPE_CHECKING:
    from bench.figures import Options

__all__ = ["run"]

_POINTS = 2_000
_CORES = 2
_TASKS = 4
_WARM = 4  # rounds until the workers have mapped nearly all arrays: a call may go to either
_HELD = 100  # arrays of a bare process: far more than caches hold
_TIMES = 3  # that it goes through them


def run(options: Options) -> list[Figure]:
    """Measure 1,000 series of 1M points from arrays and from a store, and a table of 1 GB for four tasks."""
    series, rows = (50, 100_000) if options.quick else (1_000, 1_000_000)
    found = call("bench.downsample:arrays", series=series, rows=rows, repeats=7)
    say(f"downsample: {found}")
    title = f"{series:,} series of {rows:,} points to {_POINTS:,}"
    out = [
        Figure.median(f"{title}: on Ray, from arrays", found["ray"], "s"),
        Figure(f"{title}: on Ray, from arrays, first of its workers", found["first"], "s"),
        Figure.median(f"{title}: tsdownsample on one core, over {_CORES}", found["pure"], "s"),
        Figure.median(f"{title}: tsdownsample in {_CORES} bare processes", found["both"], "s"),
        Figure("on Ray, times one core over all", found["ratio"], "", goal="<= 1.5"),
        Figure("bare processes, times one core over all", found["floor"], ""),
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
    """Downsample arrays that lie in Ray's object store, beside processes that do nothing else, in the child.

    Each round measures Ray, then one bare process alone, then as many as there are cores at the same time: cores share
    what the memory gives, so that they are less than twice as fast as one, whoever does it.
    """
    import numpy as np
    import ray

    from mlrun.executors.downsample import downsample
    from mlrun.registry import executor_class

    chance = np.random.default_rng(0)
    bare = [Child("bench.downsample:bare", {"seed": n, "rows": rows}) for n in range(_CORES)]
    executor = executor_class("ray")(
        num_cpus=_CORES, object_store_memory=int(series * rows * 8 * 1.3) + 200_000_000
    )
    taken: list[float] = []
    alone: list[float] = []
    together: list[float] = []
    with executor:
        assert executor.slots == _CORES
        references = {f"s{n}": ray.put(np.cumsum(chance.normal(size=rows))) for n in range(series)}
        for _ in range(_WARM + repeats):
            begin = time.perf_counter()
            answer = downsample(references, _POINTS, executor=executor)
            taken.append(time.perf_counter() - begin)
            if answer["key"].n_unique() != series:
                raise ChildFailed("series are missing")
            alone.append(_asked(bare[:1]) * series / _CORES)
            together.append(_asked(bare) * series / _CORES)
    for child in bare:
        child.stop()
    found = {"ray": taken[_WARM:], "pure": alone[_WARM:], "both": together[_WARM:]}
    middle = {name: statistics.median(times) for name, times in found.items()}
    return {
        **found,
        "first": taken[0],
        "ratio": middle["ray"] / middle["pure"],
        "floor": middle["both"] / middle["pure"],
    }


def _asked(children: list[Child]) -> float:
    """Have bare processes work at the same time; returns the seconds of one series in the slowest."""
    for child in children:
        child.send("go")
    return max(float(child.line()) for child in children)


def bare(seed: int, rows: int) -> None:
    """Hold arrays, and whenever told to, choose their points by `tsdownsample` and say the seconds of each."""
    import numpy as np
    import tsdownsample

    engines: Any = tsdownsample
    chance = np.random.default_rng(1 + seed)
    held = [np.cumsum(chance.normal(size=rows)) for _ in range(_HELD)]
    for _ in sys.stdin:
        begin = time.perf_counter()
        for values in held * _TIMES:
            engines.MinMaxLTTBDownsampler().downsample(values, n_out=_POINTS)
        tell(str((time.perf_counter() - begin) / (_HELD * _TIMES)))


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
