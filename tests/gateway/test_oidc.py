"""Bearer tokens of an OpenID provider: which are good; nothing but roles given here lets anybody do anything."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import mlrun
from mlrun.app.keys import Keys
from mlrun.errors import AccessDenied, ConfigError, NotSignedIn
from mlrun.storage.gateway_http import Http
from mlrun.store import open_store
from mlrun.wire import API

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.testing.gatewaythread import GatewayThread

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


@pytest.fixture
def issuer() -> Iterator[str]:
    class Provider(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            where = f"http://{self.headers['Host']}"
            told: dict[str, Any] = {"jwks_uri": f"{where}/keys"}
            if self.path == "/keys":
                own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
                told = {"keys": [{**own, "kid": "one", "use": "sig", "alg": "RS256"}]}
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def token(issuer: str, key: Any = KEY, **claims: Any) -> str:
    told = {
        "iss": issuer, "aud": "mlrun", "email": "ann@example.org", "exp": time.time() + 60, **claims,
    }  # fmt: skip
    kept = {k: v for k, v in told.items() if v is not None}
    return jwt.encode(kept, key, algorithm="RS256", headers={"kid": "one"})


def forged(issuer: str) -> str:
    """Signed with the public key as if it were a shared secret."""
    good = token(issuer).split(".")[1]
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"one"}').rstrip(b"=")
    text = head + b"." + good.encode()
    mark = base64.urlsafe_b64encode(hmac.new(PUBLIC, text, hashlib.sha256).digest()).rstrip(b"=")
    return (text + b"." + mark).decode()


def unsigned(issuer: str) -> str:
    good = token(issuer).split(".")[1]
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT","kid":"one"}').rstrip(b"=")
    return f"{head.decode()}.{good}."


def test_a_good_token_has_the_roles_that_were_given_here(
    serve: Callable[..., GatewayThread], issuer: str
) -> None:
    mlrun.init("mine", "a").finish()
    mlrun.init("theirs", "b").finish()
    store = open_store()
    gateway = serve(store, oidc_issuer=issuer, oidc_audience="mlrun")
    http = Http(gateway.url, key=token(issuer))
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


def test_every_other_token_is_refused(serve: Callable[..., GatewayThread], issuer: str) -> None:
    gateway = serve(oidc_issuer=issuer, oidc_audience="mlrun")
    assert gateway.gateway.auth.has_keys()
    for bad in (
        token(issuer, OTHER),
        token("http://evil.example"),
        token(issuer, aud="another"),
        token(issuer, aud=None),
        token(issuer, exp=None),
        token(issuer, exp=time.time() - 3600),
        token(issuer, nbf=time.time() + 3600),
        token(issuer, email=None),
        token(issuer, email=7),
        token(issuer, email_verified=False),
        forged(issuer),
        unsigned(issuer),
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
