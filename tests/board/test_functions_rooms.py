from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from mlrun.app.board.functions_diff import code_of, diff, grouped, needs_of


def _source(text: str, **more: object) -> dict[str, object]:
    return {"code": {"kind": "source", "text": text, "filename": "a.py"}, **more}


def test_what_differs_is_told_of_code_and_needs() -> None:
    old = _source("a\nb\n", requirements=["x"], env={"MY_TOKEN": "one", "LEVEL": "1"})
    new = _source("a\nc\n", requirements=["x", "y"], env={"MY_TOKEN": "two", "LEVEL": "1"})
    lines = diff(old, new, ("111", "222")).splitlines()
    assert "-b" in lines
    assert "+c" in lines
    assert "+++ needs of 222" in lines
    assert not [line for line in lines if "one" in line or "two" in line]
    assert diff(old, old, ("1", "1")) == ""


def test_secrets_among_the_needs_are_hidden() -> None:
    needs = needs_of(_source("", env={"API_KEY": "sk-123456", "LEVEL": "1"}, kind="job"))
    assert "sk-123456" not in str(needs)
    assert '"LEVEL": "1"' in needs["env"]
    assert needs["kind"] == "job"


def test_code_of_every_kind_is_text_and_pickles_stay_shut() -> None:
    assert code_of(_source("x")) == ("x", "python")
    assert code_of({"code": {"kind": "module", "name": "a.b"}}) == ("import a.b", "python")
    assert code_of({"code": {"kind": "command", "path": "run.sh", "args": [1]}})[0] == "run.sh 1"
    assert "not opened" in code_of({"code": {"kind": "pickle", "data": "gAVL"}})[0]
    assert code_of({})[1] == ""


def test_functions_are_one_row_each_the_latest_changed_first() -> None:
    when = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 3, 2)]
    frame = pl.DataFrame(
        {
            "project": ["p"] * 3, "name": ["a", "a", "b"], "hash": ["1", "2", "3"], "created_at": when,
            "kind": ["job"] * 3, "handler": ["old", "new", None], "description": [None] * 3,
        }
    )  # fmt: skip
    found = grouped(frame).select("name", "versions", "handler").rows()
    assert found == [("a", 2, "new"), ("b", 1, None)]
