"""A function with replicas runs as ranked processes, together."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import JobAborted, JobError, JobLost
from mlrun.execution.law import Needs
from mlrun.execution.perform import perform
from mlrun.execution.task import Task
from mlrun.registry import executor_class
from mlrun.testing import executor_calls as calls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray")]
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
TWO = Needs(replicas=2)


@pytest.fixture
def executor(ray_session: Any) -> Iterator[Any]:
    with executor_class("ray")() as opened:
        yield opened


def where() -> tuple[str, str]:
    print("rank", os.environ["RANK"], flush=True)
    return os.environ["RANK"], os.environ["WORLD_SIZE"]


@pytest.mark.soak
def test_rank_0_gives_the_value_and_the_log(executor: Any) -> None:
    job = executor.submit(where, needs=TWO)
    assert job.result(120) == ("0", "2")
    assert "rank 0" in list(job.logs())
    assert "rank 1" not in list(job.logs())


def fails_on_one() -> None:
    if os.environ["RANK"] == "1":
        raise ValueError("only here")
    time.sleep(600)


@pytest.mark.soak
def test_a_rank_that_fails_ends_all_of_them(executor: Any) -> None:
    job = executor.submit(fails_on_one, needs=TWO)
    with pytest.raises(JobError, match="only here") as raised:
        job.result(120)
    assert isinstance(raised.value.__cause__, ValueError)
    assert job.status() == "error"


def dies_on_one() -> None:
    if os.environ["RANK"] == "1":
        calls.die()
    time.sleep(600)


@pytest.mark.soak
def test_a_rank_that_is_killed_loses_the_call(executor: Any) -> None:
    job = executor.submit(dies_on_one, needs=TWO)
    with pytest.raises(JobLost, match=r"\[0, 1\]|\[1\]"):
        job.result(120)
    assert job.status() == "lost"
    assert executor.submit(calls.add, 1).result(60) == 2


@pytest.mark.soak
def test_cancel_ends_every_rank(executor: Any, tmp_path: Path) -> None:
    def work() -> None:
        calls.sleep_while_ticking(str(tmp_path / os.environ["RANK"]))

    job = executor.submit(work, needs=TWO)
    paths = [tmp_path / "0", tmp_path / "1"]
    end = time.monotonic() + 120
    while not all(calls.ticks(path) > 3 for path in paths):
        assert time.monotonic() < end
        time.sleep(0.05)
    job.cancel()
    reached = [calls.ticks(path) for path in paths]
    time.sleep(0.3)
    assert [calls.ticks(path) for path in paths] == reached
    with pytest.raises(JobAborted):
        job.result(1)


def test_more_replicas_than_cores_are_refused(executor: Any) -> None:
    job = executor.submit(where, needs=Needs(replicas=3))
    with pytest.raises(JobError, match="3 replicas need CPU 3, and the cluster has 2"):
        job.result(10)


TRAINING = """
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

def train(context, steps: int = 3):
    rank = distributed.get_rank()
    torch.manual_seed(rank)
    model = DistributedDataParallel(nn.Linear(2, 1))
    best = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(steps):
        x = torch.randn(16, 2)
        loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        best.zero_grad()
        loss.backward()
        best.step()
        context.log({"loss": float(loss), "rank": rank}, step=step)
    weights = [w.detach().tolist() for w in model.parameters()]
    gathered = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, weights)
    context.log_result("same", all(w == gathered[0] for w in gathered))
    context.log_result("world", distributed.get_world_size())
"""


def task_of(text: str, tmp_path: Path, **more: Any) -> Task:
    spec = {
        "name": "ddp",
        "handler": "train",
        "code": {"kind": "source", "text": text, "filename": "ddp.py"},
    }
    store = {"dbpath": str(tmp_path / "store")}
    return Task(
        run_id="", name="ddp", project="p", function=spec, store=store, fresh=True, **more
    )  # fmt: skip


@needs_torch
def test_torch_ddp_keeps_every_ranks_metrics(executor: Any, tmp_path: Path) -> None:
    from mlrun.ids import uuid7

    task = task_of(TRAINING, tmp_path, params={"steps": 4}).but(run_id=uuid7())
    outcome = executor.submit(perform, task, needs=TWO).result(240)
    assert outcome["state"] == "completed", outcome
    assert outcome["results"] == {"same": True, "world": 2}
    store = tmp_path / "store"
    view = mlrun.get_run(task.run_id, store=store)
    assert (view.state, view.results["world"]) == ("completed", 2)
    assert view.metrics("rank")["value"].to_list() == [0.0] * 4
    (other,) = mlrun.runs(where=f"parent = '{task.run_id}'", store=store).rows(named=True)
    assert (other["kind"], other["name"]) == ("replica", "ddp/rank-1")
    assert mlrun.metrics(other["run_id"], "rank", store=store)["value"].to_list() == [1.0] * 4
    assert mlrun.metrics(other["run_id"], "loss", store=store).height == 4


@needs_torch
@pytest.mark.soak
def test_a_run_whose_rank_fails_says_which(executor: Any, tmp_path: Path) -> None:
    from mlrun.ids import uuid7

    text = TRAINING.replace(
        "    for step", "    assert rank == 0, 'no rank like this'\n    for step"
    )
    task = task_of(text, tmp_path).but(run_id=uuid7())
    job = executor.submit(perform, task, needs=TWO)
    with pytest.raises(JobError, match=r"rank 1 failed: [\s\S]*no rank like this"):
        job.result(240)
