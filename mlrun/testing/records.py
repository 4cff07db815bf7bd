"""What every records store promises.

Subclass in a test module and give the fixture `url`:

```python
class TestMine(RecordsConformance):
    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path}/mlrun.db"
```
"""

# ruff: noqa: D102 - the name of a test is its sentence
from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.contracts import Mark
from mlrun.errors import RowConflict, StoreClosed
from mlrun.registry import storage_class
from mlrun.tables import PARAMS, PROJECTS, RUNS, TAGS
from mlrun.testing.records_find import FindConformance
from mlrun.testing.records_folds import FoldsConformance
from mlrun.testing.records_ops import rows_of, run_change, run_put, value_put
from mlrun.testing.records_rows import RowsConformance

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RecordsConformance"]

_OPEN = """
import os, sys
from mlrun.contracts import Mark
from mlrun.errors import MarkConflict
from mlrun.registry import storage_class
url, name = sys.argv[1], sys.argv[2]
store = storage_class(url)(url)
"""
_COUNT = """
store.create()
done = 0
while done < 25:
    with store.read() as view:
        mark = view.marks().get("shared", Mark())
    ops = [("put", "tags", {"run_id": name, "tag": str(mark.row)})]
    try:
        store.apply(ops, expected={"shared": mark}, marks={"shared": mark._replace(row=mark.row + 1)})
        done += 1
    except MarkConflict:
        pass
"""
_FOR_EVER = """
for number in range(1 << 30):
    run = f"{name}-{number:06d}"
    ops = [("put", "params", {"run_id": run, "key": f"k{k}", "value": "1", "type": "int"}) for k in range(40)]
    store.apply([("put", "runs", {"run_id": run, "project": "p"}), *ops], marks={name: Mark(row=number)})
    os.write(1, b"%d\\n" % number)
"""


class RecordsConformance(RowsConformance, FoldsConformance, FindConformance):
    """The law of `mlrun.contracts.Records`, as tests over the fixture `url`."""

    @pytest.fixture
    def records(self, url: str) -> Iterator[Any]:
        """Open the store, make its tables, and close it after the test."""
        store = storage_class(url)(url)
        store.create()
        yield store
        store.close()

    # -- many at once ---------------------------------------------------------------------------------

    def test_threads_write_and_read(self, records: Any) -> None:
        failures: list[BaseException] = []
        barrier = threading.Barrier(8)

        def work(number: int) -> None:
            try:
                barrier.wait()
                for i in range(15):
                    run = f"{number}-{i}"
                    records.apply([run_put(run), *(value_put("params", run, k, i) for k in "xyz")])
                    with records.read() as view:
                        runs, values = view.scan(RUNS).num_rows, view.scan(PARAMS).num_rows
                        assert values == 3 * runs
                    assert len(records.lookup(PARAMS, {"run_id": run})) == 3
            except BaseException as error:  # noqa: BLE001 - told by the assertion below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(rows_of(records, RUNS)) == 8 * 15

    def test_of_many_who_move_a_state_one_wins(self, records: Any) -> None:
        records.apply([run_put("a", state="running")])
        barrier, won = threading.Barrier(6), []

        def end(state: str) -> None:
            seen = {"run_id": "a", "state": "running"}
            barrier.wait()
            try:
                records.apply([("expect", "runs", seen), run_change("a", state=state)])
            except RowConflict:
                return
            won.append(state)

        threads = [threading.Thread(target=end, args=(f"end-{n}",)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [r["state"] for r in rows_of(records, RUNS)] == won

    def test_processes_make_the_tables_and_take_turns(self, url: str) -> None:
        command = [sys.executable, "-c", _OPEN + _COUNT, url]
        children = [subprocess.Popen([*command, f"child-{n}"]) for n in range(4)]
        assert [child.wait(120) for child in children] == [0] * 4
        store = storage_class(url)(url)
        tags = rows_of(store, TAGS)
        assert sorted(int(r["tag"]) for r in tags) == list(range(100))
        assert store.marks() == {"shared": Mark(row=100)}
        store.close()

    def test_a_killed_writer_loses_nothing_that_returned(self, records: Any, url: str) -> None:
        for number in range(4):
            name = f"child-{number}"
            command = [sys.executable, "-c", _OPEN + _FOR_EVER, url, name]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                told = [child.stdout.readline() for _ in range(8 + 5 * number)]
                os.kill(child.pid, signal.SIGKILL)
                told += child.stdout.readlines()
            last = int(told[-1])
            runs = [r["run_id"] for r in rows_of(records, RUNS) if r["run_id"].startswith(name)]
            values = rows_of(records, PARAMS, run_id=runs)
            assert len(runs) >= last + 1
            assert len(values) == 40 * len(runs)
            assert records.marks()[name] == Mark(row=len(runs) - 1)
            records.apply([run_put(f"after-{number}")])

    # -- life -----------------------------------------------------------------------------------------

    def test_another_instance_sees_it(self, records: Any, url: str) -> None:
        records.apply([run_put("a")])
        other = storage_class(url)(url)
        assert len(other.lookup(RUNS, {"run_id": "a"})) == 1
        other.apply([run_put("b")])
        other.close()
        assert [r["run_id"] for r in rows_of(records, RUNS)] == ["a", "b"]

    def test_pickles(self, records: Any) -> None:
        records.apply([run_put("a")])
        again = pickle.loads(pickle.dumps(records))
        assert [r["run_id"] for r in rows_of(again, RUNS)] == ["a"]
        again.close()

    def test_closed(self, url: str) -> None:
        store = storage_class(url)(url)
        store.create()
        store.close()
        store.close()
        calls = [
            store.create,
            store.marks,
            lambda: store.apply([run_put("a")]),
            lambda: store.lookup(RUNS, {"run_id": "a"}),
            lambda: store.read().__enter__(),
        ]
        for call in calls:
            with pytest.raises(StoreClosed):
                call()

    def test_check_finds_nothing_wrong(self, records: Any) -> None:
        records.apply(
            [run_put("a"), value_put("params", "a", "x", 1), ("put", "projects", {"name": "p"})]
        )
        assert records.check() == []
        assert len(rows_of(records, PROJECTS)) == 1
