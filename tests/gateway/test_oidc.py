"""Bearer tokens of an OpenID provider: which are good; nothing but roles given here lets anybody do anything."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import mlrun
from mlrun.app.keys import Keys
from mlrun.errors import AccessDenied, ConfigError, NotSignedIn
from mlrun.storage.gateway_http import Http
from mlrun.store import open_store
from mlrun.testing.oidcprovider import OidcProvider
from mlrun.wire import API

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.testing.gatewaythread import GatewayThread

OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with OidcProvider() as found:
        yield found


def forged(provider: OidcProvider) -> str:
    """Signed with the public key as if it were a shared secret."""
    public = provider.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    good = provider.token().split(".")[1]
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"one"}').rstrip(b"=")
    text = head + b"." + good.encode()
    mark = base64.urlsafe_b64encode(hmac.new(public, text, hashlib.sha256).digest()).rstrip(b"=")
    return (text + b"." + mark).decode()


def unsigned(provider: OidcProvider) -> str:
    good = provider.token().split(".")[1]
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT","kid":"one"}').rstrip(b"=")
    return f"{head.decode()}.{good}."


def test_a_good_token_has_the_roles_that_were_given_here(
    serve: Callable[..., GatewayThread], provider: OidcProvider
) -> None:
    mlrun.init("mine", "a").finish()
    mlrun.init("theirs", "b").finish()
    store = open_store()
    gateway = serve(store, oidc_issuer=provider.url, oidc_audience="mlrun")
    http = Http(gateway.url, key=provider.token())
    me = json.loads(http.send("GET", f"{API}/me").body)
    assert me == {"name": "oidc:ann@example.org", "server": "", "roles": {}} | {
        "scopes": ["admin", "read", "write"]
    }
    assert json.loads(http.send("GET", f"{API}/projects").body)["rows"] == []
    Keys(store.records).set_role("ann@example.org", "mine", "viewer")
    gateway.gateway.auth.forget()
    rows = json.loads(http.send("GET", f"{API}/runs?columns=project").body)["rows"]
    assert rows == [{"project": "mine"}]
    with pytest.raises(AccessDenied):
        http.send("POST", f"{API}/runs/delete", b'{"where": "true", "project": "mine"}')
    http.close()


def test_every_other_token_is_refused(
    serve: Callable[..., GatewayThread], provider: OidcProvider
) -> None:
    gateway = serve(oidc_issuer=provider.url, oidc_audience="mlrun")
    assert gateway.gateway.auth.has_keys()
    for bad in (
        provider.token(OTHER),
        provider.token(iss="http://evil.example"),
        provider.token(aud="another"),
        provider.token(aud=None),
        provider.token(exp=None),
        provider.token(exp=time.time() - 3600),
        provider.token(nbf=time.time() + 3600),
        provider.token(email=None),
        provider.token(email=7),
        provider.token(email_verified=False),
        forged(provider),
        unsigned(provider),
        "a.b.c",
        "..",
    ):
        http = Http(gateway.url, key=bad)
        with pytest.raises(NotSignedIn):
            http.send("GET", f"{API}/me")
        http.close()


def test_an_issuer_without_an_audience_is_refused(serve: Callable[..., GatewayThread]) -> None:
    with pytest.raises(ConfigError, match="audience"):
        serve(oidc_issuer="http://127.0.0.1:1")
