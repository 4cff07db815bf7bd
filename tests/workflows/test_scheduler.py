"""The scheduler, its firings and its process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import RunError
from mlrun.functions.making import new_function
from mlrun.store import open_store
from mlrun.workflows import fire as firing
from mlrun.workflows.fire import StillRuns, fire, fire_by_name
from mlrun.workflows.schedule import Schedule, get_schedule, list_schedules, put_schedule
from mlrun.workflows.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlrun.store import Store

FAR = "0 0 29 2 *"  # a leap day


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def add(store: Store, code: str, name: str = "job", cron: str = FAR, **options: Any) -> Schedule:
    """Store a schedule of a function of this source."""
    folder = store.folder.parent
    (folder / f"{name}.py").write_text(code)
    function = new_function(name, project="p", command=str(folder / f"{name}.py"), handler="main")
    found: Any = function.run(schedule=cron, store=store, **options)
    assert isinstance(found, Schedule)
    return found


def until(holds: Callable[[], Any], seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def row(store: Store) -> dict[str, Any]:
    return list_schedules(store).row(0, named=True)


GOOD = "def main(context, x=1):\n    context.log_result('y', x + 1)\n"


def test_a_function_is_run_with_the_arguments_that_were_stored(store: Store) -> None:
    schedule = add(store, GOOD, params={"x": 4}, labels={"team": "cv"})
    assert mlrun.runs().is_empty()
    view = fire(store, schedule)
    assert (view.project, view.name, view.results) == ("p", "job", {"y": 5})
    assert view.labels["mlrun/schedule"] == "job"
    assert view.labels["team"] == "cv"
    found = row(store)
    assert (found["last_run"], found["last_state"]) == (view.id, "completed")
    assert found["fired_at"] is not None


def test_a_firing_that_fails_is_noted(store: Store) -> None:
    schedule = add(store, "def main():\n    raise ValueError('boom')\n")
    with pytest.raises(RunError, match="boom"):
        fire(store, schedule)
    assert row(store)["last_state"] == "error"
    broken = put_schedule(store, Schedule("p", "job", FAR, {"kind": "song"}))
    with pytest.raises(mlrun.errors.ConfigError, match="song"):
        fire(store, broken)
    assert row(store)["last_state"] == "error"


def test_a_firing_waits_for_none_before_it(store: Store) -> None:
    started, go = store.folder.parent / "started", store.folder.parent / "go"
    code = (
        "import pathlib, time\ndef main(started, go):\n    pathlib.Path(started).touch()\n"
        "    while not pathlib.Path(go).exists():\n        time.sleep(0.02)\n"
    )
    schedule = add(store, code, params={"started": str(started), "go": str(go)})
    keeper = Scheduler(store)
    assert keeper.fire(schedule) is True
    until(started.exists)
    assert keeper.fire(schedule) is False
    with pytest.raises(StillRuns):
        fire(store, schedule)
    go.touch()
    until(lambda: row(store)["last_state"] == "completed")
    until(lambda: keeper._running["p", "job"].poll() is not None)
    assert runs_of(store) == 1


def test_the_process_of_a_firing_says_by_its_code_what_came_of_it(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    add(store, GOOD, "good")
    add(store, "def main():\n    raise ValueError('boom')\n", "bad")
    codes = [firing.main([store.url, "p", name]) for name in ("good", "bad", "none")]
    assert codes == [0, 1, 2]
    assert "no schedule 'none'" in capfd.readouterr().err


def test_where_an_executor_keeps_the_clock_a_schedule_is_fired_by_name(store: Store) -> None:
    add(store, GOOD, params={"x": 1})
    found = fire_by_name({"dbpath": store.url}, "p", "job")
    assert found["state"] == "completed"
    assert row(store)["last_run"] == found["run_id"]


class Clock:
    """Stands for APScheduler: keeps what it is told."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}

    def add_job(self, function: Any, trigger: Any, args: list[Any], id: str, **begin: Any) -> None:
        self.jobs[id] = begin

    def remove_job(self, id: str) -> None:
        del self.jobs[id]


