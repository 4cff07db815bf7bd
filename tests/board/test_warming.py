from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app import warming
from mlrun.errors import ObjectError
from mlrun.store import open_store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which verbs are called."""
    noted: list[str] = []

    def watched(name: str) -> Any:
        verb = getattr(mlrun, name)

        def call(*args: Any, **given: Any) -> Any:
            noted.append(name)
            return verb(*args, **given)

        return call

    for name in ("projects", "runs", "metrics"):
        monkeypatch.setattr(mlrun, name, watched(name))
    return noted


def test_a_store_in_a_folder_is_asked_what_the_first_pages_ask(asked: list[str]) -> None:
    with mlrun.init(project="p") as run:
        run.log({"loss": 0.5})
    warming.warm(open_store())
    assert set(asked) == {"projects", "runs", "metrics"}


def test_a_store_that_is_not_there_is_not_made(asked: list[str], tmp_path: Path) -> None:
    warming.warm(open_store(tmp_path / "none"))
    assert asked == []
    assert not (tmp_path / "none").exists()


def test_a_gateway_is_asked_nothing(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "answering", lambda store: store)
    with mlrun.init(project="p"):
        pass
    warming.warm(open_store())
    assert asked == []


def test_what_is_wrong_with_a_store_is_left_to_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken(**_: Any) -> None:
        asked.append("projects")
        raise ObjectError("gone")

    with mlrun.init(project="p"):
        pass
    monkeypatch.setattr(mlrun, "projects", broken)
    warming.warm(open_store())  # raises nothing
    assert asked == ["projects"]
