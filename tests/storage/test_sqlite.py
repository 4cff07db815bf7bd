from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.contracts import Mark
from mlrun.tables import RUNS
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
