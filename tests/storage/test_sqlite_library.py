"""Two SQLite libraries in one process, threads, forks."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.contracts import Mark
from mlrun.errors import MarkConflict, StoreError
from mlrun.registry import storage_class
from mlrun.tables import PARAMS, RUNS, TAGS
from mlrun.testing.records_ops import rows_of, run_put, value_put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TRACKING = """
import sys
from mlrun.contracts import Mark
from mlrun.registry import storage_class
from mlrun.tables import RUNS
store = storage_class(sys.argv[1])(sys.argv[1])
store.create()
store.apply([("put", "runs", {"run_id": "a", "project": "p", "labels": "{}"})], marks={"w": Mark(1)},
            summaries=[("a", "x", 1.0, 1.0, 1.0, 1.0, 1, 0, 0, 0, 0, 0)])
store.lookup(RUNS, {"run_id": "a"}), store.marks(), store.sync()
print(*sorted({m.partition(".")[0] for m in sys.modules}))
"""
_READING = """
import sys
from mlrun.contracts import RunQuery
from mlrun.registry import storage_class
from mlrun.tables import PARAMS, RUNS
from mlrun.where import parse, parse_order
store = storage_class(sys.argv[1])(sys.argv[1])
with store.read() as view:
    for where in (None, parse("name = 'x' or params.x in (1, 'a')")):
        view.find(RunQuery(where=where, order_by=parse_order("-metrics.x"), limit=3))
    view.scan(RUNS, where={"run_id": ["a", "b"]}), view.scan(PARAMS), view.scan(PARAMS, where={"run_id": []})
store.apply([("put", "params", {"run_id": "a", "key": "x", "value": "1", "type": "int"})])
print(*sorted({m.partition(".")[0] for m in sys.modules}))
"""
# A process that writes through one library, changes to the other in the middle, and has threads doing both.
_HAMMER = """
import sys, threading
from mlrun.contracts import Mark
from mlrun.errors import MarkConflict
from mlrun.registry import storage_class
from mlrun.tables import PARAMS, RUNS
url, name = sys.argv[1:]
stores = [storage_class(u)(u) for u in (url, url.replace("mlrun.db", "./mlrun.db"))]
failures = []

def count(store, thread, rounds):
    done = 0
    while done < rounds:
        mark = store.marks().get("shared", Mark())
        run = f"{name}-{thread}-{done}"
        ops = [("put", "runs", {"run_id": run, "project": "p"})]
        ops += [("put", "params", {"run_id": run, "key": k, "value": "1", "type": "int"}) for k in "xyz"]
        try:
            store.apply(ops, expected={"shared": mark}, marks={"shared": mark._replace(row=mark.row + 1)})
            done += 1
        except MarkConflict:
            continue
        if thread % 2 and done > rounds // 3:
            with store.read() as view:
                assert view.scan(PARAMS).num_rows == 3 * view.scan(RUNS).num_rows == 3 * view.marks()["shared"].row

def work(*args):
    try:
        count(*args)
    except BaseException as error:
        failures.append(error)

threads = [threading.Thread(target=work, args=(stores[t % 2], t, 30)) for t in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
if failures: raise failures[0]
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlrun.db"


@pytest.fixture
def records(url: str) -> Iterator[Any]:
    with closing(storage_class(url)(url)) as store:
        store.create()
        yield store


def modules(script: str, url: str) -> set[str]:
    child = subprocess.run(
        [sys.executable, "-c", script, url], capture_output=True, text=True, check=True
    )
    return set(child.stdout.split())


def test_tracking_loads_no_heavy_library(url: str) -> None:
    loaded = modules(_TRACKING, url)
    assert "sqlite3" in loaded
    assert not loaded & {"pyarrow", "numpy", "polars", "pandas", "adbc_driver_manager"}


def test_reading_loads_neither_pandas_nor_polars(records: Any, url: str) -> None:
    records.apply([run_put("a", name="x"), value_put("params", "b", "x", "a")])
    loaded = modules(_READING, url)
    assert {"pyarrow", "adbc_driver_manager"} <= loaded
    assert not loaded & {"pandas", "polars"}


def test_both_libraries_threads_and_processes_lose_nothing(records: Any, url: str) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", _HAMMER, url, f"child-{n}"]) for n in range(4)
    ]
    assert [child.wait(120) for child in children] == [0] * 4
    assert records.marks() == {"shared": Mark(row=480)}
    assert len(rows_of(records, RUNS)) == 480
    assert len(rows_of(records, PARAMS)) == 3 * 480
    assert records.check() == []


def test_a_path_may_have_two_names(records: Any, url: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with closing(storage_class(url)(url.replace("mlrun.db", "link/mlrun.db"))) as other:
        with records.read() as view:
            other.apply([run_put("a")])
            assert view.scan(RUNS).num_rows == 0
        assert len(rows_of(other, RUNS)) == 1


def _in_child(store: Any, number: int) -> None:
    for i in range(20):
        while True:
            mark = store.marks().get("shared", Mark())
            try:
                store.apply(
                    [("put", "tags", {"run_id": f"{number}", "tag": f"{i}"})],
                    expected={"shared": mark},
                    marks={"shared": mark._replace(row=mark.row + 1)},
                )
                break
            except MarkConflict:
                continue
        with store.read() as view:
            assert view.scan(TAGS).num_rows == view.marks()["shared"].row


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_children_use_connections_of_their_own(records: Any) -> None:
    rows_of(records, RUNS)
    stop = threading.Event()
    failures: list[BaseException] = []

    def keep_busy() -> None:
        try:
            while not stop.is_set():
                with records.read() as view:
                    assert view.scan(TAGS).num_rows == view.marks().get("shared", Mark()).row
        except BaseException as error:  # noqa: BLE001 - told by the assertion below
            failures.append(error)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_in_child, args=(records, n)) for n in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    stop.set()
    busy.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert failures == []
    assert records.marks() == {"shared": Mark(row=80)}
    assert {f.where for f in records.check()} == {"tags"}  # of runs that nobody made


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_inside_a_view(records: Any) -> None:
    with records.read() as view:
        child = os.fork()
        if child == 0:
            try:
                with closing(storage_class(records.url)(records.url)) as own:
                    own.apply([run_put("child"), value_put("params", "child", "x", 1)])
                    ok = len(rows_of(own, PARAMS)) == 1
            finally:
                os._exit(0 if ok else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert view.scan(RUNS).num_rows == 0
        records.apply([run_put("parent")])
    assert [r["run_id"] for r in rows_of(records, RUNS)] == ["child", "parent"]
    assert records.check() == []


def test_a_child_without_a_whole_library_says_so(records: Any) -> None:
    from mlrun.storage import sqlite_library

    rows_of(records, RUNS)
    unfit = sqlite_library._unfit
    unfit |= {"adbc", "sqlite3"}
    try:
        with pytest.raises(StoreError, match="forked"):
            records.marks()
    finally:
        unfit.clear()


def test_sync_reaches_the_disk(records: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    records.apply([run_put("a")])
    fsync = os.fsync

    def noted(file: int) -> None:
        synced.append(os.fstat(file).st_size)
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    records.sync()
    assert len(synced) == 1
    assert synced[0] > 0
