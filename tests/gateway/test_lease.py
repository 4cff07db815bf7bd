"""What only one host may do: keep the journal of writers elsewhere."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from mlrun.app import lease
from mlrun.app.lease import MIRROR, give_back, holder_of, need_no_other_host, take
from mlrun.cli.root import run as command
from mlrun.errors import ConfigError
from mlrun.store import open_store
from mlrun.tables import AUDIT, LEASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.testing.gatewaythread import GatewayThread


def test_a_lease_has_one_holder_until_it_ends() -> None:
    records = open_store().records
    barrier, told = threading.Barrier(4), dict[str, str]()

    def want(who: str) -> None:
        barrier.wait()
        told[who] = take(records, "x", who, place=f"place of {who}")

    threads = [threading.Thread(target=want, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [who for who, other in told.items() if not other]
    assert {other for other in told.values() if other} == {f"place of {winner}"}
    assert take(records, "x", winner, seconds=-1) == ""  # renewed, and over
    assert take(records, "x", "late") == ""
    give_back(records, "x", winner)
    assert records.lookup(LEASES, {"name": "x"})[0]["holder"] == "late"
    give_back(records, "x", "late")
    assert records.lookup(LEASES, {}) == []


def test_a_second_host_is_refused_until_the_first_has_stopped(
    serve: Callable[..., GatewayThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    first = serve(store)
    need_no_other_host(store)  # another gateway of the same folder shares its journal
    here = holder_of(store)
    monkeypatch.setattr(lease, "machine_id", lambda: "another machine")
    assert holder_of(store) != here
    with pytest.raises(ConfigError, match=r"a gateway at \S+ serves this store already"):
        need_no_other_host(store)
    monkeypatch.undo()
    first.__exit__(None, None, None)
    assert open_store().records.lookup(LEASES, {"name": MIRROR}) == []


def test_keys_made_beside_the_store_are_in_the_audit_log() -> None:
    assert command(["keys", "create", "ann", "--role", "admin"]) == 0
    records = open_store().records
    noted = sorted(records.lookup(AUDIT, {}), key=lambda row: row["time"])
    assert [row["action"] for row in noted] == ["role.set", "key.create"]
    assert {row["actor"].partition(":")[0] for row in noted} == {"local"}
    assert "hash" not in (noted[1]["after"] or "")
