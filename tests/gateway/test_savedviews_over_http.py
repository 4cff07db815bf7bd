from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.keys import Keys
from mlrun.errors import AccessDenied
from mlrun.gatewaystore import GatewayStore
from mlrun.savedviews import delete_view, save_view, saved_views
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable


def test_views_are_an_editors_to_keep_and_a_viewers_to_see(serve: Callable[..., Any]) -> None:
    for project in ("mine", "theirs"):
        mlrun.init(project=project).finish()
    open_store().flush_records()
    keys = Keys(open_store().records)
    keys.set_role("ann", "mine", "editor")
    keys.set_role("bob", "mine", "viewer")
    gateway = serve()
    ann, bob = (GatewayStore(gateway.url, key=keys.create(who)[0]) for who in ("ann", "bob"))
    save_view(ann, "mine", "runs", "good", {"where": "state = 'completed'"})
    ((name, user),) = saved_views(bob, "mine", "runs").select("name", "user").rows()
    assert (name, "ann" in user) == ("good", True)
    with pytest.raises(AccessDenied):
        save_view(bob, "mine", "runs", "mine", {})
    with pytest.raises(AccessDenied):
        delete_view(bob, "mine", "runs", "good")
    with pytest.raises(AccessDenied):
        save_view(ann, "theirs", "runs", "v", {})
    save_view(open_store(), "theirs", "runs", "secret", {})
    assert saved_views(bob, "theirs", "runs").is_empty()
    delete_view(ann, "mine", "runs", "good")
    assert saved_views(bob, "mine", "runs").is_empty()
    ann.close()
    bob.close()
