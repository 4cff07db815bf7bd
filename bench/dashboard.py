"""The dashboard in Chromium: how soon a page can be used, an action is answered, a new point is seen, a chart zooms.

Each page is opened by its address, as a shared link is: the browser has the app's own files, nothing else. Beside it
`mlflow ui` shows the same runs, as many as were loaded into it.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from bench.browsing import browser, chromium, free_port, interactive, served
from bench.bulk import LONG
from bench.children import Child, call, tell
from bench.dashboard_data import data_layer
from bench.figures import Figure, percentile
from bench.mlflow_ui import mlflow_ui
from bench.rounds import fresh, say, subjects
from bench.w1 import stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.figures import Options

__all__ = ["run"]

_PAGES = (
    "home",
    "runs",
    "compare",
    "sweeps",
    "artifacts",
    "workflows",
    "functions",
    "cluster",
    "sql",
    "admin",
)
# counts in the page how often the script of the page has come to its end
_COUNT_RUNS = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  window.scriptRuns = 0;
  new MutationObserver(() => {
    if (app.dataset.testScriptState === "notRunning") window.scriptRuns += 1;
  }).observe(app, {attributes: true, attributeFilter: ["data-test-script-state"]});
}"""
_STEPS = 40  # points that the live page is watched for
_EVERY = 0.35  # seconds between two of them


def run(options: Options) -> list[Figure]:
    """Measure the pages over the stores of w1, the live page, the long chart; then `mlflow ui`."""
    if chromium() is None:
        say("dashboard: there is no Chromium here")
        return []
    out: list[Figure] = []
    for runs in (400,) if options.quick else (10_000, 100_000):
        out += _pages(options, runs)
    out += _live(fresh(options.folder, "live"))
    out += _long(options, 1_000_000 if options.quick else 100_000_000)
    if "mlflow" in subjects("w1", options):
        out += mlflow_ui(options)
    return out


