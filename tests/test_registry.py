"""The registry: ours by name, strangers' through entry points, and errors that say what to do."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from mlrun import registry
from mlrun.errors import ConfigError, MissingExtra


class Stranger:
    """What somebody else's package brings."""


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package serves a scheme and an executor, and claims one of ours."""

    def found(group: str) -> list[EntryPoint]:
        names = {"mlrun.storages": ("tape", "file"), "mlrun.executors": ("moon", "local")}[group]
        return [EntryPoint(name, f"{__name__}:Stranger", group) for name in names]

    monkeypatch.setattr(registry, "_entry_points", found)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Stranger)


@pytest.mark.parametrize(
    ("url", "name"),
    [("sqlite:///x", "SQLiteRecords"), ("delta:///x", "DeltaSeries"), ("file:///x", "FileObjects")],
)
def test_a_scheme_names_its_class(url: str, name: str) -> None:
    assert registry.storage_class(url).__name__ == name


def test_an_executor_is_found_by_its_name() -> None:
    assert registry.executor_class("local").__name__ == "LocalExecutor"


@pytest.mark.usefixtures("strangers")
def test_strangers_come_in_by_entry_points_and_never_in_place_of_ours() -> None:
    assert registry.storage_class("tape://reel/1") is Stranger
    assert registry.executor_class("moon") is Stranger
    assert registry.storage_class("file:///x").__name__ == "FileObjects"
    assert registry.executor_class("local").__name__ == "LocalExecutor"


@pytest.mark.usefixtures("strangers")
def test_an_unknown_name_suggests_the_nearest_and_shows_no_more_of_a_url_than_its_scheme() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'tape'.*known: .*file, .*sqlite, tape"):
        registry.storage_class("tap://me:hunter2@host/x")
    with pytest.raises(ConfigError) as told:
        registry.storage_class("tap://me:hunter2@host/x")
    assert "hunter2" not in str(told.value)
    with pytest.raises(ConfigError, match=r"no executor for 'locl'.*did you mean 'local'"):
        registry.executor_class("locl")


def test_a_driver_that_is_missing_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="ray")

    monkeypatch.setattr(registry, "import_module", fails)
    with pytest.raises(MissingExtra, match=r"mlrun-arrow\[ray\]"):
        registry.executor_class("ray")
    with pytest.raises(ModuleNotFoundError):  # a part of ours is missing: no extra brings that
        registry.storage_class("file:///x")
