"""Bearer tokens of an OpenID provider: a JWT whose signature, issuer, audience and times are checked.

The roles of its user are those that were given here; a user without any may do nothing.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from typing import TYPE_CHECKING, Any

import jwt

from mlrun.errors import ConfigError, NotSignedIn, StoreBusy

if TYPE_CHECKING:
    from .options import Options

__all__ = ["Oidc"]

_ALGORITHMS = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]
_SECONDS = 5.0
_LEEWAY = 30  # seconds by which clocks may differ


class Oidc:
    """Checks tokens of one issuer.

    Args:
        options: issuer, audience, claim; the addresses in them are the operator's, never a caller's.
    """

    def __init__(self, options: Options) -> None:
        if not options.oidc_audience:
            raise ConfigError("--oidc-issuer needs --oidc-audience: for whom its tokens are made")
        self._options = options
        self._lock = threading.Lock()
        self._client: jwt.PyJWKClient | None = None

    def user_of(self, token: str) -> tuple[str, int]:
        """Return the user that a token names, and when it expires (microseconds since 1970).

        Raises:
            NotSignedIn: it is not good.
            StoreBusy: the issuer's keys cannot be had just now.
        """
        try:
            key = self._keys().get_signing_key_from_jwt(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._options.oidc_audience,
                issuer=self._options.oidc_issuer,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWKClientConnectionError, OSError) as error:
            raise StoreBusy("the keys of the identity provider cannot be had: try again") from error
        except jwt.PyJWTError:
            raise NotSignedIn("the token is not good: sign in again") from None
        user = claims.get(self._options.oidc_claim)
        if not isinstance(user, str) or not user:
            raise NotSignedIn(f"the token has no claim {self._options.oidc_claim!r}")
        if self._options.oidc_claim == "email" and claims.get("email_verified") is False:
            raise NotSignedIn("the token's e-mail address is not verified")
        return user, int(claims["exp"]) * 1_000_000

    def _keys(self) -> jwt.PyJWKClient:
        with self._lock:
            if self._client is None:
                url = self._options.oidc_jwks or self._configured()
                self._client = jwt.PyJWKClient(url, cache_keys=True, lifespan=300, timeout=_SECONDS)
            return self._client

    def _configured(self) -> str:
        issuer = self._options.oidc_issuer.rstrip("/")
        where = f"{issuer}/.well-known/openid-configuration"
        with urllib.request.urlopen(where, timeout=_SECONDS) as answer:
            return str(json.load(answer)["jwks_uri"])
