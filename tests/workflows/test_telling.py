"""Notifications of runs and workflows: who sends them, and what the run says of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

import mlrun
from mlrun.errors import RunError
from mlrun.notices import MlrunWarning


def good(x: int = 1) -> int:
    return x


def bad() -> None:
    raise ValueError("boom")


def told_of(view: Any) -> list[tuple[str, str]]:
    rows = view.refresh().labels.get("mlrun/notifications") or []
    return [(row["name"], row["status"]) for row in rows]


CONSOLE = {"kind": "console", "message": "{name} {state} {results[y]}"}


def test_a_run_tells_and_keeps_what_became_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    only_errors = mlrun.Notification("console", name="errors", when=("error",))
    view = mlrun.run_function(good, returns=["y"], notifications=[CONSOLE, only_errors], local=True)
    assert "[info] good completed 1" in capsys.readouterr().err
    assert told_of(view) == [("console", "sent"), ("errors", "skipped")]


def test_a_run_beside_the_caller_tells_too(capfd: pytest.CaptureFixture[str]) -> None:
    view = mlrun.run_function(good, returns=["y"], notifications=[CONSOLE], watch=False)
    end = time.monotonic() + 60
    while not told_of(view):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert told_of(view) == [("console", "sent")]


def test_what_cannot_be_sent_changes_no_end_and_is_recorded() -> None:
    hook = {"kind": "webhook", "params": {"url": "http://127.0.0.1:1/x"}}
    with pytest.warns(MlrunWarning, match="was not sent"):
        view = mlrun.run_function(good, notifications=[hook], local=True)
    assert view.state == "completed"
    assert told_of(view) == [("webhook", "error")]


def test_a_failed_run_tells(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunError) as caught:
        mlrun.run_function(bad, notifications=[{"kind": "console"}], local=True)
    assert "error\nValueError: boom" in capsys.readouterr().err
    assert told_of(caught.value.run) == [("console", "sent")]


def test_a_workflow_tells_of_its_begin_its_end_and_its_steps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mlrun.workflows.workflow import Plan, run_workflow

    def flow() -> None:
        mlrun.run_function(good, local=True)

    both = {"kind": "console", "when": ["running", "completed"]}
    view = run_workflow(Plan(flow, "night", notifications=[both]))
    said = capsys.readouterr().err
    assert "workflow 'night' in project 'default': running" in said
    assert "workflow 'night' in project 'default': completed\n✅ good: completed" in said
    assert told_of(view) == [("console", "sent")]
