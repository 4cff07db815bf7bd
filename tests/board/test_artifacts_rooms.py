from __future__ import annotations

import mlrun
from mlrun.app.board.artifacts_diff import (
    facts,
    metadata_diff,
    metrics_diff,
    schema_diff,
    stats_diff,
)
from mlrun.app.board.artifacts_find import find_keys, types_of, versions_of
from mlrun.app.board.artifacts_lineage import graph_of, runs_of
from mlrun.store import open_store

HOSTILE = 'it\'s 100% "_" </script><img src=x onerror=alert(1)>'


def test_keys_are_found_by_project_type_and_part_of_the_name() -> None:
    with mlrun.init(project="p") as run:
        run.log_artifact(HOSTILE, body="a")
        run.log_artifact(HOSTILE, body="b")
        run.log_model("clf", body=b"m")
    with mlrun.init(project=HOSTILE) as run:
        run.log_artifact("Other", body="a")
    store = open_store()
    assert types_of(store, "") == ["model", "text"]
    assert types_of(store, HOSTILE) == ["text"]
    assert find_keys(store, "")["key"].to_list() == ["Other", "clf", HOSTILE]
    found = find_keys(store, "p", "text", '100% "_"')
    assert found.select("key", "version", "versions").rows() == [(HOSTILE, 2, 2)]
    assert find_keys(store, "p", text="CL")["key"].to_list() == ["clf"]
    assert find_keys(store, "nobody").is_empty()
    assert versions_of(store, "p", HOSTILE)["version"].to_list() == [2, 1]


def test_the_graph_leads_from_what_it_was_made_of_to_what_came_of_it() -> None:
    with mlrun.init(project="p", name="source") as run:
        run.log_artifact("raw", body="x")
    with mlrun.init(project="p", name="train") as run:
        run.use_artifact("p/raw")
        run.log_artifact("clf", body="y")
    with mlrun.init(project="p", name="train") as run:
        run.use_artifact("p/clf")
        run.log_artifact("report", body="z")
    store = open_store()
    item = mlrun.get_artifact("p/clf")
    runs = runs_of(store, item)
    assert runs.select("role", "run").rows() == [("made", "train"), ("used", "train")]
    nodes = {node.name: node.before for node in graph_of(store, item, runs)}
    assert nodes == {
        "raw:v1": (), "train": ("raw:v1",), "clf:v1": ("train",), "train'": ("clf:v1",),
        "report:v1": ("train'",),
    }  # fmt: skip


def test_two_versions_differ_in_metadata_metrics_columns_and_statistics() -> None:
    old = {
        "format": "parquet", "metadata": {"a": {"b": 1}, "c": [1]}, "metrics": {"acc": 0.5, "odd": "x"},
        "schema": [{"name": "x", "type": "Int64"}, {"name": "gone", "type": "String"}, 3],
        "stats": {"x": {"mean": 1.0, "type": "Int64"}},
    }  # fmt: skip
    new = {
        "format": "parquet", "metadata": {"a": {"b": 2}, "c": [1]}, "metrics": {"acc": 0.75},
        "schema": [{"name": "x", "type": "Float64"}, {"name": "new", "type": "String"}],
        "stats": {"x": {"mean": 3.0, "type": "Float64"}},
    }  # fmt: skip
    assert metadata_diff(old, new).rows() == [("metadata.a.b", "1", "2")]
    assert metadata_diff(old, new, all_rows=True).height == 3
    assert metrics_diff(old, new).rows() == [("acc", 0.5, 0.75, 0.25)]
    assert schema_diff(old, new).rows() == [
        ("x", "Int64", "Float64"), ("gone", "String", None), ("new", None, "String"),
    ]  # fmt: skip
    assert stats_diff(old, new).rows() == [("x", "mean", 1.0, 3.0, 2.0)]
    assert facts(old)["name"].to_list() == ["format", "metadata.a.b", "metadata.c"]


def test_metadata_of_any_form_can_be_compared() -> None:
    odd = {"schema": "x", "stats": [1], "metrics": 3, "preview": None, "deep": {"": {}}}
    for compare in (metadata_diff, metrics_diff, schema_diff, stats_diff):
        assert compare(odd, odd).is_empty()
    assert facts(odd).height == 1
