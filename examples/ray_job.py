"""Train a classifier as a job of Ray's Jobs API, follow its log, and find a job again from another process.

Run it with `python examples/ray_job.py`. Without more it starts a Ray for itself, on 127.0.0.1 and behind a token.
With `RAY_API_SERVER_ADDRESS=http://HOST:8265` (and `RAY_AUTH_MODE=token`, `RAY_AUTH_TOKEN`) it uses that cluster, whose
nodes then need mlrun-arrow, scikit-learn and a store that they reach: `MLRUN_DBPATH` of an `mlrun server`.

The same for a script, from a shell: `mlrun run train.py --executor ray-job -p depth=8`.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import Any

import mlrun
from mlrun.execution.law import Needs
from mlrun.registry import executor_class


def train(context: mlrun.Run, depth: int = 4, trees: int = 30) -> Any:
    """Fit a forest on the digits; logs one line and one metric for every tenth tree."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images, labels, random_state=7)
    forest = RandomForestClassifier(max_depth=depth, warm_start=True, random_state=7)
    for count in range(10, trees + 1, 10):
        forest.set_params(n_estimators=count).fit(train_x, train_y)
        accuracy = forest.score(test_x, test_y)
        print(f"{count} trees: {accuracy:.4f}", flush=True)
        context.log({"accuracy": accuracy}, step=count)
    context.log_result("accuracy", accuracy)
    return forest


def cluster() -> Any:
    """Return a cluster of this process's own, unless one is named."""
    named = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    if any(os.environ.get(name, "").startswith("http") for name in named):
        return nullcontext()
    own = executor_class("ray")(dashboard=True)
    print(f"a Ray with {own.slots} cores has been started")
    return own


def main() -> int:
    """Run two jobs."""
    with cluster():
        function = mlrun.code_to_function(
            name="forest", project="digits", filename=__file__, handler="train", kind="job"
        )
        run = function.run(
            params={"depth": 8}, returns=["forest:model"], executor="ray-job", watch=True
        )
        print(run.state, run.results, run.metrics("accuracy")["value"].to_list())
        print("outputs:", ", ".join(run.outputs))

        jobs = executor_class("ray-job")()
        job = jobs.submit_command([sys.executable, "-c", "print('a plain command')"], Needs())
        jobs.detach()  # the job goes on: any process finds it by its id
        with executor_class("ray-job")() as again:
            found = again.job(job.id)
            print(*found.logs(follow=True), sep="\n")
            print(job.id, found.status())
    return 0 if run.state == "completed" else 1


if __name__ == "__main__":
    sys.exit(main())
