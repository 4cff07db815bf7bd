from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import mlrun
from mlrun.errors import QueryError
from mlrun.savedviews import delete_view, save_view, saved_views
from mlrun.store import open_store

if TYPE_CHECKING:
    from mlrun.store import Store

HOSTILE = "</script><img src=x onerror=alert(1)>'; drop table views; --"


@pytest.fixture
def store() -> Store:
    with mlrun.init(project="p") as run:
        run.log({"loss": 1.0})
    return open_store()


def test_a_view_is_kept_replaced_and_forgotten(store: Store) -> None:
    save_view(store, "p", "runs", "good", {"where": "metrics.acc > 0.9"}, user="ann")
    save_view(store, "p", "runs", "good", {"where": "metrics.acc > 0.8", "cols": ["name"]})
    save_view(store, "p", "runs", "all", {})
    found = saved_views(store, "p", "runs")
    assert found.columns == ["name", "spec", "user", "updated_at"]
    assert found["name"].to_list() == ["all", "good"]
    assert json.loads(found["spec"][1]) == {"where": "metrics.acc > 0.8", "cols": ["name"]}
    assert found["updated_at"].null_count() == 0
    delete_view(store, "p", "runs", "good")
    delete_view(store, "p", "runs", "never was")
    assert saved_views(store, "p", "runs")["name"].to_list() == ["all"]


def test_views_belong_to_one_project_and_one_kind(store: Store) -> None:
    save_view(store, "p", "runs", "v", {"a": 1})
    assert saved_views(store, "p", "sql").is_empty()
    assert saved_views(store, "q", "runs").is_empty()
    assert saved_views(store, "", "runs").is_empty()


def test_any_text_is_a_name_and_a_spec(store: Store) -> None:
    save_view(store, HOSTILE, "sql", f" {HOSTILE} ", {"query": "select '\0\ud800é'"})
    found = saved_views(store, HOSTILE, "sql")
    assert found["name"].to_list() == [HOSTILE]
    assert json.loads(found["spec"][0]) == {"query": "select '\0\ud800é'"}


def test_a_view_without_a_name_or_with_too_much_is_refused(store: Store) -> None:
    with pytest.raises(QueryError, match="needs a name"):
        save_view(store, "p", "runs", "  ", {})
    with pytest.raises(QueryError, match="cannot be kept"):
        save_view(store, "p", "runs", "v", {"a": object()})
    with pytest.raises(QueryError, match="at most 64,000"):
        save_view(store, "p", "runs", "v", {"where": "x" * 70_000})


def test_a_store_without_anything_has_no_views() -> None:
    assert saved_views(open_store(), "p", "runs").is_empty()
