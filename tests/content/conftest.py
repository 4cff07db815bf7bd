"""A run over a real object store and a real records store; its journal is a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlrun.config import Settings
from mlrun.storage.files import FileObjects
from mlrun.storage.sqlite import SQLiteRecords

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class StoreInAFolder:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.objects = FileObjects(f"file://{folder}/objects")
        self.records = SQLiteRecords(f"sqlite:///{folder}/mlrun.db")
        self.records.create()
        self.pending: list[Any] = []

    def flush_records(self) -> None:
        ops, self.pending = self.pending, []
        self.records.apply(ops)

    def rows(self, table: Any, **key: Any) -> list[dict[str, Any]]:
        self.flush_records()
        found: list[dict[str, Any]] = self.records.lookup(table, key)
        return found


class RunInAList:
    def __init__(
        self, store: StoreInAFolder, project: str = "digits", *, strict: bool = False
    ) -> None:
        self.id = "0198c0de-0000-7000-8000-000000000001"
        self.project = project
        self.store: Any = store
        self.settings = Settings()
        self.strict = strict
        self.warnings: dict[str, str] = {}

    def record(self, ops: list[Any]) -> None:
        self.store.pending += ops

    def warn(self, code: str, message: str) -> None:
        self.warnings.setdefault(code, message)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreInAFolder]:
    found = StoreInAFolder(tmp_path / ".mlrun")
    yield found
    found.records.close()
    found.objects.close()


@pytest.fixture
def run(store: StoreInAFolder) -> Iterator[RunInAList]:
    """A run; a test that expects a warning takes it out of `warnings`."""
    found = RunInAList(store)
    yield found
    assert found.warnings == {}


@pytest.fixture
def make_run(store: StoreInAFolder) -> Any:
    return lambda **options: RunInAList(store, **options)
