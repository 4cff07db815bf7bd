from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.journal import Writer
from mlrun.journal.snapshot import read_journal

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.contracts import Mark


def test_a_log_that_is_sealed_after_it_was_opened_covers_only_what_was_read(tmp_path: Path) -> None:
    """A mapped log shows the header of now: its end must not be taken for the end of what was mapped."""
    writer = Writer.open(tmp_path)
    for number in range(2_000):  # more than is copied, so that the log is mapped
        writer.record([("put", "tags", {"run_id": f"{number:06d}" + "x" * 150, "tag": "before"})])
    early = read_journal(tmp_path)
    for number in range(500):
        writer.record([("put", "tags", {"run_id": f"{number:06d}", "tag": "after"})])
    writer.close()

    marks: dict[str, Mark] = {}
    seen = 0
    for snapshot in (early, read_journal(tmp_path)):
        for name, mark, ops in snapshot.ops(dict(marks)):
            marks[name] = mark
            seen += len(ops)
    assert seen == 2_500
