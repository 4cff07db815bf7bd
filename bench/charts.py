"""Long series: reading all of one, drawing it with 2,000 points, zooming in, and SQL over everything."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from bench.bulk import LONG
from bench.children import ChildFailed, call
from bench.figures import OURS, Figure, percentile
from bench.rounds import fresh, interleaved, run_as, say, subjects

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Options

__all__ = ["run"]

_POINTS = 2_000
_GOALS = {1_000_000: "<= 20", 100_000_000: "<= 100"}


def run(options: Options) -> list[Figure]:
    """Measure series of 1M and, unless quick, 100M points, before and after compaction; then the peers on 1M."""
    out = []
    for points in (1_000_000,) if options.quick else (1_000_000, 100_000_000):
        folder = fresh(options.folder, "series")
        begin = time.monotonic()
        call("bench.bulk:load_series", folder=str(folder), points=points)
        say(f"charts: {points:,} points stored in {time.monotonic() - begin:.0f} s")
        out += _ours(options, folder, points)
    return out + (_peers(options) if options.peers else [])


def _ours(options: Options, folder: Path, points: int) -> list[Figure]:
    title = f"{_size(points)} points"
    given: dict[str, Any] = {"folder": str(folder), "points": points}
    repeats = 10 if options.quick else 100
    goal = _GOALS.get(points, "")
    absorbed = call("bench.charts:draw", **given, repeats=repeats, shares=[1.0])
    [(_, taken)] = absorbed["taken"].items()
    out = _chart_figures(f"{title}, as absorbed: chart", taken, goal)
    call("bench.w1:tidy", folder=str(folder))
    shares = [1.0, 0.1, 0.001]
    drawn = call("bench.charts:draw", **given, repeats=repeats, shares=shares, watch=True)
    for name, taken in drawn["taken"].items():
        out += _chart_figures(f"{title}: {name}", taken, goal)
    memory = drawn["uss_peak"] / 1e6
    out.append(Figure(f"{title}: charts, memory at most", memory, "MB", goal="<= 1,000"))
    if points <= 1_000_000:
        read = call("bench.charts:read", **given, repeats=repeats)
        taken = read["taken"][1:]
        out.append(Figure.median(f"{title}: read all", taken, "s", goal="<= 0.05"))
    call("bench.charts:check", **given)
    for query in ("avg(value)", "max(value)", "count(*)"):
        found = call("bench.charts:aggregate", folder=str(folder), what=query, watch=True)
        name = f"{title}: select {query} from metrics"
        first, *taken = found["taken"]
        out.append(Figure(f"{name}, first of its process", first, "s"))
        out.append(Figure.median(name, taken, "s"))
        memory = found["uss_peak"] / 1e6
        out.append(Figure(f"{name}, memory at most", memory, "MB", goal="<= 1,000"))
    return out


def _chart_figures(title: str, taken: list[float], goal: str) -> list[Figure]:
    first, *ms = (t * 1000 for t in taken)
    return [
        Figure(f"{title}, p50", percentile(ms, 50), "ms"),
        Figure(f"{title}, p95", percentile(ms, 95), "ms", goal=goal),
        Figure(f"{title}, first of its process", first, "ms"),
    ]


def _size(points: int) -> str:
    return f"{points // 1_000_000}M"


def draw(folder: str, points: int, repeats: int, shares: list[float]) -> dict[str, Any]:
    """Draw windows of so large a share of the series, at random places, in the child."""
    import mlrun

    chance = random.Random(0)

    def chart(share: float) -> Any:
        width = int(points * share)
        begin = chance.randrange(points - width + 1)
        bounds: dict[str, Any] = {} if share == 1 else {"start": begin, "end": begin + width - 1}
        return mlrun.metrics(LONG, keys=["loss"], points=_POINTS, store=folder, **bounds)

    taken: dict[str, list[float]] = {}
    for share in shares:
        name = "chart" if share == 1 else f"chart of a {round(1 / share):,}th"
        taken[name] = []
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            found = chart(share)
            taken[name].append(time.perf_counter() - begin)
            if found.height > _POINTS or found.height < min(_POINTS // 4, points * share):
                raise ChildFailed(f"a chart has {found.height} points")
    return {"taken": taken}


def check(folder: str, points: int) -> dict[str, int]:
    """Compare a chart with the rows, in the child.

    Raises:
        ChildFailed: the first, last, least or greatest value is missing.
    """
    import mlrun

    chart = mlrun.metrics(LONG, keys=["loss"], points=_POINTS, store=folder)
    low, high = mlrun.sql("select min(value), max(value) from metrics", store=folder).row(0)
    kept = (chart["step"][0], chart["step"][-1], chart["value"].min(), chart["value"].max())
    if kept != (0, points - 1, low, high):
        raise ChildFailed(f"a chart from {kept} of a series from {(0, points - 1, low, high)}")
    return {"points": chart.height}


def read(folder: str, points: int, repeats: int) -> dict[str, Any]:
    """Read every point, in the child."""
    import mlrun

    taken = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        found = mlrun.metrics(LONG, keys=["loss"], store=folder)
        taken.append(time.perf_counter() - begin)
        if found.height != points:
            raise ChildFailed(f"{found.height:,} of {points:,} points")
    return {"taken": taken}


def aggregate(folder: str, what: str) -> dict[str, Any]:
    """Ask one SQL question over all points four times, in the child."""
    import mlrun

    taken = []
    for _ in range(4):
        begin = time.perf_counter()
        mlrun.sql(f"select {what} from metrics", store=folder)
        taken.append(time.perf_counter() - begin)
    return {"taken": taken}


def _peers(options: Options) -> list[Figure]:
    points = 20_000 if options.quick else 1_000_000

    def measure(name: str, folder: Path) -> dict[str, Any]:
        found = run_as(name, "read_long", folder=str(folder), points=points, repeats=3, budget=60.0)
        if found["read"] != found["points"]:
            raise ChildFailed(f"{name} gave {found['read']:,} of {found['points']:,} points")
        say(f"charts: {name} read {found['read']:,} points in {min(found['taken']):.2f} s")
        return found

    names = [n for n in subjects("charts", options) if n != OURS]
    out = []
    for name, [found] in interleaved(names, 1, options.folder, measure).items():
        stored = found["points"]
        less = stored < 1_000_000
        note = f"of {stored:,} points, what a minute of writing gave" if less else ""
        title = "1M points: read all"
        out.append(Figure.median(title, found["taken"], "s", subject=name, note=note, less=less))
    return out
