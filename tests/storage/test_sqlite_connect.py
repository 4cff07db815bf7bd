"""Connections to one file through either library give the same rows."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

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
