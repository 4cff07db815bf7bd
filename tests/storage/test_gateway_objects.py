from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.app.auth import Caller
from mlrun.errors import NotFound, ObjectError
from mlrun.gatewaystore import GatewayStore
from mlrun.storage import gateway_objects
from mlrun.store import Store
from mlrun.testing.gatewaythread import GatewayThread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, Any]]:
    """A store, and objects of it through a gateway."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MLRUN_API_KEY", "token")
    store = Store(tmp_path / "store")
    with GatewayThread(store, "token") as gateway:
        client = GatewayStore(gateway.url)
        yield store, client.objects
        client.close()


def content(objects: Any, sha256: str, **options: Any) -> bytes:
    with objects.open(sha256, **options) as file:
        found: bytes = file.read()
    return found


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_bytes_are_safe_here_before_they_are_there(behind: Any) -> None:
    store, objects = behind
    stored = objects.put(b"abc")
    assert (stored.sha256, stored.size) == (sha(b"abc"), 3)
    with pytest.raises(NotFound):
        store.objects.open(stored.sha256)
    assert content(objects, stored.sha256) == b"abc"
    path = objects.path(stored.sha256)
    objects.deliver(stored.sha256)
    assert content(store.objects, stored.sha256) == b"abc"
    assert path.read_bytes() == b"abc"
    objects.deliver(stored.sha256)  # nothing waits any more


def test_large_bytes_arrive_in_pieces_and_come_back(
    behind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlrun.storage.gateway_objects._PIECE", 300_000)
    store, objects = behind
    data = os.urandom(1_000_000)
    objects.deliver(objects.put(data).sha256)
    assert content(store.objects, sha(data), verify=True) == data
    objects._cache.forget(sha(data))
    assert content(objects, sha(data), verify=True) == data


def test_an_upload_goes_on_where_it_stopped(behind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlrun.storage.gateway_objects._PIECE", 300_000)
    store, objects = behind
    data = os.urandom(1_000_000)
    stored = objects.put(data)
    assert objects._send_piece(stored.sha256, data[:300_000], 0, len(data)) == {
        "stored": False,
        "offset": 300_000,
    }
    assert objects._send_piece(stored.sha256, data[:300_000], 0, len(data)) == {
        "stored": False,
        "offset": 300_000,
    }
    assert objects._send_piece(stored.sha256, data[600_000:], 600_000, len(data)) == {
        "stored": False,
        "offset": 300_000,
    }
    objects.deliver(stored.sha256)
    assert content(store.objects, stored.sha256, verify=True) == data


def test_bytes_with_another_hash_get_no_name(behind: Any) -> None:
    store, objects = behind
    with pytest.raises(ObjectError, match="another hash"):
        objects._send_piece(sha(b"abc"), b"abd", 0, 3)
    assert list(store.objects.list()) == []
    objects.deliver(objects.put(b"abc").sha256)
    assert [o.sha256 for o in store.objects.list()] == [sha(b"abc")]


def test_what_is_not_there_is_not_found(behind: Any) -> None:
    _, objects = behind
    for name in (sha(b"never"), "..", "../../etc/passwd", ""):
        with pytest.raises(NotFound):
            objects.path(name)
        assert objects.delete(name) is False


def test_empty_bytes(behind: Any) -> None:
    store, objects = behind
    objects.deliver(objects.put(b"").sha256)
    assert [o.size for o in store.objects.list()] == [0]
    objects._cache.forget(sha(b""))
    assert content(objects, sha(b"")) == b""


def test_list_and_delete_reach_both_sides(behind: Any) -> None:
    store, objects = behind
    objects.deliver(objects.put(b"there").sha256)
    objects.put(b"here")
    assert {o.sha256 for o in objects.list()} == {sha(b"there"), sha(b"here")}
    assert objects.delete(sha(b"there"))
    assert objects.delete(sha(b"here"))
    assert list(objects.list()) == list(store.objects.list()) == []


def test_bytes_are_given_to_who_may_read_a_record_that_names_them(behind: Any) -> None:
    store, objects = behind
    objects.deliver(objects.put(b"secret").sha256)
    objects.deliver(objects.put(b"loose").sha256)
    row = {
        "project": "theirs",
        "key": "k",
        "type": "file",
        "size": 6,
        "sha256": sha(b"secret"),
        "uri": "x",
        "meta": "{}",
        "created_at": 1,
        "run_id": "r",
    }
    store.records.apply([("artifact", "", row)])
    from mlrun.app.objects_part import ObjectsPart

    class Room:
        def __init__(self) -> None:
            self.store = store

    part = ObjectsPart(Room())
    part._need_read(sha(b"secret"), Caller("k", roles={"theirs": "viewer"}))
    part._need_read(sha(b"loose"), Caller("k", roles={"mine": "viewer"}))
    for caller in (Caller("k", roles={"mine": "editor"}), Caller("k")):
        with pytest.raises(NotFound):
            part._need_read(sha(b"secret"), caller)


@pytest.mark.s3
def test_bytes_in_a_bucket_are_read_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_url: str
) -> None:
    monkeypatch.setattr("mlrun.storage.gateway_objects._PIECE", 300_000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MLRUN_API_KEY", "token")
    fetched: list[str] = []
    real = gateway_objects._from_elsewhere

    def elsewhere(url: str, headers: dict[str, str]) -> tuple[bytes, int]:
        fetched.append(url)
        if len(fetched) == 2:
            raise OSError("the bucket cannot be reached from here")
        found: tuple[bytes, int] = real(url, headers)
        return found

    monkeypatch.setattr(gateway_objects, "_from_elsewhere", elsewhere)
    data = os.urandom(1_000_000)
    with GatewayThread(Store(tmp_path / "store", objects=s3_url), "token") as gateway:
        client = GatewayStore(gateway.url)
        objects: Any = client.objects
        objects.deliver(objects.put(data).sha256)
        objects._cache.forget(sha(data))
        assert content(objects, sha(data), verify=True) == data
        assert len(fetched) == 2  # from then on the gateway passes the bytes
        client.close()
