"""What a records store promises of rows: put, deleted, scanned and looked up."""

# ruff: noqa: D102 - the name of a test is its sentence
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.contracts import Mark
from mlrun.errors import RowConflict, SchemaMismatch, StoreClosed
from mlrun.registry import storage_class
from mlrun.tables import LEASES, PARAMS, RESULTS, RUNS, TAGS
from mlrun.testing.records_ops import RECORDS, rows_of, run_change, run_put, sample, value_put

if TYPE_CHECKING:
    from mlrun.contracts import Op
    from mlrun.tables import Table

__all__ = ["RowsConformance"]


class RowsConformance:
    """Tests over the fixtures `records` and `url`; a part of `RecordsConformance`."""

    # -- rows -----------------------------------------------------------------------------------------

    def test_create_again_changes_nothing(self, records: Any, url: str) -> None:
        records.apply([run_put("a")])
        records.create()
        storage_class(url)(url).create()
        assert len(rows_of(records, RUNS)) == 1

    @pytest.mark.parametrize("table", RECORDS, ids=lambda t: t.name)
    def test_whole_rows_round_trip(self, records: Any, table: Table) -> None:
        rows = [sample(table, n) for n in (3, 1, 2)]
        records.apply([("put", table.name, r) for r in rows])
        assert rows_of(records, table) == sorted(rows, key=lambda r: [r[k] for k in table.key])
        assert records.lookup(table, {table.key[0]: rows[0][table.key[0]]}) == [rows[0]]

    @pytest.mark.parametrize("table", RECORDS, ids=lambda t: t.name)
    def test_empty_and_sparse_tables_have_their_types(self, records: Any, table: Table) -> None:
        with records.read() as view:
            assert view.scan(table).schema == table.schema
        needed = {c.name: sample(table, 1)[c.name] for c in table.columns if not c.nullable}
        records.apply([("put", table.name, needed)])
        with records.read() as view:
            found = view.scan(table)
        assert found.schema == table.schema
        assert found.num_rows == 1

    @pytest.mark.parametrize("table", RECORDS, ids=lambda t: t.name)
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

    def test_a_change_that_expects_something_else_changes_nothing(self, records: Any) -> None:
        records.apply([run_put("a", state="running", name="n")])
        seen = {"run_id": "a", "state": "running", "writer": None}
        end: list[Op] = [("expect", "runs", seen), run_change("a", state="aborting")]
        records.apply(end)
        with pytest.raises(RowConflict, match="somebody else was first"):
            records.apply([run_put("b"), *end], marks={"w": Mark(1)})
        assert [(r["run_id"], r["state"]) for r in rows_of(records, RUNS)] == [("a", "aborting")]
        assert records.marks() == {}
        several = {"run_id": "a", "state": ["running", "aborting"]}
        records.apply([run_change("a", state="aborted"), ("expect", "runs", several)])
        assert rows_of(records, RUNS)[0]["state"] == "aborted"

    @pytest.mark.parametrize("end", ["completed", "error", "skipped"])
    def test_who_was_aborted_does_not_complete_later(self, records: Any, end: str) -> None:
        aborted = {"state": "aborted", "finished_at": 100, "updated_at": 100, "error": "enough"}
        records.apply([run_put("a", state="running", started_at=1), run_change("a", **aborted)])
        late = {"state": end, "finished_at": 150, "updated_at": 150, "error": None, "dropped": 3}
        for _ in range(2):  # a journal may come twice
            records.apply([run_change("a", **late), run_change("a", notes="last words")])
        [row] = records.lookup(RUNS, {"run_id": "a"})
        kept = {**aborted, "updated_at": 150, "dropped": 3, "notes": "last words"}
        assert {c: row[c] for c in kept} == kept

    def test_who_had_completed_before_is_not_aborted(self, records: Any) -> None:
        aborted = {"state": "aborted", "finished_at": 100, "updated_at": 100, "error": "enough"}
        records.apply([run_put("a", state="running"), run_change("a", **aborted)])
        records.apply([run_change("a", notes="n", updated_at=70)])  # late as well
        end = {"state": "completed", "finished_at": 90, "updated_at": 90, "error": None}
        records.apply([run_change("a", **end)])
        [row] = records.lookup(RUNS, {"run_id": "a"})
        assert {c: row[c] for c in end} == end

    def test_an_aborted_run_that_is_resumed_may_complete(self, records: Any) -> None:
        aborted = {"state": "aborted", "finished_at": 100, "updated_at": 100}
        begun: dict[str, Any] = {
            "state": "running", "writer": "w#2", "finished_at": None, "updated_at": 120,
        }  # fmt: skip
        end: dict[str, Any] = {"state": "completed", "finished_at": 150, "updated_at": 150}
        for run_id, steps in (("a", [[begun], [end]]), ("b", [[begun, end]])):
            records.apply([run_put(run_id, state="running"), run_change(run_id, **aborted)])
            for some in steps:
                records.apply([run_change(run_id, **columns) for columns in some])
            [row] = records.lookup(RUNS, {"run_id": run_id})
            assert (row["state"], row["finished_at"]) == ("completed", 150)

    def test_a_row_that_is_not_there_has_nothing_in_it(self, records: Any) -> None:
        take = {"name": "l", "holder": "me", "taken_at": 1, "expires_at": 2}
        free = {"name": "l", "holder": None}
        records.apply([("expect", "leases", free), ("put", "leases", take)])
        with pytest.raises(RowConflict):
            records.apply(
                [("expect", "leases", free), ("put", "leases", {**take, "holder": "you"})]
            )
        assert rows_of(records, LEASES)[0]["holder"] == "me"

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
            ("expect", "runs", {"run_id": "a"}),
            ("expect", "runs", {"state": "running"}),
            ("expect", "runs", {"run_id": "a", "colour": "red"}),
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
        for table in RECORDS:
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
