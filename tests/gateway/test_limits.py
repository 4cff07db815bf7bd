from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlrun.errors import RateLimited
from mlrun.storage.gateway_http import Http
from mlrun.wire import API

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.testing.gatewaythread import GatewayThread


def test_a_caller_who_asks_too_much_is_told_when_to_come_again(
    serve: Callable[..., GatewayThread],
) -> None:
    gateway = serve(requests_per_second=2.0)
    http = Http(gateway.url)
    for _ in range(4):
        http.send("GET", f"{API}/me")
    with pytest.raises(RateLimited, match="local sends more than 2 requests a second"):
        http.send("GET", f"{API}/me")
    http.send("GET", f"{API}/me", again=True)  # waits as it was told, and comes again
    assert http.send("GET", "/healthz").status == 200
    assert 'mlrun_rate_limited_total{what="requests"}' in gateway.gateway.figures.text()
    http.close()
