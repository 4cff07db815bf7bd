"""An OpenID provider for tests, on loopback: its keys, tokens of any content, and how a browser signs in there."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["OidcProvider"]


class OidcProvider:
    """A provider at which the same person is always signed in already; a context manager.

    Attributes:
        url: of the issuer.
        key: with which it signs.
        email: of the person.
        audience: the client that may ask for tokens.
    """

    def __init__(self, *, email: str = "ann@example.org", audience: str = "mlrun") -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.email, self.audience = email, audience
        self._codes: dict[str, str] = {}  # the nonce of who was sent back with it
        handler = type("Bound", (_Handler,), {"provider": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> OidcProvider:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def token(self, key: Any = None, **claims: Any) -> str:
        """Return a token; claims that are None are left out."""
        now = int(time.time())
        told = {
            "iss": self.url, "aud": self.audience, "sub": self.email, "email": self.email, "iat": now, "exp": now + 60,
            **claims,
        }  # fmt: skip
        kept = {k: v for k, v in told.items() if v is not None}
        return jwt.encode(kept, key or self.key, algorithm="RS256", headers={"kid": "one"})

    def configuration(self) -> dict[str, Any]:
        """Return the document from which clients learn the rest."""
        return {
            "issuer": self.url, "jwks_uri": f"{self.url}/keys", "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token", "response_types_supported": ["code"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
        }  # fmt: skip

    def keys(self) -> dict[str, Any]:
        """Return what tokens are checked with."""
        own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**own, "kid": "one", "use": "sig", "alg": "RS256"}]}

    def back(self, asked: dict[str, str]) -> str:
        """Return where a browser is sent that wants to sign in."""
        code = f"code{len(self._codes)}"
        self._codes[code] = asked.get("nonce", "")
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def tokens(self, asked: dict[str, str]) -> dict[str, Any]:
        """Return what a code is exchanged for, once; KeyError if it is not known."""
        identity = self.token(nonce=self._codes.pop(asked["code"]))
        return {
            "access_token": "opaque", "token_type": "Bearer", "expires_in": 60, "id_token": identity,
        }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    provider: OidcProvider

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        if place.path == "/authorize":
            self.send_response(302)
            self.send_header("Location", self.provider.back(_plain(place.query)))
            self.end_headers()
            return
        self._tell(self.provider.keys() if place.path == "/keys" else self.provider.configuration())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._tell(self.provider.tokens(_plain(body)))

    def _tell(self, what: dict[str, Any]) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _plain(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}
