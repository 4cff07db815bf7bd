from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.board import admin_keys, session
from mlrun.app.board.admindesk import Desk, audit_page
from mlrun.app.board.storesize import sizes
from mlrun.care.retention import policies
from mlrun.errors import AccessDenied
from mlrun.gatewaystore import GatewayStore
from mlrun.store import open_store
from mlrun.testing.gatewaythread import GatewayThread

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GatewayStore]:
    """Return the store of this test over a gateway, as an admin of it, and have the page ask it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(mlrun.app.board.session, "is_remote", lambda: True)
    with mlrun.init(project="p") as run:
        run.log({"loss": 0.5})
    with GatewayThread(open_store(), "token") as gateway:
        store = GatewayStore(gateway.url, key="token")
        monkeypatch.setattr(session, "store", lambda: store)
        monkeypatch.setattr(session, "who", store.gateway.whoami)
        yield store
        store.close()


def _user_of(url: str, key: str) -> str:
    with closing(GatewayStore(url, key=key)) as store:
        return str(store.gateway.whoami()["user"])


def test_keys_are_made_shown_once_and_revoked(
    opened: Callable[..., Any], away: GatewayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened("admin")
    assert not page.exception
    assert "No keys yet" in shown(page)
    next(b for b in page.button if b.label == "Make it").click().run()
    assert "say who" in page.error[0].value
    page.text_input(key="_user").set_value("vera")
    page.text_input(key="_for").set_value(HOSTILE)
    next(b for b in page.button if b.label == "Make it").click().run()
    assert not page.exception
    key = page.code[0].value
    assert _user_of(away.url, key).startswith("key:vera/")
    assert page.dataframe[0].value["name"].to_list() == [HOSTILE]
    page.run()
    assert key not in shown(page)
    assert key not in str(page.session_state._state.filtered_state)
    real = admin_keys.st.dataframe
    monkeypatch.setattr(
        admin_keys.st, "dataframe",
        lambda frame, **k: (real(frame), {"selection": {"rows": [0]}})[1],
    )  # fmt: skip
    page.run()
    next(b for b in page.button if b.key and b.key.startswith("_revoke-")).click().run()
    assert "No keys yet" in shown(page)
    with pytest.raises(AccessDenied):
        _user_of(away.url, key)


def test_users_get_roles_and_are_refused(opened: Callable[..., Any], away: GatewayStore) -> None:
    desk = Desk(away)
    desk.make("vera", days=1, scopes=["read"], project="p")
    page = opened("admin", see="Users")
    assert not page.exception
    page.selectbox(key="_where").set_value("p").run()
    page.selectbox(key="_role").set_value("editor").run()
    page.button(key="_role_set").click().run()
    assert not page.exception
    assert desk.users()["roles"].to_list() == ['{"p": "editor"}']
    page.button(key="_disable").click().run()
    assert desk.users()["disabled"].to_list() == [True]
    page.selectbox(key="_role").set_value("none").run()
    page.selectbox(key="_where").set_value("p").run()
    page.button(key="_role_set").click().run()
    assert desk.users()["roles"].to_list() == ["{}"]


def test_the_audit_log_is_filtered_and_paged(
    opened: Callable[..., Any], away: GatewayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(away)
    for number in range(3):
        desk.make("vera" if number else HOSTILE)
    desk.set_role("vera", "p", "viewer")
    page = opened("admin", see="Audit", action="key.")
    assert not page.exception
    assert page.dataframe[0].value["action"].to_list() == ["key.create"] * 3
    assert audit_page(away, target="ver").height == 1
    assert audit_page(away, actor="nobody's").is_empty()
    assert audit_page(away, project="p")["action"].to_list() == ["role.set"]
    monkeypatch.setattr("mlrun.app.board.admindesk.PAGE", 3)
    assert [audit_page(away, number).height for number in (0, 1, 2)] == [4, 1, 0]


def test_a_gateway_tells_of_itself(opened: Callable[..., Any], away: GatewayStore) -> None:
    page = opened("admin", see="Health")
    assert not page.exception
    assert "limit: max_body" in page.dataframe[0].value["name"].to_list()
    assert "mlrun doctor" in shown(page)


def test_only_admins_of_the_server_see_anything(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlrun.init(project="p"):
        pass
    for roles in ({"": "editor", "p": "admin"}, {}):
        monkeypatch.setattr(session, "who", lambda roles=roles: {"user": "vera", "roles": roles})
        page = opened("admin", see="Audit")
        assert not page.exception
        assert "for admins" in shown(page)
        assert not page.dataframe


def test_a_store_in_a_folder_is_examined_and_measured(opened: Callable[..., Any]) -> None:
    with mlrun.init(project="p") as run:
        run.log_artifact("words", body="these bytes")
    page = opened("admin")
    assert not page.exception
    page.button(key="_quick").click().run()
    assert not page.exception
    assert page.success
    page.button(key="_measure").click().run()
    assert "journal" in page.dataframe[-1].value["part"].to_list()
    item = mlrun.get_artifact("p/words")
    item.path().chmod(0o600)
    item.path().write_bytes(b"other bytes")
    page.button(key="_whole").click().run()
    assert not page.exception
    assert page.error[0].value == "Something is lost."
    assert page.dataframe[0].value["severity"].to_list()[0] == "lost"


def test_sizes_count_files_and_follow_no_links(tmp_path: Path) -> None:
    (tmp_path / "s" / "deep").mkdir(parents=True)
    (tmp_path / "s" / "deep" / "a").write_bytes(b"12345")
    (tmp_path / "s" / "b").write_bytes(b"1")
    (tmp_path / "s" / "loop").symlink_to(tmp_path)
    found = sizes(tmp_path / "s").rows()
    assert ("deep", 1, 5) in found
    assert ("b", 1, 1) in found


def test_an_admin_is_warned_of_locking_themselves_out(
    opened: Callable[..., Any], away: GatewayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Desk(away).make("vera")
    monkeypatch.setattr(session, "who", lambda: {"user": "key:vera/abc", "roles": {"": "admin"}})
    page = opened("admin", see="Users")
    assert len(page.warning) == 2


def test_policies_are_set_and_wrong_ones_told(opened: Callable[..., Any]) -> None:
    with mlrun.init(project=HOSTILE):
        pass
    page = opened("admin", see="Retention")
    assert not page.exception
    page.number_input(key=f"_raw_days-{HOSTILE}").set_value(30)
    next(b for b in page.button if b.label.startswith("Set the policy")).click().run()
    assert not page.exception
    assert policies(open_store()).select("project", "raw_days").rows() == [(HOSTILE, 30)]
    page.number_input(key=f"_rollup_days-{HOSTILE}").set_value(3)
    next(b for b in page.button if b.label.startswith("Set the policy")).click().run()
    assert "at least as long" in page.error[0].value


def test_policies_are_set_over_a_gateway(opened: Callable[..., Any], away: GatewayStore) -> None:
    page = opened("admin", see="Retention")
    assert not page.exception
    page.number_input(key="_deleted_days-p").set_value(7)
    next(b for b in page.button if b.label.startswith("Set the policy")).click().run()
    assert policies(open_store()).select("project", "deleted_days").rows() == [("p", 7)]
