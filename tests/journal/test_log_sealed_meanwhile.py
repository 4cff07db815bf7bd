from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.journal import Writer, sealing
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


@pytest.mark.parametrize("moment", ["pread", "fstat"])
def test_a_segment_that_is_made_while_it_is_opened_has_lost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """It was empty when it was opened: measured before its header was read, it would seem to be cut off."""
    writer = Writer.open(tmp_path)
    writer.channel("p", "r").log({"a": 1.0}, 0)
    writer.close()
    [path] = tmp_path.glob("w-*/*.seg")
    full = path.read_bytes()
    os.truncate(path, 0)
    real = getattr(os, moment)

    def then_made(*arguments: Any) -> Any:
        found = real(*arguments)
        path.write_bytes(full)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(os if moment == "fstat" else sealing, moment, then_made)
        seen = read_journal(tmp_path)
    assert seen.findings == []
    assert [(s.rows, s.sealed) for s in seen.writers[path.parent.name].segments] == [(0, False)]
