"""Who has an account at the organisation's OpenID provider signs in with it, and sees what the gateway lets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.keys import Keys
from mlrun.store import open_store
from mlrun.testing.gatewaythread import GatewayThread
from mlrun.testing.oidcprovider import OidcProvider

from .conftest import Dashboard, free_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("browser")

SECRETS = """
[auth]
redirect_uri = "{url}/oauth2callback"
cookie_secret = "of this test alone, and long enough"
client_id = "board"
client_secret = "of this client"
server_metadata_url = "{issuer}/.well-known/openid-configuration"
expose_tokens = ["id"]
"""


def test_who_signs_in_with_the_organisation_sees_their_projects_alone(
    own_folder: Path, page: Any
) -> None:
    mlrun.init("mine", "found").finish()
    mlrun.init("theirs", "hidden").finish()
    store = open_store()
    access = Keys(store.records)
    access.set_role("ann@example.org", "mine", "viewer")
    access.set_role("bob", "mine", "viewer")
    key, _ = access.create("bob")
    port = free_port()
    with (
        OidcProvider(email="ann@example.org", audience="board") as provider,
        GatewayThread(
            store, flight_port=None, oidc_issuer=provider.url, oidc_audience="board"
        ) as gateway,
    ):
        (own_folder / ".streamlit").mkdir()
        told = SECRETS.format(url=f"http://127.0.0.1:{port}", issuer=provider.url)
        (own_folder / ".streamlit" / "secrets.toml").write_text(told)
        board = Dashboard(gateway.url, port, MLRUN_UI_SIGN_IN="1", AUTHLIB_INSECURE_TRANSPORT="1")
        try:
            page.goto(board.at("runs", project="mine"))
            page.get_by_role("button", name="Sign in with your organisation").click()
            page.get_by_text("Signed in as oidc:ann@example.org").wait_for()
            page.goto(board.at("runs"))
            page.get_by_text("1 run").first.wait_for()
            assert page.get_by_text("theirs").count() == 0
            page.get_by_role("button", name="Sign out").click()
            page.get_by_role("button", name="Sign in with your organisation").wait_for()

            # with a key one stays at the address that one came for
            page.goto(board.at("runs", project="mine"))
            page.get_by_label("Key").fill(key)
            page.get_by_role("button", name="Sign in", exact=True).click()
            page.get_by_text("Signed in as key:bob").wait_for()
            page.get_by_role("heading", name="Runs", level=1).wait_for()
            assert page.url == board.at("runs", project="mine")
        finally:
            board.close()
