"""What a records store promises of what it works out itself: summaries, versions of content, marks."""

# ruff: noqa: D102 - the name of a test is its sentence
from __future__ import annotations

import math
from typing import Any

import pytest

from mlrun.contracts import Mark
from mlrun.errors import MarkConflict, SchemaMismatch
from mlrun.tables import ALIASES, ARTIFACTS, LINEAGE, RUNS, SUMMARIES
from mlrun.testing.records_ops import artifact_op, rows_of, run_put

__all__ = ["FoldsConformance"]


class FoldsConformance:
    """Tests over the fixture `records`; a part of `RecordsConformance`."""

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

    def test_a_mark_at_its_beginning_takes_its_row_away(self, records: Any) -> None:
        records.apply([], marks={"w": Mark(1, 2, 3, 4), "v": Mark(9)})
        with pytest.raises(MarkConflict):
            records.apply([], expected={"w": Mark(1)}, marks={"w": Mark()})
        records.apply([], expected={"w": Mark(1, 2, 3, 4)}, marks={"w": Mark(), "x": Mark(5)})
        assert records.marks() == {"v": Mark(9), "x": Mark(5)}
        records.apply([], expected={"w": Mark()}, marks={"w": Mark(1)})
        assert records.marks()["w"] == Mark(1)
