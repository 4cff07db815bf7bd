"""What every records store promises.

Subclass in a test module and give the fixture `url`:

```python
class TestMine(RecordsConformance):
    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path}/mlrun.db"
```

What `find` promises is in `FindConformance`, which a test class inherits beside this one.
"""

# ruff: noqa: D102 - the name of a test is its sentence
from __future__ import annotations

import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.contracts import Mark
from mlrun.errors import MarkConflict, SchemaMismatch, StoreClosed
from mlrun.registry import storage_class
from mlrun.tables import (
    ALIASES,
    ARTIFACTS,
    LINEAGE,
    PARAMS,
    PROJECTS,
    RESULTS,
    RUNS,
    SUMMARIES,
    TABLES,
    TAGS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.contracts import Op
    from mlrun.tables import Table

__all__ = ["RecordsConformance"]

_RECORDS = [t for t in TABLES.values() if t.kind == "record"]
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


def run_put(run_id: str, **columns: Any) -> Op:
    """Return the op that puts a run."""
    return ("put", "runs", {"run_id": run_id, "project": "p", **columns})


def run_change(run_id: str, **columns: Any) -> Op:
    """Return the op that changes some columns of a run."""
    return ("put", "runs", {"run_id": run_id, **columns})


def value_put(table: str, run_id: str, key: str, value: Any) -> Op:
    """Return the op that puts a param or a result."""
    row = {"run_id": run_id, "key": key, "value": json.dumps(value), "type": type(value).__name__}
    return ("put", table, row)


def artifact_op(**columns: Any) -> Op:
    """Return the op that registers content, with defaults for what is not given."""
    row = {"project": "p", "key": "model", "type": "model", "sha256": "aa", "uri": "objects/aa/aa"}
    return ("artifact", "", {**row, "created_at": 5, **columns})


def sample(table: Table, number: int) -> dict[str, Any]:
    """Return a whole row of a table."""
    make: dict[str, Callable[[str], Any]] = {
        "string": lambda c: f"{c}-{number}",
        "json": lambda _: json.dumps(number),
        "int64": lambda _: number,
        "float64": lambda _: number + 0.5,
        "timestamp": lambda _: 1_700_000_000_000_000 + number,
        "bool": lambda _: bool(number % 2),
    }
    return {c.name: make[c.type](c.name) for c in table.columns}


def rows_of(records: Any, table: Table, **where: Any) -> list[dict[str, Any]]:
    """Read rows, times as integers."""
    with records.read() as view:
        found = view.scan(table, where=where or None)
    for number, column in enumerate(table.columns):
        if column.type == "timestamp":
            found = found.set_column(number, column.name, found.column(number).cast("int64"))
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


class RecordsConformance:
    """The law of `mlrun.contracts.Records`, as tests over the fixture `url`."""

    @pytest.fixture
    def records(self, url: str) -> Iterator[Any]:
        """Open the store, make its tables, and close it after the test."""
        store = storage_class(url)(url)
        store.create()
        yield store
        store.close()

    # -- rows -----------------------------------------------------------------------------------------

    def test_create_again_changes_nothing(self, records: Any, url: str) -> None:
        records.apply([run_put("a")])
        records.create()
        storage_class(url)(url).create()
        assert len(rows_of(records, RUNS)) == 1

    @pytest.mark.parametrize("table", _RECORDS, ids=lambda t: t.name)
    def test_whole_rows_round_trip(self, records: Any, table: Table) -> None:
        rows = [sample(table, n) for n in (3, 1, 2)]
        records.apply([("put", table.name, r) for r in rows])
        assert rows_of(records, table) == sorted(rows, key=lambda r: [r[k] for k in table.key])
        assert records.lookup(table, {table.key[0]: rows[0][table.key[0]]}) == [rows[0]]

    @pytest.mark.parametrize("table", _RECORDS, ids=lambda t: t.name)
    def test_empty_and_sparse_tables_have_their_types(self, records: Any, table: Table) -> None:
        with records.read() as view:
            assert view.scan(table).schema == table.schema
        needed = {c.name: sample(table, 1)[c.name] for c in table.columns if not c.nullable}
        records.apply([("put", table.name, needed)])
        with records.read() as view:
            found = view.scan(table)
        assert found.schema == table.schema
        assert found.num_rows == 1

    @pytest.mark.parametrize("table", _RECORDS, ids=lambda t: t.name)
    def test_the_same_op_twice_is_one_row(self, records: Any, table: Table) -> None:
        needed = {c.name: sample(table, 1)[c.name] for c in table.columns if not c.nullable}
        for _ in range(2):
            records.apply([("put", table.name, needed)] * 2)
        assert len(rows_of(records, table)) == 1

    def test_columns_left_out_keep_their_value(self, records: Any) -> None:
        records.apply([run_put("a", name="one", state="running")])
        records.apply([run_change("a", state="completed"), run_change("a", finished_at=7)])
        [row] = records.lookup(RUNS, {"run_id": "a"})
        assert (row["name"], row["state"], row["finished_at"]) == ("one", "completed", 7)
        records.apply([run_change("a", name=None)])
        assert records.lookup(RUNS, {"run_id": "a"})[0]["name"] is None

    def test_ops_apply_in_order(self, records: Any) -> None:
        records.apply(
            [
                run_put("a", name="first", notes="gone"),
                ("del", "runs", {"run_id": "a"}),
                run_put("a", name="second"),
                value_put("params", "a", "x", 1),
                value_put("params", "a", "x", 2),
                ("put", "tags", {"run_id": "a", "tag": "t"}),
                ("del", "tags", {"run_id": "a", "tag": "t"}),
            ]
        )
        [row] = records.lookup(RUNS, {"run_id": "a"})
        assert (row["name"], row["notes"]) == ("second", None)
        assert [r["value"] for r in rows_of(records, PARAMS)] == ["2"]
        assert rows_of(records, TAGS) == []

    def test_delete_by_part_of_the_key(self, records: Any) -> None:
        puts = [value_put("params", r, k, 1) for r in "ab" for k in "xy"]
        records.apply([run_put("a"), run_put("b"), *puts])
        records.apply([("del", "params", {"run_id": "a"}), ("del", "params", {"key": "y"})])
        assert [(r["run_id"], r["key"]) for r in rows_of(records, PARAMS)] == [("b", "x")]
        records.apply([("del", "runs", {"run_id": "b"}), ("del", "runs", {"run_id": "absent"})])
        assert [r["run_id"] for r in rows_of(records, RUNS)] == ["a"]

    def test_values_may_come_before_their_run(self, records: Any) -> None:
        records.apply(
            [value_put("params", "late", "x", 1), ("put", "tags", {"run_id": "late", "tag": "t"})]
        )
        assert rows_of(records, RUNS) == []
        assert len(rows_of(records, PARAMS)) == 1
        records.apply([run_put("late", name="here")])
        assert rows_of(records, RUNS)[0]["name"] == "here"

    def test_a_change_waits_for_its_run(self, records: Any) -> None:
        records.apply([run_change("a", state="completed")])
        assert rows_of(records, RUNS) == records.lookup(RUNS, {"run_id": "a"}) == []
        records.apply([run_put("a", name="here")])
        [row] = rows_of(records, RUNS)
        assert (row["name"], row["state"]) == ("here", "completed")

    @pytest.mark.parametrize(
        "op",
        [
            ("put", "nowhere", {"run_id": "a"}),
            ("put", "metrics", {"run_id": "a"}),
            ("put", "runs", {"run_id": "a", "colour": "red"}),
            ("put", "runs", {"name": "without id"}),
            ("put", "runs", {}),
            ("put", "runs", {"run_id": None}),
            ("put", "runs", {"run_id": "a", "iteration": "three"}),
            ("put", "runs", {"run_id": "a", "iteration": 1.5}),
            ("put", "runs", {"run_id": "a", "name": 3}),
            ("put", "runs", {"run_id": "a", "iteration": 1 << 70}),
            ("put", "params", {"run_id": "a", "key": "x", "type": "int"}),
            ("put", "params", {"run_id": "a", "key": "x", "value": "{", "type": "int"}),
            ("del", "runs", {}),
            ("del", "runs", {"colour": "red"}),
            ("artifact", "", {"project": "p", "key": "k"}),
            ("eat", "runs", {"run_id": "a"}),
        ],
    )
    def test_what_does_not_fit_is_refused_whole(self, records: Any, op: Op) -> None:
        with pytest.raises(SchemaMismatch):
            records.apply([run_put("b"), op], marks={"w": Mark(1)})
        assert rows_of(records, RUNS) == []
        assert records.marks() == {}

    @pytest.mark.parametrize(
        ("value", "num", "text"),
        [
            ("1", 1.0, None),
            ("0.1", 0.1, None),
            ("true", 1.0, None),
            ("false", 0.0, None),
            ("null", None, None),
            ("NaN", None, None),
            ("-Infinity", -math.inf, None),
            ('"text"', None, "text"),
            ('""', None, ""),
            ('"NaN"', None, "NaN"),
            ("[1]", None, None),
            ("1" + "0" * 400, math.inf, None),
        ],
    )
    def test_values_are_decoded_for_indexes(
        self, records: Any, value: str, num: float | None, text: str | None
    ) -> None:
        for table in (PARAMS, RESULTS):
            row = {"run_id": "a", "key": "x", "value": value, "type": "t"}
            records.apply([("put", table.name, row)])
            assert records.lookup(table, {"run_id": "a"}) == [{**row, "num": num, "text": text}]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "'; drop table runs; --",
            '"quoted"',
            "../../etc/passwd",
            "☃ \U0001f40d \u202e",
            "line\nend\r\t",
            "%_?*[]\\",
            "x" * 100_000,
            "NULL",
        ],
    )
    def test_text_is_stored_as_given(self, records: Any, text: str) -> None:
        rows = {}
        for table in _RECORDS:
            texts = {c.name: text for c in table.columns if c.type == "string"}
            rows[table] = {**sample(table, 1), **texts}
        records.apply([("put", t.name, r) for t, r in rows.items()])
        for table, row in rows.items():
            assert rows_of(records, table) == [row]
            assert records.lookup(table, {table.key[0]: text}) == [row]
            assert rows_of(records, table, **{table.key[0]: [text]}) == [row]

    @pytest.mark.parametrize("text", ["a\0b", "\ud800"])
    def test_text_that_no_database_likes_is_kept_or_refused(self, records: Any, text: str) -> None:
        row = {**sample(PARAMS, 1), "key": text}
        try:
            records.apply([("put", "params", row)])
        except SchemaMismatch:
            assert rows_of(records, PARAMS) == []
        else:
            assert rows_of(records, PARAMS) == [row]

    def test_a_hundred_thousand_rows(self, records: Any) -> None:
        ids = [f"run-{n:05d}" for n in range(5000)]
        puts = [value_put("params", r, f"k{k}", k) for r in ids for k in range(20)]
        records.apply([*(run_put(r) for r in ids), *puts])
        with records.read() as view:
            assert view.scan(PARAMS).num_rows == 100_000
            some = view.scan(PARAMS, where={"run_id": ids[1000:3500], "key": ["k7"]})
            assert some.column("run_id").to_pylist() == ids[1000:3500]
            assert view.scan(RUNS, where={"run_id": ids[::2]}).num_rows == 2500

    # -- scan -----------------------------------------------------------------------------------------

    def test_scan_takes_columns_and_values(self, records: Any) -> None:
        states = {"a": "running", "b": "completed", "c": None}
        records.apply([run_put(r, state=s) for r, s in states.items()])
        with records.read() as view:
            found = view.scan(RUNS, columns=["state", "run_id"], where={"state": ["running", None]})
            assert found.column_names == ["state", "run_id"]
            assert found.column("run_id").to_pylist() == ["a", "c"]
            assert view.scan(RUNS, where={"run_id": []}).num_rows == 0
            assert (
                view.scan(RUNS, where={"run_id": ["a", "a", "zz"], "state": ["running"]}).num_rows
                == 1
            )
            for wrong in ({"columns": ["colour"]}, {"where": {"colour": ["red"]}}):
                with pytest.raises(SchemaMismatch):
                    view.scan(RUNS, **wrong)

    def test_scan_comes_in_key_order(self, records: Any) -> None:
        puts = [value_put("params", r, k, 1) for r in ("c", "a", "b") for k in ("z", "a", "é", "B")]
        records.apply(puts)
        keys = [(r["run_id"], r["key"]) for r in rows_of(records, PARAMS)]
        assert keys == sorted(keys)
        assert len(keys) == 12

    def test_a_view_does_not_change(self, records: Any) -> None:
        records.apply([run_put("a")], marks={"w": Mark(1)})
        with records.read() as view:
            records.apply([run_put("b")], marks={"w": Mark(2)})
            assert view.scan(RUNS).num_rows == 1
            assert view.marks() == {"w": Mark(1)}
            with records.read() as later:
                assert later.scan(RUNS).num_rows == 2
                assert later.marks() == {"w": Mark(2)}

    def test_a_view_ends_with_its_block(self, records: Any) -> None:
        with records.read() as view:
            pass
        for call in (view.marks, lambda: view.scan(RUNS)):
            with pytest.raises(StoreClosed):
                call()

    # -- summaries ------------------------------------------------------------------------------------

    def test_partial_summaries_merge(self, records: Any) -> None:
        records.apply([], summaries=[("a", "x", 3.0, 1.0, 3.0, 4.0, 2, 0, 0, 5, 100, 7)])
        records.apply([], summaries=[("a", "x", 9.0, 9.0, 9.0, 9.0, 1, 0, 2, 2, 200, 9)])
        [row] = records.lookup(SUMMARIES, {"run_id": "a"})
        assert list(row.values()) == ["a", "x", 3.0, 1.0, 9.0, 13.0, 3, 0, 0, 5, 100, 7]

    def test_the_last_of_a_step_is_the_one_written_last(self, records: Any) -> None:
        for value, time, seq in ((1.0, 10, 5), (2.0, 10, 6), (3.0, 9, 99), (4.0, 11, 1)):
            row = ("a", "x", value, value, value, value, 1, 0, 4, 4, time, seq)
            records.apply([], summaries=[row])
        [row] = records.lookup(SUMMARIES, {"run_id": "a"})
        assert (row["last"], row["last_time"], row["last_seq"], row["count"]) == (4.0, 11, 1, 4)

    def test_nan_in_summaries(self, records: Any) -> None:
        nan = ("a", "x", math.nan, None, None, None, 1, 1, 9, 9, 10, 1)
        records.apply([], summaries=[nan])
        [row] = records.lookup(SUMMARIES, {"run_id": "a"})
        assert [row[c] for c in ("last", "min", "max", "sum", "count", "nan")] == [None] * 4 + [
            1,
            1,
        ]
        records.apply(
            [], summaries=[("a", "x", math.inf, 2.0, math.inf, math.inf, 2, 0, 1, 2, 11, 2)]
        )
        [row] = records.lookup(SUMMARIES, {"run_id": "a"})
        assert [row[c] for c in ("last", "min", "max", "sum")] == [None, 2.0, math.inf, math.inf]
        for value in (-math.inf, 1.0):  # inf - inf is NaN for ever
            records.apply([], summaries=[("a", "x", value, value, value, value, 1, 0, 3, 3, 12, 3)])
            [row] = records.lookup(SUMMARIES, {"run_id": "a"})
            assert (row["sum"], row["min"], row["max"]) == (None, -math.inf, math.inf)

    def test_summaries_of_one_call_merge_too(self, records: Any) -> None:
        rows = (("a", "x", float(n), n, n, n, 1, 0, n, n, n, n) for n in range(10))
        records.apply([run_put("a")], summaries=rows)
        [row] = records.lookup(SUMMARIES, {"run_id": "a"})
        assert (row["last"], row["sum"], row["count"], row["first_step"]) == (9.0, 45.0, 10, 0)

    # -- artifacts ------------------------------------------------------------------------------------

    def test_a_version_is_a_distinct_content(self, records: Any) -> None:
        for sha, kind in (("aa", "model"), ("bb", "model"), ("aa", "model"), ("aa", "dataset")):
            records.apply([artifact_op(sha256=sha, type=kind)])
        found = [(r["version"], r["sha256"], r["type"]) for r in rows_of(records, ARTIFACTS)]
        assert found == [(1, "aa", "model"), (2, "bb", "model"), (3, "aa", "dataset")]
        records.apply([artifact_op(key="other")])
        assert [r["version"] for r in rows_of(records, ARTIFACTS, key=["other"])] == [1]

    def test_lineage_and_aliases_come_with_content(self, records: Any) -> None:
        op = artifact_op(run_id="a", role="output", step=3, aliases=["latest", "best"])
        records.apply([op, op])
        records.apply([op, artifact_op(sha256="bb", run_id="b", role="output", aliases=["latest"])])
        links = [
            (r["run_id"], r["version"], r["role"], r["step"]) for r in rows_of(records, LINEAGE)
        ]
        assert links == [("a", 1, "output", 3), ("b", 2, "output", 0)]
        aliases = {r["alias"]: r["version"] for r in rows_of(records, ALIASES)}
        assert aliases == {"latest": 2, "best": 1}

    def test_an_alias_moves_in_the_order_of_ops(self, records: Any) -> None:
        back = {"project": "p", "key": "model", "alias": "latest", "version": 1}
        records.apply(
            [artifact_op(), artifact_op(sha256="bb", aliases=["latest"]), ("put", "aliases", back)]
        )
        assert [r["version"] for r in rows_of(records, ALIASES)] == [1]

    def test_content_without_a_hash_is_known_by_its_place(self, records: Any) -> None:
        for uri in ("s3://b/1", "s3://b/2", "s3://b/1"):
            records.apply([artifact_op(sha256=None, uri=uri)])
        assert [r["uri"] for r in rows_of(records, ARTIFACTS)] == ["s3://b/1", "s3://b/2"]

    def test_a_deleted_version_is_marked_and_comes_back(self, records: Any) -> None:
        key = {"project": "p", "key": "model", "version": 1}
        records.apply([artifact_op(), ("put", "artifacts", {**key, "deleted_at": 9})])
        assert rows_of(records, ARTIFACTS)[0]["deleted_at"] == 9
        records.apply([artifact_op(uri="objects/again")])
        [row] = rows_of(records, ARTIFACTS)
        assert (row["deleted_at"], row["uri"], row["version"]) == (None, "objects/again", 1)
        with pytest.raises(SchemaMismatch):
            records.apply([("put", "artifacts", {**key, "version": 8, "deleted_at": 9})])

    # -- marks ----------------------------------------------------------------------------------------

    def test_marks_are_compared_and_set(self, records: Any) -> None:
        assert records.marks() == {}
        records.apply([], expected={"w": Mark()}, marks={"w": Mark(1, 2, 3, 4), "v": Mark(9)})
        assert records.marks() == {"w": Mark(1, 2, 3, 4), "v": Mark(9)}
        for wrong in (
            {"w": Mark()},
            {"w": Mark(1, 2, 3, 5)},
            {"w": Mark(1, 2, 3, 4), "x": Mark(1)},
        ):
            with pytest.raises(MarkConflict):
                records.apply(
                    [run_put("a")],
                    summaries=[("a", "x", 1.0, 1, 1, 1, 1, 0, 0, 0, 0, 0)],
                    expected=wrong,
                    marks={"w": Mark(7)},
                )
        assert records.marks() == {"w": Mark(1, 2, 3, 4), "v": Mark(9)}
        assert rows_of(records, RUNS) == rows_of(records, SUMMARIES) == []

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
