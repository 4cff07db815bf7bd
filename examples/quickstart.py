"""Train ten small networks on handwritten digits, compare them, load the best one back and score it.

Run it with `make demo`, or `python examples/quickstart.py`. Everything lands in `.mlrun/` in the working folder; the
data ship inside scikit-learn.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import mlrun

EPOCHS = 20
GRID = [
    {"lr": lr, "hidden": hidden, "batch": 64}
    for lr in (0.0003, 0.001, 0.003, 0.01, 0.03)
    for hidden in (32, 96)
]


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return train images, test images, train labels, test labels; pixels scaled to 0..1."""
    images, labels = load_digits(return_X_y=True)
    return tuple(
        train_test_split(images / 16.0, labels, test_size=0.25, random_state=7, stratify=labels)
    )


def train(config: dict[str, float]) -> str:
    """Train one network, log every epoch and the model; returns the run's id."""
    train_x, test_x, train_y, test_y = digits()
    with mlrun.init(
        project="digits", name=f"mlp-{config['hidden']}-{config['lr']}", config=config
    ) as run:
        network = MLPClassifier(
            hidden_layer_sizes=(int(config["hidden"]),),
            learning_rate_init=config["lr"],
            batch_size=int(config["batch"]),
            random_state=7,
        )
        for epoch in range(EPOCHS):
            network.partial_fit(train_x, train_y, classes=np.arange(10))
            run.log(
                {
                    "loss": network.loss_,
                    "val/loss": log_loss(test_y, network.predict_proba(test_x)),
                    "val/accuracy": network.score(test_x, test_y),
                },
                step=epoch,
            )
        run.log_result("accuracy", network.score(test_x, test_y))
        run.log_model("classifier", body=network, framework="sklearn")
        return run.id


def show(best: str) -> None:
    """Print the runs as a table, and the best run's accuracy as a chart."""
    table = mlrun.runs(
        "digits",
        where="state = 'completed'",
        order_by="-results.accuracy",
        limit=10,
        columns=[
            "name",
            "params.lr",
            "params.hidden",
            'metrics."val/loss"',
            "results.accuracy",
            "duration",
        ],
    )
    with pl.Config(
        tbl_rows=12, tbl_cols=8, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True
    ):
        print(table)
    points = mlrun.metrics(best, keys=["val/accuracy"])
    print("\nval/accuracy of the best run, epoch by epoch\n")
    print(chart(points["value"].to_list()))


def chart(values: list[float], height: int = 8) -> str:
    """Draw values as columns of blocks, one column each."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    blocks = " ▁▂▃▄▅▆▇█"
    rows = []
    for row in range(height - 1, -1, -1):
        filled = [(v - low) / span * height - row for v in values]
        cells = "".join(blocks[max(0, min(8, round(f * 8)))] * 2 for f in filled)
        label = high if row == height - 1 else low if row == 0 else None
        rows.append(f"{'' if label is None else format(label, '.3f'):>7} │{cells}")
    return "\n".join([*rows, " " * 8 + "└" + "─" * (2 * len(values)) + " epoch"])


def main() -> None:
    """Train, compare, pick, load back, score."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    for number, config in enumerate(GRID, 1):
        print(f"[{number}/{len(GRID)}] hidden={config['hidden']} lr={config['lr']}")
        train(config)

    best = mlrun.runs("digits", where="state = 'completed'", order_by="-results.accuracy", limit=1)[
        "run_id"
    ][0]
    print()
    show(best)

    view = mlrun.get_run(best)
    view.artifact("classifier").set_alias("production")
    _, test_x, _, test_y = digits()
    model = mlrun.get_artifact("digits/classifier:production").load(trust=True)  # our own pickle
    score = model.score(test_x, test_y)
    print(f"\nbest: {view.name}, loaded back as digits/classifier:production, accuracy {score:.3f}")
    print(
        """
Try next:
  {bin}/mlrun ui                                  # see them in the browser
  {bin}/mlrun runs --project digits --order-by=-results.accuracy
  {bin}/mlrun show {id}
  {bin}/mlrun sql "select r.name, min(m.value) as best
      from runs r join metrics m using (run_id) where m.key = 'val/loss' group by 1 order by 2"
  {bin}/python -c "import mlrun; print(mlrun.runs('digits', where='params.lr < 0.01 and results.accuracy > 0.95'))"
""".format(bin=os.path.relpath(Path(sys.executable).parent), id=view.id[-12:])
    )


if __name__ == "__main__":
    main()
