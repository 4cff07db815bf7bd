from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import mlrun
from mlrun.config import settings
from mlrun.ids import now_us
from mlrun.store import open_store
from mlrun.tracking.start import open_run

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def test_a_resumed_run_goes_on_where_it_was() -> None:
    first = mlrun.init(
        project="p", id="r", name="mlp", config={"lr": 0.1, "model": {"depth": 3}}, tags=["t"],
        labels={"team": "cv"}, notes="n",
    )  # fmt: skip
    first.log({"loss": 1.0, "acc": 0.1}, step=41)
    first.log_result("best", 0.5)
    first.define_metric("val/*", goal="max")
    first.finish("error", error="boom")
    started = mlrun.get_run("r").started_at
    run = mlrun.init(id="r", resume="must", config={"model": {"depth": 4}}, tags=["u"])
    assert (run.project, run.name, run.notes, run.step) == ("p", "mlp", "n", 42)
    assert run.config == {"lr": 0.1, "model": {"depth": 4}}
    assert run.config["model.depth"] == 4
    assert (run.tags, run.labels, run.results) == (["t", "u"], {"team": "cv"}, {"best": 0.5})
    assert run.provenance["metric_defs"] == {"val/*": {"goal": "max"}}
    view = mlrun.get_run("r")
    assert (view.state, view.error, view.finished_at) == ("running", None, None)
    assert view.started_at == started
    run.log({"loss": 0.5})
    run.finish()
    view.refresh()
    assert view.state == "completed"
    assert view.params == {"lr": 0.1, "model.depth": 4}
    assert view.summaries.filter(key="loss").select("count", "last", "last_step").row(0) == (
        2,
        0.5,
        42,
    )


def test_a_run_that_ended_at_the_last_step_there_is_goes_on_there(
    warned: Callable[[], Any],
) -> None:
    last = 2**63 - 1
    with mlrun.init(id="r") as run:
        run.log({"a": 1.0}, step=last)
    with warned() as messages, mlrun.init(id="r", resume="must") as run:
        run.log({"a": 2.0})
        run.log({"a": 3.0})
    assert mlrun.metrics("r").select("step", "value").rows() == [(last, v) for v in (1.0, 2.0, 3.0)]
    assert len(messages) == 1
    assert run.dropped == 0


def test_allow_makes_a_run_or_goes_on_with_it() -> None:
    one = mlrun.init(id="r", resume="allow")
    assert not one.resumed
    one.finish()
    assert mlrun.init(id="r", resume="allow").resumed


def test_an_id_from_the_environment_implies_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLRUN_RUN_ID", "from-env")
    one = mlrun.init()
    one.log({"a": 1.0})
    one.finish()
    two = mlrun.init()
    assert (one.id, two.id, two.step) == ("from-env", "from-env", 1)


def test_an_open_run_of_this_process_is_finished_and_resumed(warned: Callable[[], Any]) -> None:
    one = mlrun.init(id="r")
    one.log({"a": 1.0})
    with warned() as messages:
        two = mlrun.init(id="r", resume="must")
    assert len(messages) == 1
    assert (one.state, two.state, two.step) == ("completed", "running", 1)
    assert not two.attached
    assert mlrun.get_run("r").state == "running"


def test_a_run_that_a_living_writer_owns_is_joined() -> None:
    owner = open_run(open_store(), settings(), run_id="r")
    joiner = open_run(open_store(), settings(), run_id="r", resume="allow")
    assert joiner.attached
    joiner.log({"b": 1.0})
    joiner.log_result("x", 1)
    joiner.finish("error", error="not mine")
    view = mlrun.get_run("r")
    assert (view.state, view.error, view.results) == ("running", None, {"x": 1})
    owner.finish()
    assert view.refresh().state == "completed"


def test_another_project_is_told_and_ignored(warned: Callable[[], Any]) -> None:
    mlrun.init(project="one", id="r").finish()
    with warned() as messages:
        run = mlrun.init(project="two", id="r", resume="allow")
    assert run.project == "one"
    assert "'one'" in messages[0]


def test_points_of_a_resumed_run_are_later_than_its_old_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = mlrun.init(id="r")
    first.log({"a": 1.0})
    first.finish()
    last = mlrun.get_run("r").summaries["last_time"].item()
    behind = time.CLOCK_BOOTTIME if hasattr(time, "CLOCK_BOOTTIME") else time.CLOCK_MONOTONIC
    monkeypatch.setattr("mlrun.ids._offset_ns", -time.clock_gettime_ns(behind))  # a clock at 1970
    assert now_us() < 1e15
    run = mlrun.init(id="r", resume="must")
    run.log({"a": 2.0}, step=0)
    summary = mlrun.get_run("r").summaries
    assert summary["last_time"].item() > last
    assert summary["last"].item() == 2.0


def test_the_key_limit_counts_the_keys_of_before(warned: Callable[[], Any]) -> None:
    first = mlrun.init(id="r", max_metric_keys=10)
    first.log({"a": 1.0, "b": 1.0})
    first.log({"c": object()})
    first.finish()
    run = mlrun.init(id="r", resume="must", max_metric_keys=2)
    with warned() as messages:
        run.log({"a": 2.0, "d": 1.0})
    assert "2 metric keys" in messages[0]
    assert run.dropped == 2


def test_a_deleted_run_that_is_resumed_is_back() -> None:
    mlrun.init(id="r").finish()
    mlrun.get_run("r").delete()
    assert mlrun.runs().height == 0
    mlrun.init(id="r", resume="must").finish()
    assert mlrun.runs()["run_id"].to_list() == ["r"]


def test_hostile_ids_are_only_text(own_folder: os.PathLike[str]) -> None:
    hostile = "../../etc/x'; drop table runs; --\n<b>🎉"
    mlrun.init(id=hostile).finish()
    run = mlrun.init(id=hostile, resume="must")
    assert run.id == hostile
    assert sorted(os.listdir(own_folder)) == [".mlrun"]
