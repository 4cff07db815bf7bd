from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import mlrun
from mlrun.cli.root import run as command
from mlrun.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUIET: dict[str, Any] = {"quiet": True, "console": False, "system_metrics": False, "git": False}
HOSTILE = "evil\x1b[2J[red]\u202e<b>"


class Answer(NamedTuple):
    """What a command left: exit code and what it printed."""

    code: int
    out: str
    err: str


def fill(folder: Path) -> Store:
    store = open_store(folder)
    for number in range(3):
        with mlrun.init(
            project="digits",
            name=f"mlp{number}",
            config={"lr": 0.1 * number, "opt": {"name": "adam"}},
            tags=["base", "b"] if number else [],
            labels={"team": "cv"},
            store=store,
            **QUIET,
        ) as run:
            for step in range(100):
                loss = math.nan if step == 50 else 1.0 / (step + 1 + number)
                run.log({"loss": loss, "val/acc": step / 100}, step=step)
            run.log_result("accuracy", 0.9 + number / 100)
            run.log_artifact("note", body=f"text {number}", aliases=["best"])
            lines = [(step * 1_000_000, "stdout", f"line {step}") for step in range(5)]
            store.writer().text("digits", run.id, [*lines, (9_000_000, "stderr", HOSTILE)])
    with mlrun.init(project="digits", name="kid", parent=run.id, store=store, **QUIET):
        pass
    failing = mlrun.init(project="other", name=HOSTILE, notes="a\tb\nc", store=store, **QUIET)
    with pytest.raises(ValueError, match="boom"), failing:
        raise ValueError("boom")
    store.writer().close()
    store.close()
    return store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Five runs of two projects, still in the journal; tests only read it."""
    return fill(tmp_path_factory.mktemp("cli") / "store")


@pytest.fixture
def cli(store: Store, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Call a command in this process; stdout is no terminal."""

    def call(*words: object, store: Store | str | None = store) -> Answer:
        capsys.readouterr()
        place = [] if store is None else ["--store", str(getattr(store, "folder", store))]
        code = command([*place, *map(str, words)])
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture
def tty(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Call a command with a stdout that says it is a terminal of 100 columns."""
    import sys

    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*words: object, **options: Any) -> Answer:
        with monkeypatch.context() as patch:
            patch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
            return cli(*words, **options)

    return call
