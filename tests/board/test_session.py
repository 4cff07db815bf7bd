from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from streamlit.testing.v1 import AppTest

import mlrun
from mlrun.app.board import session
from mlrun.gatewaystore import GatewayStore
from mlrun.store import open_store
from mlrun.testing.gatewaythread import GatewayThread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "the-token-of-this-test"
MAIN = "from mlrun.app.board.shell import main\nmain()\n"


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayThread]:
    """Serve a store with one run; the dashboard is one that others can reach."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with mlrun.init(project="digits") as run:
        run.log({"loss": 0.5})
    with GatewayThread(open_store(), TOKEN) as running:
        monkeypatch.setenv("MLRUN_DBPATH", running.url)
        monkeypatch.setattr(session, "_alone", lambda: False)
        yield running


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what sessions have opened: a test's session does not end."""
    opened: list[GatewayStore] = []

    class Noted(GatewayStore):
        def __init__(self, url: str, key: str = "") -> None:
            super().__init__(url, key)
            opened.append(self)

    monkeypatch.setattr(session, "GatewayStore", Noted)
    yield
    for store in opened:
        store.close()


def app() -> AppTest:
    return AppTest.from_string(MAIN, default_timeout=60).run()


def signed_in(page: AppTest, key: str) -> AppTest:
    page.text_input[0].set_value(key)
    return page.button[0].click().run()


def test_beyond_this_host_nothing_is_shown_before_a_key_that_the_gateway_knows(
    gateway: GatewayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLRUN_API_KEY", TOKEN)  # of whoever started it
    page = app()
    assert not page.exception
    assert [t.label for t in page.text_input] == ["Key"]
    assert not page.title
    for wrong in ("", "mlr_wrong"):
        page = signed_in(page, wrong)
        assert not page.exception
        assert page.text_input
        assert not page.title
    page = signed_in(page, TOKEN)
    assert not page.exception
    assert [t.value for t in page.title] == ["Home"]
    assert TOKEN not in repr(page.main)


def test_the_token_of_a_provider_is_shown_to_the_gateway(
    gateway: GatewayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_identity", lambda: TOKEN)
    assert [t.value for t in app().title] == ["Home"]


def test_a_store_in_a_folder_is_not_shown_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with mlrun.init(project="digits") as run:
        run.log({"loss": 0.5})
    monkeypatch.setattr(session, "_alone", lambda: False)
    page = app()
    assert not page.exception
    assert "mlrun server" in page.code[0].value
    assert not page.dataframe


def test_rights_follow_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Any] = {"user": "ann", "roles": {"": "viewer", "mine": "editor"}}
    monkeypatch.setattr(session, "who", lambda: known)
    assert session.may("viewer", "others")
    assert session.may("editor", "mine")
    assert not session.may("editor", "others")
    assert not session.may("admin", "mine")
