"""Runs on Kubernetes: `fn.run(executor="kuberay")` against the test API server."""

from __future__ import annotations

import base64
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("kubernetes")

import cloudpickle  # type: ignore[import-not-found,import-untyped,unused-ignore]

import mlrun
from mlrun.errors import RunError
from mlrun.execution import places
from mlrun.execution.launch import run
from mlrun.execution.law import Needs
from mlrun.testing.kubeapi import KubeAPI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeAPI]:
    with KubeAPI() as server:
        monkeypatch.setenv("MLRUN_KUBE_KUBECONFIG", str(server.kubeconfig(tmp_path)))
        monkeypatch.setenv("MLRUN_KUBE_IMAGE", "any:1")
        monkeypatch.setenv("MLRUN_KUBE_SHARES_FILES", "1")
        monkeypatch.setattr(places, "_places", {})
        yield server
        for executor in places._places.values():
            executor.close()


def function(handler: Callable[..., Any], needs: Needs | None = None) -> Any:
    data = base64.b64encode(cloudpickle.dumps(handler)).decode()
    spec = {"name": handler.__name__, "kind": "job", "code": {"kind": "pickle", "data": data}}
    asked = needs or Needs()
    return SimpleNamespace(
        spec=SimpleNamespace(to_dict=lambda: spec), uri="p/f@1", needs=lambda: asked
    )


def by_value(handler: Callable[..., Any]) -> Callable[..., Any]:
    handler.__module__ = "__main__"  # a worker has no test module to import
    return handler


@by_value
def train(context: Any, lr: float) -> float:
    print("training with", lr)
    for step in range(3):
        context.log({"loss": lr / (step + 1)})
    context.log_result("acc", lr * 2)
    return lr


@by_value
def broken(context: Any) -> None:
    raise ValueError("kaputt")


@by_value
def die(context: Any) -> None:
    import os

    context.log({"loss": 1.0})
    os.write(2, b"native words\n")
    os._exit(11)


@by_value
def sleep(context: Any) -> None:
    import time

    context.log({"begun": 1.0})
    time.sleep(300)


def test_a_run_has_its_results_points_and_lines(server: KubeAPI) -> None:
    view = run(function(train), params={"lr": 0.5}, returns=["rate"], executor="kuberay")
    assert view.state == "completed"
    assert view.results == {"acc": 1.0, "rate": 0.5}
    assert mlrun.metrics(view.id, keys=["loss"])["value"].to_list() == [0.5, 0.25, 0.5 / 3]
    assert mlrun.logs(view.id)["line"].to_list() == ["training with 0.5"]


def test_a_run_that_raises_ends_in_error(server: KubeAPI) -> None:
    with pytest.raises(RunError, match="kaputt") as error:
        run(function(broken), executor="kuberay")
    assert error.value.run.state == "error"  # type: ignore[attr-defined]


def test_a_run_whose_process_dies_keeps_its_points_and_what_it_wrote_last(server: KubeAPI) -> None:
    with pytest.raises(RunError, match="gone") as error:
        run(function(die), executor="kuberay")
    view: Any = error.value.run
    assert view.state == "error"
    assert view.summary == {"loss": 1.0}
    assert "native words" in mlrun.logs(view.id)["line"].to_list()


def test_a_run_that_never_begins_says_why(server: KubeAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = Needs(requirements=("no-such-thing-here==1",))
    with pytest.raises(RunError, match="no-such-thing-here==1") as error:
        run(function(train, needs), params={"lr": 1.0}, executor="kuberay")
    assert error.value.run.state == "error"  # type: ignore[attr-defined]


def test_abort_ends_the_run_and_deletes_its_rayjob(server: KubeAPI) -> None:
    view: Any = run(function(sleep), executor="kuberay", watch=False)
    end = time.monotonic() + 60
    while not view.summary and time.monotonic() < end:
        time.sleep(0.1)
        view = mlrun.get_run(view.id)
    view.abort()
    end = time.monotonic() + 60
    while server.operator.processes() and time.monotonic() < end:
        time.sleep(0.1)
    assert server.operator.processes() == []
    assert mlrun.get_run(view.id).state == "aborted"


def test_a_store_in_a_folder_is_refused_where_files_are_not_shared(
    server: KubeAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLRUN_KUBE_SHARES_FILES", "0")
    with pytest.raises(Exception, match="mlrun server"):
        run(function(train), params={"lr": 1.0}, executor="kuberay")
    assert server.store.list("rayjobs", "default")[0] == []
