"""The strategy "tune": Ray Tune draws and stops, and every trial is a run of ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import ConfigError, MissingExtra
from mlrun.hyper.tunedtrial import trial_id
from mlrun.ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.view import RunView

    Start = Callable[..., RunView]

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]
ROOT = Path(__file__).parents[2]
SPACE = {"lr": ("loguniform", 1e-4, 1e-1), "depth": [2, 4]}


def train(context: Any, lr: float, depth: int) -> None:
    for epoch in range(6):
        context.log({"acc": 1 - abs(lr - 0.01) * 5 + 0.01 * epoch, "epoch": epoch})
    context.log_result("size", depth * 10)


def children(view: RunView) -> Any:
    return mlrun.runs(where=f"parent = '{view.id}'", order_by="iteration")


def test_random_draws_are_seeded_child_runs_with_their_own_points(
    sweep: Start, ray_session: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {
        "strategy": "tune", "selector": "max.acc", "max_iterations": 4, "seed": 3,
        "executor": ray_session,
    }  # fmt: skip
    view = sweep(train, SPACE, **asked)
    assert capfd.readouterr().out == ""
    assert view.state == "completed"
    table = view.iterations
    assert table.columns == [
        "state",
        "iter",
        "param.lr",
        "param.depth",
        "output.acc",
        "output.size",
    ]
    assert table["iter"].to_list() == [1, 2, 3, 4]
    assert set(table["state"]) == {"completed"}
    best = table.sort("output.acc")["iter"][-1]
    assert view.results["best_iteration"] == best
    assert view.results["size"] == table["output.size"][best - 1]
    points = mlrun.metrics(children(view)["run_id"].to_list(), keys=["epoch"])
    assert points.height == 24
    assert not (Path(".mlrun") / "tune" / view.id).exists()
    again = sweep(train, SPACE, **asked).iterations
    assert again["param.lr"].to_list() == table["param.lr"].to_list()


def test_asha_gives_up_what_is_not_worth_going_on_and_says_so(
    sweep: Start, ray_session: Any
) -> None:
    def handler(context: Any, x: float) -> None:
        for epoch in range(8):
            context.log({"acc": x * (epoch + 1)}, step=epoch)
        context.log_result("done", True)

    view = sweep(
        handler, {"x": [0.9, 0.8, 0.2, 0.1]}, strategy="tune", selector="max.acc", seed=1,
        max_iterations=8, scheduler="asha", executor=ray_session,
        tune={"max_t": 8, "grace_period": 1, "reduction_factor": 2},
    )  # fmt: skip
    found = children(view)
    stopped = found.filter(found["state"] == "aborted")
    assert view.state == "completed"
    assert 1 <= stopped.height < 8
    for row in stopped.to_dicts():
        assert json.loads(row["labels"])["mlrun/stopped-by"] == "asha"
        assert row["error"].startswith("asha stopped it after")
        assert row["metrics.acc"] < 8 * row["params.x"]  # what it had logged by then is there
    finished = found.filter(found["state"] == "completed")
    # those that had all their reports came to their own end
    assert finished["results.done"].to_list() == [True] * finished.height
    assert view.results["best_iteration"] in finished["iteration"].to_list()


@pytest.mark.soak
@pytest.mark.parametrize(
    ("scheduler", "tune"),
    [
        ("hyperband", {"max_t": 4, "reduction_factor": 2}),
        ("median", {"grace_period": 1, "min_samples_required": 2}),
        ("fifo", {}),
    ],
)
def test_other_schedulers_come_to_their_end(
    scheduler: str, tune: dict[str, Any], sweep: Start, ray_session: Any
) -> None:
    view = sweep(
        train, SPACE, strategy="tune", selector="max.acc", max_iterations=4, scheduler=scheduler,
        tune=tune, executor=ray_session, seed=2,
    )  # fmt: skip
    assert view.state == "completed"
    assert set(children(view)["state"]) <= {"completed", "aborted"}
    assert view.results["best_iteration"] >= 1


@pytest.mark.soak
def test_population_based_training_hands_checkpoints_on(sweep: Start, ray_session: Any) -> None:
    def handler(context: Any, x: float) -> None:
        import json
        from pathlib import Path
        from tempfile import TemporaryDirectory

        begun = context.load_checkpoint()
        total, first = 0.0, 0
        if begun is not None:
            first, total = json.loads(Path(begun, "state.json").read_text())
        for epoch in range(first, 12):
            total += x
            with TemporaryDirectory() as folder:
                Path(folder, "state.json").write_text(json.dumps([epoch + 1, total]))
                context.save_checkpoint(folder)
            context.log({"total": total}, step=epoch)
        context.log_result("begun_at", first)

    view = sweep(
        handler, {"x": ("uniform", 0, 1)}, strategy="tune", selector="max.total", seed=5,
        max_iterations=4, scheduler="pbt", tune={"perturbation_interval": 3}, parallel_runs=2,
        executor=ray_session,
    )  # fmt: skip
    found = children(view)
    assert set(found["state"]) == {"completed"}
    assert found.height == 4
    assert max(found["results.begun_at"]) >= 3  # somebody took over
    assert all("stopped-by" not in (text or "") for text in found["labels"])
    points = mlrun.metrics(found["run_id"].to_list(), keys=["total"], last=True)
    assert points["step"].max() == 11  # who takes over at the very end has few points of its own


@pytest.mark.soak
def test_optuna_searches(sweep: Start, ray_session: Any) -> None:
    pytest.importorskip("optuna")
    view = sweep(
        train, SPACE, strategy="tune", selector="max.acc", max_iterations=5, search="optuna",
        executor=ray_session, seed=1,
    )  # fmt: skip
    assert view.iterations.height == 5
    assert set(view.iterations["state"]) == {"completed"}


@pytest.mark.soak
def test_results_do_where_no_metric_is_logged(sweep: Start, ray_session: Any) -> None:
    def handler(x: float) -> float:
        return -((x - 0.5) ** 2)

    view = sweep(
        handler, {"x": ("uniform", 0, 1)}, strategy="tune", selector="return", max_iterations=3,
        executor=ray_session,
    )  # fmt: skip
    table = view.iterations
    assert view.results["return"] == max(table["output.return"])


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"scheduler": "ashe", "selector": "acc"}, ConfigError, "did you mean 'asha'"),
        ({"search": "optuma", "selector": "acc"}, ConfigError, "did you mean 'optuna'"),
        ({"search": "hyperopt", "selector": "acc"}, MissingExtra, "pip install hyperopt"),
        ({"scheduler": "asha"}, ConfigError, "selector"),
        ({"scheduler": "asha", "selector": "a", "tune": {"maxt": 3}}, ConfigError, "max_t"),
    ],
)
def test_names_that_nobody_knows_are_refused_before_a_run_is_made(
    options: dict[str, Any], kind: Any, said: str, sweep: Start, ray_session: Any
) -> None:
    with pytest.raises(kind, match=said):
        sweep(train, SPACE, strategy="tune", executor=ray_session, **options)
    assert mlrun.runs(children=True).is_empty()


@pytest.mark.soak
def test_trials_that_fail_are_errors_and_too_many_stop_the_job(
    failed: Start, ray_session: Any
) -> None:
    def handler(x: float) -> None:
        raise ValueError("no good")

    view = failed(
        handler, {"x": ("uniform", 0, 1)}, strategy="tune", selector="acc", max_iterations=12,
        max_errors=1, parallel_runs=1, executor=ray_session,
    )  # fmt: skip
    found = children(view)
    assert 2 <= found.height <= 4
    assert set(found["state"]) <= {"error", "aborted"}
    assert "no good" in found["error"][0]
    assert view.error is not None
    assert "tasks failed" in view.error


@pytest.mark.soak
def test_a_killed_worker_costs_its_trial(failed: Start, ray_session: Any) -> None:
    def handler(context: Any, x: int) -> int:
        import os
        import signal

        context.log({"seen": x})
        if context.iteration == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    view = failed(
        handler, {"x": ("randint", 1, 9)}, strategy="tune", selector="return", max_iterations=4,
        executor=ray_session,
    )  # fmt: skip
    found = children(view)
    assert found["iteration"].to_list() == [1, 2, 3, 4]
    assert found["state"].to_list() == ["completed", "error", "completed", "completed"]


def test_aborting_the_job_ends_its_trials(failed: Start, ray_session: Any) -> None:
    def handler(context: Any, x: float) -> None:
        import time

        while True:
            context.log({"acc": x})
            time.sleep(0.05)

    def abort() -> None:
        end = time.monotonic() + 60
        while mlrun.runs(where="iteration = 1", children=True).is_empty():
            assert time.monotonic() < end
            time.sleep(0.05)
        [run_id] = mlrun.runs("p")["run_id"]
        mlrun.get_run(run_id).abort("enough", timeout=60)

    thread = threading.Thread(target=abort)
    thread.start()
    view = failed(
        handler, {"x": ("uniform", 0, 1)}, strategy="tune", selector="acc", max_iterations=6,
        executor=ray_session,
    )  # fmt: skip
    thread.join()
    assert (view.state, view.error) == ("aborted", "enough")
    assert set(children(view)["state"]) <= {"aborted"}


DRIVER = """
import mlrun
from mlrun.functions.making import new_function

