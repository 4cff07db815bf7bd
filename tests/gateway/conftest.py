from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun import verbs
from mlrun.care import compaction
from mlrun.gatewaystore import GatewayStore
from mlrun.store import Store, open_store
from mlrun.testing.gatewaythread import GatewayThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "the-token-of-this-test"


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tokens, keys, spools and caches of a test in a folder beside its own."""
    beside = tmp_path.with_name(f"{tmp_path.name}-state")
    monkeypatch.setenv("XDG_STATE_HOME", str(beside))
    monkeypatch.setenv("MLRUN_CACHE", str(beside / "cache"))
    monkeypatch.setenv("MLRUN_API_KEY", TOKEN)
    return beside


@pytest.fixture
def serve() -> Iterator[Callable[..., GatewayThread]]:
    """Start gateways over stores; they end with the test."""
    running: list[GatewayThread] = []

    def start(store: Store | None = None, **options: Any) -> GatewayThread:
        gateway = GatewayThread(store or open_store(), TOKEN, **options)
        running.append(gateway.__enter__())
        return gateway

    yield start
    for gateway in running:
        gateway.__exit__(None, None, None)


@pytest.fixture
def over_http(
    serve: Callable[..., GatewayThread], monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, GatewayStore]]:
    """Let the verbs ask a gateway over the store that they would ask themselves."""
    found: dict[str, GatewayStore] = {}
    plain = verbs._asked

    def asked(given: Any = None) -> Store:
        store = plain(given)
        if isinstance(store, GatewayStore):
            return store
        if store.url not in found:
            found[store.url] = GatewayStore(serve(store).url)
        return found[store.url]

    def compact(*, store: Any = None) -> dict[str, int]:
        return compaction.compact(plain(store))  # is done where the store is

    monkeypatch.setattr(verbs, "_asked", asked)
    monkeypatch.setattr(mlrun, "compact", compact)
    yield found
    for store in found.values():
        store.close()
