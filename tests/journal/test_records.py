from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from mlrun.contracts import Mark
from mlrun.journal.snapshot import read_journal

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.contracts import Op
    from mlrun.journal import Writer


def test_records_come_back_in_order_with_their_marks(journal: Path, writer: Writer) -> None:
    first: Op = ("put", "runs", {"run_id": "r", "name": "ü😀\x00", "notes": None, "iteration": 3})
    second: Op = ("del", "tags", {"run_id": "r", "tag": "x"})
    writer.record([first, second])
    middle = writer.position()
    writer.record([("put", "results", {"num": math.inf})])
    found = list(read_journal(journal).ops({}))
    assert [ops for _, _, ops in found] == [
        [first, second],
        [("put", "results", {"num": math.inf})],
    ]
    assert found[0][1] == Mark(middle.log, middle.offset, 0, 0)
    assert next(read_journal(journal).ops({writer.name: middle}))[2] == found[1][2]
    assert list(read_journal(journal).ops({writer.name: writer.position()})) == []


def test_a_record_that_json_cannot_hold_is_refused_and_leaves_no_trace(
    journal: Path, writer: Writer
) -> None:
    with pytest.raises(TypeError):
        writer.record([("put", "runs", {"run_id": b"bytes"})])
    assert list(read_journal(journal).ops({})) == []


def test_logs_rotate_and_marks_go_on(
    journal: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.close()
    monkeypatch.setattr("mlrun.journal.streams.ROTATE_BYTES", 300)
    for i in range(40):
        writer.record([("put", "runs", {"run_id": str(i)})])
    snapshot = read_journal(journal)
    info = snapshot.writers[writer.name]
    assert len(info.logs) > 5
    assert [log.sealed for log in info.logs] == [True] * (len(info.logs) - 1) + [False]
    found = list(snapshot.ops({}))
    assert [ops[0][2]["run_id"] for _, _, ops in found if ops] == [str(i) for i in range(40)]
    for i, (_, mark, _) in enumerate(found):
        rest = [ops for _, _, ops in snapshot.ops({writer.name: mark}) if ops]
        assert rest == [ops for _, _, ops in found[i + 1 :] if ops]


def test_console_lines_come_back(journal: Path, writer: Writer) -> None:
    writer.text("p", "r", [(5, "stdout", "a"), (6, "stderr", "b\x00ü")])
    writer.text("p", "s", [(7, "stdout", "c")])
    rows = read_journal(journal).text(after={}).to_pylist()
    assert [(r["run_id"], r["stream"], r["line"]) for r in rows] == [
        ("r", "stdout", "a"),
        ("r", "stderr", "b\x00ü"),
        ("s", "stdout", "c"),
    ]
    seqs = [r["seq"] for r in rows]
    assert seqs == sorted(set(seqs))
    only = read_journal(journal).text(after={}, run_ids=["s"]).to_pylist()
    assert only == rows[2:]
    assert read_journal(journal).text(after={writer.name: 1}).num_rows == 0