def slow(context, x):
    import time
    from pathlib import Path
    from tempfile import TemporaryDirectory
    begun = context.load_checkpoint()
    first = int(Path(begun, "epoch").read_text()) if begun is not None else 0
    for epoch in range(first, 6):
        with TemporaryDirectory() as folder:
            Path(folder, "epoch").write_text(str(epoch + 1))
            context.save_checkpoint(folder)
        context.log({"acc": x + epoch}, step=epoch)
        if context.iteration == 3 and epoch == 2 and not Path("go").exists():
            Path("reached").touch()
            time.sleep(60)
    context.log_result("begun_at", first)

if __name__ == "__main__":
    new_function("slow", project="p", handler=slow).run(
        hyperparams={"x": ("uniform", 0, 1)}, executor="ray",
        hyper_param_options=dict(strategy="tune", selector="max.acc", max_iterations=4, parallel_runs=1),
    )
"""


@pytest.mark.soak
def test_a_job_whose_driver_was_killed_goes_on_from_its_checkpoints(ray_session: Any) -> None:
    Path("driver.py").write_text(textwrap.dedent(DRIVER))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TUNE_GLOBAL_CHECKPOINT_S": "0"}
    driver = subprocess.Popen([sys.executable, "driver.py"], env=env)
    end = time.monotonic() + 120
    while not Path("reached").exists():
        assert time.monotonic() < end
        assert driver.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    [run_id] = mlrun.runs("p")["run_id"]
    view = mlrun.get_run(run_id)
    assert view.state == "lost"
    before = children(view)
    assert before["state"].to_list()[:2] == ["completed", "completed"]
    Path("go").touch()
    view.retry(executor=ray_session)
    assert view.state == "completed", view.error
    found = children(view)
    assert found["iteration"].to_list() == [1, 2, 3, 4]
    assert set(found["state"]) == {"completed"}
    assert found["run_id"].to_list()[:3] == before["run_id"].to_list()[:3]
    assert found["finished_at"].to_list()[:2] == before["finished_at"].to_list()[:2]
    assert found["results.begun_at"].to_list()[2] > 0
    assert view.iterations.height == 4


def test_a_trials_id_is_its_own_and_stays() -> None:
    parent = uuid7()
    ids = [trial_id(parent, number) for number in (1, 2, 1)]
    assert ids[0] == ids[2] != ids[1]
    assert all(len(i) == 36 and i[14] == "7" for i in ids)
    assert ids[0][:13] == parent[:13]
