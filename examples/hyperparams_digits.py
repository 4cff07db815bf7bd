"""Which network reads digits best? A grid first, then a search that gives up early what is not worth going on.

Real data: the 1,797 handwritten digits that come with scikit-learn. Every try is a run of its own, with its curve.
The grid needs nothing but this process; the search runs on Ray, if it is installed.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import polars as pl

import mlrun

EPOCHS = 12


def train(context: Any, lr: float, width: int, epochs: int = EPOCHS) -> None:
    """Train a small network; log its accuracy on digits it has not seen, after every epoch."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, labels, test_size=0.3, random_state=0, stratify=labels)
    seen_x, new_x, seen_y, new_y = parts
    net = MLPClassifier(
        hidden_layer_sizes=(width,), learning_rate_init=lr, max_iter=1, warm_start=True,
        random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch at a time never converges, says scikit-learn
        for epoch in range(epochs):
            net.fit(seen_x, seen_y)
            context.log({"loss": net.loss_, "accuracy": net.score(new_x, new_y)}, step=epoch)
    context.log_result("weights", sum(w.size for w in net.coefs_))
    context.log_model("net", body=net, framework="sklearn")


def show(title: str, job: mlrun.RunView) -> None:
    """Print the best tries of a job."""
    table = job.iterations.sort("output.accuracy", descending=True, nulls_last=True)
    print(f"\n{title}: {job.state}, best is iteration {job.results['best_iteration']}")
    with pl.Config(tbl_hide_dataframe_shape=True, tbl_rows=6):
        print(table.head(6))


def main() -> None:
    """Run both."""
    function = mlrun.new_function("digits", handler=train)

    grid = function.run(
        name="digits-grid",
        hyperparams={"lr": [0.001, 0.01, 0.1], "width": [8, 32]},
        hyper_param_options=mlrun.HyperParamOptions(selector="max.accuracy", parallel_runs=2),
        local=True,
    )
    show("grid", grid)
    print("its model is the job's too:", grid.outputs["net"])

    if importlib.util.find_spec("ray") is None:
        print("\nThe search needs Ray: pip install 'mlrun-arrow[ray]'")
        return
    search = function.run(
        name="digits-search",
        hyperparams={"lr": ("loguniform", 1e-4, 0.3), "width": [8, 16, 32, 64]},
        hyper_param_options=mlrun.HyperParamOptions(
            strategy="tune", selector="max.accuracy", scheduler="asha", max_iterations=12, seed=1,
            tune={"max_t": EPOCHS, "grace_period": 2, "reduction_factor": 3},
        ),
        executor="ray",
    )  # fmt: skip
    show("search", search)
    tries = mlrun.runs(where=f"parent = '{search.id}'")
    print(tries["state"].value_counts(sort=True))

    curves = mlrun.metrics(tries["run_id"].to_list(), keys=["accuracy"])
    epochs = curves.group_by("run_id").len()["len"].sum()
    print(f"{epochs} epochs were trained of {tries.height * EPOCHS}")


if __name__ == "__main__":
    main()
