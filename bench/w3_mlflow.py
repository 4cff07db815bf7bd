"""The same users and writers as in `bench.w3` before MLflow's own server: SQLite, its default number of workers.

Writers send a batch of ten metrics ten times a second, each in one request, as its synchronous client does; when an
answer takes longer than that they fall behind, which is told. Runs are put into its tables by SQL.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Figure, Options

__all__ = ["load", "measure", "write"]

_WRITERS, _RATE, _KEYS = 20, 10.0, 10
_LOAD_SECONDS = 300.0


def measure(options: Options, runs: int, seconds: float, thinks: tuple[float, ...]) -> list[Figure]:
    """Measure MLflow's server; nothing if it is not installed."""
    from bench.children import call
    from bench.peers import PEERS
    from bench.rounds import fresh, say

    peer = PEERS["mlflow"]
    if not peer.python.exists():
        say("w3: mlflow is not installed (python -m bench.peers setup mlflow)")
        return []
    out: list[Figure] = []
    for think in thinks:
        place = fresh(options.folder, "w3-mlflow")
        given: dict[str, Any] = {"python": peer.python, "extra": peer.quiet}
        made = call("bench.w3_mlflow:load", folder=str(place), runs=runs, **given)
        say(f"w3: mlflow has {made['runs']:,} runs")
        out += _visited(place, made["runs"], seconds, think)
    return out


def _visited(place: Path, runs: int, seconds: float, think: float) -> list[Figure]:
    from bench.browsing import free_port, served
    from bench.clients import Client, let_in
    from bench.figures import Figure
    from bench.peers import PEERS
    from bench.rounds import say
    from bench.w3 import figures, visit

    peer, port = PEERS["mlflow"], free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        str(peer.python), "-m", "mlflow", "server", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{place}/mlflow.db",
        "--default-artifact-root", str(place / "artifacts"),
    ]  # fmt: skip
    title = f"think {think:g} s"
    alone = {**peer.quiet, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven idle processes
    with served(command, f"{url}/health", alone), ExitStack() as stack:
        env = let_in(place / "state", place / "spool")
        live = [_create(url, f"live-{i}") for i in range(_WRITERS)]
        start = time.monotonic() + 8.0
        each = {"url": url, "start": start, "seconds": seconds}
        writers = [
            stack.enter_context(Client("bench.w3_mlflow:write", env, run=run, **each))
            for run in live
        ]
        ids = [f"{number:032x}" for number in range(min(runs, 500))]
        found = visit("mlflow", url, "", env, runs, live, start, seconds, think, ids)
        written = [writer.answer() for writer in writers]
    say(f"w3: mlflow: {title}: {len(found['errors'])} errors {found['errors'][:3]}")
    calls = sum(w["calls"] for w in written)
    stored = sum(w["good"] for w in written) * _KEYS
    return [
        *figures(title, found, seconds, "mlflow"),
        Figure(f"{title}: points written a second", stored / seconds, "/s", "mlflow"),
        Figure(f"{title}: calls that writers fell behind", _RATE * seconds * _WRITERS - calls, "", "mlflow"),
    ]  # fmt: skip


def load(folder: str, runs: int) -> dict[str, int]:
    """Fill MLflow's tables, in the child."""
    from bench.trackers.mlflow_adapter import Mlflow

    return {"runs": Mlflow(folder).load_runs(runs, _LOAD_SECONDS)}


def _create(url: str, name: str) -> str:
    body = {"experiment_id": "1", "run_name": name, "start_time": int(time.time() * 1000)}
    found: str = _post(url, "runs/create", body)["run"]["info"]["run_id"]
    return found


def _post(url: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    import json
    from urllib.request import Request, urlopen

    sent = Request(f"{url}/api/2.0/mlflow/{verb}", json.dumps(body).encode())
    sent.add_header("Content-Type", "application/json")
    with urlopen(sent, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read() or b"{}")
        return found


def write(url: str, run: str, start: float, seconds: float) -> dict[str, int]:
    """Log on a timetable, in the child, until the time is over."""
    keys = ["acc", "loss", *(f"m{i}" for i in range(_KEYS - 2))]
    calls = good = 0
    while (now := time.monotonic()) < start + seconds:
        due = start + calls / _RATE
        if now < due:
            time.sleep(due - now)
        stamp = int(time.time() * 1000)
        metrics = [{"key": k, "value": 0.5, "timestamp": stamp, "step": calls} for k in keys]
        calls += 1
        try:
            _post(url, "runs/log-batch", {"run_id": run, "metrics": metrics})
            good += 1
        except OSError:
            continue  # refused, or no answer in a minute: counted
    return {"calls": calls, "good": good}
