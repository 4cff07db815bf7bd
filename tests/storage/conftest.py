"""Which part of the law of series is told of every engine beside each change, and which is left to `make soak`."""

from __future__ import annotations

import pytest

# Many processes cost seconds of imports each: beside each change they are started over files, where most users are.
_PROCESSES = (
    "test_processes_lose_nothing",
    "test_processes_make_the_tables_and_take_turns",
    "test_two_processes_race_for_the_same_segments",
)
# In a bucket Delta has other commits, and the same rows: what concerns rows is told of files.
_ROWS = (
    "test_a_killed_append_is_whole_or_nothing",
    "test_compaction_changes_no_row",
    "test_every_table_round_trips",
    "test_filter",
)
_SOAK = {
    "test_clickhouse.py::TestClickHouse::": _PROCESSES,
    "test_delta_bucket.py::TestDeltaOnS3::": _PROCESSES + _ROWS,
    "test_postgres.py::TestPostgreSQL::": _PROCESSES,
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    for item in items:
        for where, names in _SOAK.items():
            if where in item.nodeid and item.name.startswith(names):
                item.add_marker(pytest.mark.soak)
