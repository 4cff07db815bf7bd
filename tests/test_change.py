from __future__ import annotations

import time

import pytest

import mlrun
from mlrun.care import compaction
from mlrun.change import set_times
from mlrun.errors import MlrunError, QueryError
from mlrun.ids import now_us

DAY = 86_400_000_000


def finished(**config: object) -> mlrun.RunView:
    with mlrun.init(project="p", config=config) as run:
        run.log({"loss": 1.0})
    return mlrun.get_run(run.id)


def test_update_changes_what_people_may_change() -> None:
    view = finished()
    view.update(name="new", notes="why", add_tags=["a", "b"], labels={"team": "cv"})
    view.update(remove_tags=["a"], labels={"team": None, "k": 1})
    again = mlrun.get_run(view.id)
    assert (again.name, again.notes, again.tags, again.labels) == ("new", "why", ["b"], {"k": 1})


def test_a_tag_that_is_text_and_no_list_is_refused() -> None:
    with pytest.raises(QueryError, match="list"):
        finished().update(add_tags="abc")


def test_a_change_from_outside_outlives_a_live_run() -> None:
    run = mlrun.init(project="p", name="first")
    mlrun.get_run(run.id).update(name="second", add_tags=["kept"])
    run.log({"loss": 0.5})
    run.finish()
    view = mlrun.get_run(run.id)
    assert (view.name, view.tags, view.state) == ("second", ["kept"], "completed")


def test_archived_and_deleted_runs_leave_the_lists_and_come_back() -> None:
    view = finished()
    view.archive()
    assert mlrun.runs("p").height == 0
    assert mlrun.runs("p", archived=True).height == 1
    view.restore()
    view.delete()
    assert mlrun.runs("p").height == 0
    assert mlrun.runs("p", deleted=True).height == 1
    view.restore()
    assert mlrun.runs("p").height == 1


def test_a_running_run_is_not_deleted() -> None:
    run = mlrun.init(project="p")
    with pytest.raises(MlrunError, match="running"):
        mlrun.get_run(run.id).delete()
    run.finish()


def test_delete_runs_takes_a_where_and_never_everything_by_mistake() -> None:
    keep, gone = finished(lr=0.1), finished(lr=0.5)
    with pytest.raises(QueryError, match="where"):
        mlrun.delete_runs("", project="p")
    assert mlrun.delete_runs("params.lr > 0.3", project="p") == 1
    assert mlrun.runs("p")["run_id"].to_list() == [keep.id]
    assert mlrun.get_run(gone.id).record["deleted_at"] is not None


def test_compact_frees_runs_deleted_long_ago_and_only_those() -> None:
    old, young, kept = finished(), finished(), finished()
    store = mlrun.open_store()
    mlrun.compact()
    set_times(store, [old.id], deleted_at=now_us() - 31 * DAY)
    set_times(store, [young.id], deleted_at=now_us() - 29 * DAY)
    assert (
        mlrun.compact()["runs_freed"] == 0
    )  # this process still writes to the file that holds its rows
    store.writer().close()
    assert mlrun.compact()["runs_freed"] == 1
    assert set(mlrun.runs("p", deleted=True)["run_id"]) == {young.id, kept.id}
    assert mlrun.metrics(old.id).height == 0
    assert mlrun.metrics(young.id).height == 1
    assert mlrun.metrics(kept.id).height == 1


def test_compact_frees_objects_that_nothing_references(monkeypatch: pytest.MonkeyPatch) -> None:
    store = mlrun.open_store()
    with mlrun.init(project="p") as run:
        run.log_artifact("kept", body=b"kept bytes")
    orphan = store.objects.put(b"nobody names me")
    assert mlrun.compact()["objects_freed"] == 0  # it might still be named
    monkeypatch.setattr(compaction, "KEEP_ORPHAN_SECONDS", -1.0)
    time.sleep(0.01)
    assert mlrun.compact()["objects_freed"] >= 1
    assert orphan.sha256 not in {o.sha256 for o in store.objects.list()}
    assert mlrun.get_artifact("p/kept").get() == b"kept bytes"
