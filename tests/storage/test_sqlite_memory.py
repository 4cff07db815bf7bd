"""What a connection remembers is forgotten with the first commit after it, whoever made it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.contracts import Mark, RunQuery
from mlrun.errors import StoreVersionError
from mlrun.registry import storage_class
from mlrun.storage import sqlite_memory
from mlrun.tables import PARAMS, RUNS, TAGS
from mlrun.testing.records_ops import run_put, value_put
from mlrun.where import parse, parse_order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OTHER = """
import sys
from mlrun.registry import storage_class
from mlrun.testing.records_ops import run_put, value_put
records = storage_class("sqlite:")(sys.argv[1])
records.apply([run_put(sys.argv[2], state="running", project="p"), value_put("params", sys.argv[2], "new", 1)])
"""


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Any]:
    with closing(storage_class("sqlite:")(f"sqlite:///{tmp_path}/mlrun.db")) as made:
        made.create()
        made.apply([run_put("r1", state="completed", project="p", started_at=1)])
        yield made


def _query(where: str | None = None, **more: Any) -> RunQuery:
    return RunQuery(
        project="p",
        where=parse(where) if where else None,
        order_by=parse_order("-started_at"),
        now_us=0,
        **{"limit": 10, "offset": 0, **more},
    )


def _found(records: Any, where: str | None = None) -> list[str]:
    with records.read() as view:
        return sorted(view.find(_query(where)).column("run_id").to_pylist())


def _open_runs(records: Any) -> list[str]:
    with records.read() as view:
        found = view.scan(RUNS, columns=["run_id"], where={"state": ["running"]})
        return list(found.column("run_id").to_pylist())


def test_a_connection_that_read_sees_its_own_later_writes(records: Any) -> None:
    assert (_found(records), _open_runs(records)) == (["r1"], [])
    assert _found(records, "params.new = 1") == []
    records.apply(
        [run_put("r2", state="running", project="p"), value_put("params", "r2", "new", 1)],
        marks={"w": Mark(3, 4, 5, 6)},
    )
    assert (_found(records), _open_runs(records)) == (["r1", "r2"], ["r2"])
    assert _found(records, "params.new = 1") == ["r2"]
    with records.read() as view:
        assert view.marks() == {"w": Mark(3, 4, 5, 6)}
        assert view.scan(PARAMS, where={"run_id": ["r2"]}).column("key").to_pylist() == ["new"]


def test_a_connection_that_read_sees_what_another_process_commits(records: Any) -> None:
    assert (_found(records), _open_runs(records)) == (["r1"], [])
    for name in ("r2", "r3"):
        subprocess.run([sys.executable, "-c", _OTHER, records.url, name], check=True)
        assert name in _found(records)
        assert name in _found(records, "params.new = 1")
        assert name in _open_runs(records)


def test_a_snapshot_keeps_what_it_pinned_while_others_commit(records: Any) -> None:
    with records.read() as view:
        assert view.find(_query()).num_rows == 1
        records.apply([run_put("r2", state="running", project="p")])
        assert view.find(_query()).num_rows == 1
        assert view.scan(RUNS, where={"state": ["running"]}).num_rows == 0
        assert view.scan(RUNS, where={"run_id": ["r2"]}).num_rows == 0
    assert _found(records) == ["r1", "r2"]


def test_small_rows_of_a_run_are_read_anew_after_a_change(records: Any) -> None:
    def tags() -> list[str]:
        with records.read() as view:
            found = view.scan(TAGS, where={"run_id": ["r1"]})
            return list(found.column("tag").to_pylist())

    assert tags() == []
    records.apply([("put", "tags", {"run_id": "r1", "tag": "a"})])
    assert tags() == ["a"]
    records.apply([("del", "tags", {"run_id": "r1", "tag": "a"})])
    assert tags() == []


def test_a_file_that_got_a_newer_version_meanwhile_is_refused(records: Any) -> None:
    other = storage_class("sqlite:")(records.url)
    assert _found(other) == ["r1"]
    code = f"import sqlite3; sqlite3.connect({records.path!r}).execute('pragma user_version=99')"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(StoreVersionError):
        _found(other)
    other.close()


def test_a_connection_forgets_when_it_was_asked_too_many_things() -> None:
    class Silent:
        memory: dict[Any, Any] = {}  # noqa: RUF012  # one instance

    connection: Any = Silent()
    for number in range(1_000):
        assert sqlite_memory.remembered(connection, number, lambda n=number: n) == number
    assert len(connection.memory) < 1_000


def test_what_is_not_worth_keeping_is_found_again() -> None:
    connection: Any = type("Silent", (), {"memory": {}})()
    asked: list[int] = []
    for _ in range(2):
        sqlite_memory.remembered(connection, "x", lambda: asked.append(1), worth=lambda _: False)
    assert asked == [1, 1]
