from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from mlrun.contracts import Mark
from mlrun.registry import storage_class
from mlrun.tables import PARAMS, RUNS
from mlrun.testing.records import RecordsConformance
from mlrun.testing.records_ops import rows_of, run_put

if TYPE_CHECKING:
    from pathlib import Path


class TestWriteAheadLog(RecordsConformance):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/store/mlrun.db"


class TestRollbackJournal(RecordsConformance):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/a %20 ? folder/mlrun.db?journal_mode=truncate"

    def test_a_view_does_not_change(self, records: Any) -> None:
        """In this mode a writer waits for readers, so it must be another thread's."""
        records.apply([run_put("a")], marks={"w": Mark(1)})
        writer = threading.Thread(target=records.apply, args=([run_put("b")],))
        with records.read() as view:
            writer.start()
            assert view.scan(RUNS).num_rows == 1
            assert view.marks() == {"w": Mark(1)}
        writer.join()
        assert len(rows_of(records, RUNS)) == 2


def test_several_tables_are_loaded_as_one_and_keep_every_index(tmp_path: Path) -> None:
    def rows(numbers: range) -> pa.Table:
        return pa.table({
            "run_id": [f"r{n:06d}" for n in numbers], "key": ["x"] * len(numbers),
            "value": [str(n % 7) for n in numbers], "type": ["int"] * len(numbers),
        })  # fmt: skip

    with closing(storage_class("sqlite:")(f"sqlite:///{tmp_path}/mlrun.db")) as records:
        records.create()
        before = _indexes(records)
        records.load(PARAMS, (rows(range(n, n + 60_000)) for n in (0, 60_000)))
        records.load(PARAMS, iter(()))
        assert _indexes(records) == before
        with records.read() as view:
            found = view.scan(PARAMS, columns=["run_id", "num"])
        assert found.num_rows == 120_000
        assert found.column("num").to_pylist()[60_001] == 60_001 % 7


def _indexes(records: Any) -> list[Any]:
    with records.read() as view:
        return list(view.connection.rows("select name, sql from sqlite_master order by name"))
