from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlrun.app.keys import Keys
from mlrun.care.retention import policies, set_policy
from mlrun.errors import AccessDenied, ConfigError
from mlrun.gatewaystore import GatewayStore
from mlrun.store import open_store
from mlrun.tables import AUDIT, LEASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.testing.gatewaythread import GatewayThread


def test_a_policy_is_its_project_s_admins_to_set(serve: Callable[..., GatewayThread]) -> None:
    keys = Keys(open_store().records)
    keys.set_role("ann", "mine", "admin")
    keys.set_role("bob", "mine", "editor")
    gateway = serve()
    ann, bob = (GatewayStore(gateway.url, key=keys.create(who)[0]) for who in ("ann", "bob"))
    set_policy(ann, "mine", raw_days=90)
    set_policy(ann, "mine", rollup_days=100)
    set_policy(open_store(), "theirs", raw_days=1)
    for store, project in ((bob, "mine"), (ann, "theirs")):
        with pytest.raises(AccessDenied):
            set_policy(store, project, raw_days=1)
    with pytest.raises(ConfigError, match="at least as long"):
        set_policy(ann, "mine", rollup_days=1)
    (row,) = policies(bob).rows(named=True)
    assert (row["project"], row["raw_days"], row["rollup_days"]) == ("mine", 90, 100)
    noted = open_store().records.lookup(AUDIT, {"project": "mine"})
    assert [r["action"] for r in noted] == ["policy.set", "policy.set"]
    ann.close()
    bob.close()


def test_one_of_several_gateways_compacts_once_a_day(
    serve: Callable[..., GatewayThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun.app import ingest_part

    started: list[str] = []
    monkeypatch.setattr(
        ingest_part, "start_detached", lambda module, *_, **env: started.append(module)
    )
    store = open_store()
    parts = [serve(store).gateway.parts[0] for _ in range(2)]
    for part in parts:
        part._compact()
    assert started == []  # a store that was just begun has a day
    store.records.apply(
        [
            (
                "put",
                LEASES.name,
                {"name": "compact", "holder": "before", "taken_at": 1, "expires_at": 1},
            )
        ]
    )
    for part in parts * 2:
        part._compacts_at = 0.0
        part._compact()
    assert started == ["mlrun.care.daily"]