def test_changes_are_read_without_a_restart(store: Store) -> None:
    keeper, clock = Scheduler(store), Clock()
    add(store, GOOD, "one")
    keeper._read(clock)
    assert list(clock.jobs) == ["p\0one"]
    add(store, GOOD, "two")
    put_schedule(store, Schedule("p", "one", FAR, {"kind": "function"}, enabled=False))
    keeper._read(clock)
    assert list(clock.jobs) == ["p\0two"]


def test_a_line_that_cannot_be_read_stops_no_other(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    from mlrun.tables import SCHEDULES

    add(store, GOOD, "one")
    bad = {"project": "p", "name": "a", "cron": "soon", "target": "{}", "enabled": True}
    store.records.apply([("put", SCHEDULES.name, bad)])
    keeper, clock = Scheduler(store), Clock()
    keeper._read(clock)
    keeper._read(clock)
    assert list(clock.jobs) == ["p\0one"]
    assert capfd.readouterr().err.count("cannot read the schedule 'soon'") == 1


@pytest.mark.parametrize(("minutes", "missed"), [(5, True), (500, False)])
def test_a_firing_that_was_missed_is_made_up_for_once(
    store: Store, minutes: int, missed: bool
) -> None:
    from mlrun.tables import SCHEDULES

    schedule = add(store, GOOD)
    due = datetime.now(UTC) - timedelta(minutes=minutes)
    daily = f"{due.minute} {due.hour} * * *"
    put_schedule(store, Schedule("p", "job", daily, schedule.target))
    before = int((due - timedelta(hours=3)).timestamp() * 1e6)
    key = {"project": "p", "name": "job", "cron": daily, "target": json.dumps(schedule.target)}
    store.records.apply([("put", SCHEDULES.name, {**key, "created_at": before})])
    keeper, clock = Scheduler(store), Clock()
    keeper._read(clock)
    assert bool(clock.jobs["p\0job"]) is missed


CODE = """
import signal, sys
from apscheduler.triggers.interval import IntervalTrigger
from mlrun.workflows import scheduler
from mlrun.store import open_store

scheduler.check_cron = lambda cron, timezone: IntervalTrigger(seconds=1)
keeper = scheduler.Scheduler(open_store(sys.argv[1]), look=0.1)
signal.signal(signal.SIGTERM, lambda *_: keeper.stop())
print("up", flush=True)
keeper.run()
"""


class Processes:
    """Schedulers whose clock strikes every second."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.all: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, self.store.url],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.store.folder.parent,
        )  # fmt: skip
        self.all.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    def end(self) -> None:
        for process in self.all:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def processes(store: Store) -> Iterator[Processes]:
    found = Processes(store)
    yield found
    found.end()


def runs_of(store: Store) -> int:
    from mlrun.query import runs

    return runs(store, "p", where="state = 'completed'").height


def test_schedulers_of_one_store_take_turns_and_one_that_is_killed_makes_room(
    store: Store, processes: Processes
) -> None:
    add(store, GOOD)
    first = processes.start()
    until(lambda: runs_of(store) >= 1)
    second = processes.start()
    assert second.stderr is not None
    assert "another scheduler keeps" in second.stderr.readline()
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = runs_of(store)
    until(lambda: runs_of(store) >= before + 2)
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 0


def test_a_scheduler_that_waits_for_another_can_be_ended(
    store: Store, processes: Processes
) -> None:
    add(store, GOOD)
    processes.start()
    until(lambda: runs_of(store) >= 1)
    second = processes.start()
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 0


def test_a_workflow_is_fired_from_its_projects_folder(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "flow.py").write_text(
        "import mlrun\nfrom mlrun.workflows.workflow import workflow\n"
        "def half(x):\n    return x / 2\n"
        "@workflow\ndef flow(x):\n"
        "    project = mlrun.get_current_project()\n"
        "    return project.run_function(half, params={'x': x}, returns=['y']).outputs['y']\n"
    )
    project = mlrun.get_or_create_project("p", context=folder, store=store)
    project.set_workflow("night", "flow.py")
    project.save()
    schedule = project.run("night", arguments={"x": 5}, schedule=FAR)
    assert get_schedule(store, "p", "night") == schedule
    view = fire(store, schedule)
    assert (view.results, view.labels["mlrun/schedule"]) == ({"return": 2.5}, "night")