class _Board:
    """Our dashboard over a store, in a browser."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "mlrun.cli", "ui", "--no-browser", "--port", str(port)]
        self.server = served(command, f"{self.url}/_stcore/health", {"MLRUN_DBPATH": str(folder)})

    def at(self, page: str, **parameters: Any) -> str:
        told = urlencode(parameters, doseq=True)
        return f"{self.url}/{page}" + (f"?{told}" if told else "")


def _pages(options: Options, runs: int) -> list[Figure]:
    folder, _ = stored(options, runs, 1, logged=runs <= 10_000)
    repeats = 3 if options.quick else 7
    known = call("bench.dashboard:newest", folder=str(folder))["ids"]
    board, out = _Board(folder), []
    with board.server, browser() as page:
        interactive(
            page, lambda: page.goto(board.at("runs"))
        )  # the browser's first load of the app
        addresses = {name: board.at(name) for name in _PAGES}
        addresses["compare"] = board.at("compare", id=known[:10])
        addresses["run"] = board.at("run", id=known[0])
        addresses["run, charts"] = board.at("run", id=known[0], room="charts")
        for name, address in addresses.items():
            interactive(page, lambda to=address: page.goto(to))  # type: ignore[misc]
            taken = [interactive(page, lambda to=address: page.goto(to)) for _ in range(repeats)]  # type: ignore[misc]
            title = f"{runs:,} runs: page {name}, interactive"
            out.append(Figure.median(title, taken, "s", goal="<= 1.5"))
            say(f"dashboard: {title}: {max(taken):.2f} s at most")
        taken = _actions(page, board, repeats)
    name = f"{runs:,} runs: filter of the runs table, key press to rows"
    ms = [t * 1000 for t in taken]
    out.append(Figure(f"{name}, p50", percentile(ms, 50), "ms"))
    out.append(Figure(f"{name}, p95", percentile(ms, 95), "ms"))
    return out + data_layer(folder, runs, repeats * 6)


def newest(folder: str) -> dict[str, list[str]]:
    """Return the ids of a few runs, in the child."""
    import mlrun

    return {"ids": mlrun.runs(limit=20, columns=["run_id"], store=folder)["run_id"].to_list()}


def _actions(page: Any, board: _Board, repeats: int) -> list[float]:
    """Filter the runs table, each time by something else; returns seconds until the rows are there."""
    interactive(page, lambda: page.goto(board.at("runs")))
    field = page.get_by_role("textbox", name="Filter")
    page.evaluate(_COUNT_RUNS)
    taken = []
    for number in range(repeats * 3):
        field.fill(f"metrics.acc > 0.{number + 10} and params.batch = 128")
        before = page.evaluate("() => window.scriptRuns")
        begin = time.perf_counter()
        field.press("Enter")
        page.wait_for_function("before => window.scriptRuns > before", arg=before, polling=5)
        taken.append(time.perf_counter() - begin + interactive(page, lambda: None))
    return taken


def _live(folder: Path) -> list[Figure]:
    """Watch a run that is being written: from `log()` until its step stands in the page."""
    writer = Child("bench.dashboard:write", {"folder": str(folder)})
    run_id = writer.line()
    board = _Board(folder)
    seen: dict[int, float] = {}
    with board.server, browser() as page:
        interactive(page, lambda: page.goto(board.at("run", id=run_id, room="charts")))
        writer.send("go")
        until = time.monotonic() + _STEPS * _EVERY + 30
        while len(seen) < _STEPS and time.monotonic() < until:
            text = page.locator('[data-testid="stMain"]').inner_text()
            now = time.time()
            at = text.rpartition("at step ")[2].split()[:1]
            if at and at[0].isdigit() and int(at[0]) not in seen:
                seen[int(at[0])] = now
                if int(at[0]) == _STEPS - 1:
                    break
    written = {int(step): at for step, at in writer.answer()["written"].items()}
    delays = [
        (min(t for s, t in seen.items() if s >= step) - at) * 1000
        for step, at in written.items()
        if any(s >= step for s in seen)
    ]
    return [
        Figure("live run: log() to the open page, p50", percentile(delays, 50), "ms"),
        Figure(
            "live run: log() to the open page, p95", percentile(delays, 95), "ms", goal="<= 1,000"
        ),
        Figure("live run: points not seen", len(written) - len(delays), "", goal="0"),
    ]


def write(folder: str) -> dict[str, Any]:
    """Log a point every now and then, in the child."""
    import mlrun

    written: dict[int, float] = {}
    with mlrun.init(project="live", store=folder) as run:
        run.log({"loss": 1.0}, step=0)
        tell(run.id)
        sys.stdin.readline()
        for step in range(1, _STEPS):
            time.sleep(_EVERY)
            run.log({"loss": 1.0 / step}, step=step)
            written[step] = time.time()
        time.sleep(3)
    return {"written": written}


def _long(options: Options, points: int) -> list[Figure]:
    """Open the chart of one long series, and zoom into a tenth, a hundredth, … of it."""
    folder = fresh(options.folder, "series")
    call("bench.bulk:load_series", folder=str(folder), points=points)
    call("bench.dashboard:record", folder=str(folder))
    call("bench.w1:tidy", folder=str(folder))
    title = f"chart of {points // 1_000_000}M points"
    board = _Board(folder)
    with board.server, browser() as page:
        interactive(page, lambda: page.goto(board.at("runs")))
        opened = [_drawn(page, lambda: page.goto(_chart(board))) for _ in range(6)]
        zoomed = [_zoom(page) for _ in _zooms(page, board)]
    return [
        Figure.median(f"{title}: opens", opened[1:], "s", goal="<= 1"),
        Figure.median(f"{title}: zooms", zoomed, "s", goal="<= 0.5"),
    ]


def record(folder: str) -> dict[str, int]:
    """Give the long series a run and a summary, as logging does, in the child."""
    import mlrun
    from mlrun.ids import now_us
    from mlrun.tables import RUNS, SUMMARIES

    store = mlrun.open_store(folder)
    now = now_us()
    row = mlrun.metrics(LONG, keys=["loss"], points=10, store=folder)
    last, step = float(row["value"][-1]), int(row["step"][-1])
    store.records.apply(
        [
            ("put", RUNS.name, {"run_id": LONG, "name": "long", "project": "long", "state": "completed",
                                "kind": "run", "started_at": now, "finished_at": now}),
            ("put", SUMMARIES.name, {"run_id": LONG, "key": "loss", "last": last, "min": last, "max": last,
                                     "sum": last, "count": step + 1, "nan": 0, "first_step": 0,
                                     "last_step": step, "last_time": now, "last_seq": step}),
        ]
    )  # fmt: skip
    return {}


def _chart(board: _Board) -> str:
    return board.at("run", id=LONG, room="charts")


def _zooms(page: Any, board: _Board) -> Iterator[int]:
    for number in range(6):
        if number % 3 == 0:  # from the whole again
            _drawn(page, lambda: page.goto(_chart(board)))
        yield number


_MARKS = '[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg'


def _drawn(page: Any, act: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    interactive(page, act)
    page.locator(_MARKS).first.wait_for()
    return time.perf_counter() - begin


def _zoom(page: Any) -> float:
    """Drag over the middle of the chart; returns seconds from letting go until the finer points are drawn."""
    box = page.locator(_MARKS).first.bounding_box()
    before = page.url
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.45, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.55, y, steps=5)
    begin = time.perf_counter()
    page.mouse.up()
    page.wait_for_function("old => location.href !== old", arg=before, polling=5)
    interactive(page, lambda: None)
    page.locator(_MARKS).first.wait_for()
    return time.perf_counter() - begin
