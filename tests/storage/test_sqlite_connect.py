"""Connections to one file through either library give the same rows."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mlrun.errors import SchemaMismatch
from mlrun.storage.sqlite_connect import connect

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("library", ["sqlite3", "adbc"])
@pytest.mark.parametrize("empty", [3, 5000])
def test_a_column_may_be_empty_for_as_many_rows_as_it_likes(
    tmp_path: Path, library: str, empty: int
) -> None:
    with closing(connect(str(tmp_path / "x.db"), library, create=True)) as connection:
        connection.execute("create table t (id integer primary key, text text)")
        connection.executemany("insert into t values (?, ?)", [(n, None) for n in range(empty)])
        connection.execute("insert into t values (?, ?)", (empty, "late"))
        found = connection.rows("select text from t order by id")
        assert len(found) == empty + 1
        assert found[0] == (None,)
        assert found[-1] == ("late",)


def test_statements_that_are_kept_ready_hold_neither_locks_nor_what_was_bound(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "x.db")
    with (
        closing(connect(path, "adbc", create=True)) as one,
        closing(connect(path, "adbc")) as other,
    ):
        one.rows("pragma journal_mode=wal")
        one.execute("create table t (id integer primary key, text text)")
        for start in (0, 2):
            one.executemany("insert into t values (?, ?)", [(start, "a"), (start + 1, "b")])
        for most, found in ((1, [(0,), (1,)]), (0, [(0,)])):
            assert one.rows("select id from t where id <= ?", [most]) == found
        with pytest.raises(SchemaMismatch):
            one.execute("insert into t values (?, ?)", (0, "again"))
        one.execute("insert into t values (?, ?)", (9, None))
        other.execute("delete from t where id = ?", (0,))
        [(busy, *_)] = other.rows("pragma wal_checkpoint(truncate)")
        assert busy == 0
        for number in range(200):  # more statements than are kept
            assert one.rows(f"select {number}") == [(number,)]
        assert one.rows("select count(*) from t") == [(4,)]
