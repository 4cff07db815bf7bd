"""A workflow on real data: split, train three models side by side, keep the best, look at it closer if it is good.

Run it with `python examples/workflow.py`, twice: the second time the steps that would do the same are not run again.
Everything lands in `.mlrun/` in the working folder; the data ship inside scikit-learn.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import mlrun

MODELS = {
    "logistic": lambda: LogisticRegression(max_iter=1000),
    "forest": lambda: RandomForestClassifier(200, random_state=7),
    "neighbours": lambda: KNeighborsClassifier(9),
}


def split(context: mlrun.Run, test_size: float = 0.3) -> None:
    """Store a table to train on and one to test on: 30 measures of 569 tumours, and whether each was benign."""
    table = pl.from_pandas(load_breast_cancer(as_frame=True).frame)
    train, test = train_test_split(
        table, test_size=test_size, random_state=7, stratify=table["target"]
    )
    context.log_dataset("train", train)
    context.log_dataset("test", test)


def fit(train: pl.DataFrame, test: pl.DataFrame, model: str) -> tuple[Any, float]:
    """Train one model; returns it and its area under the curve."""
    made = make_pipeline(StandardScaler(), MODELS[model]())
    made.fit(train.drop("target").to_numpy(), train["target"].to_numpy())
    scores = made.predict_proba(test.drop("target").to_numpy())[:, 1]
    return made, float(roc_auc_score(test["target"].to_numpy(), scores))


def examine(model: Pipeline, test: pl.DataFrame) -> dict[str, int]:
    """Count what the model mistakes for what. It is a pickle, which is loaded since a step of this workflow made it."""
    found = model.predict(test.drop("target").to_numpy())
    matrix = confusion_matrix(test["target"].to_numpy(), found)
    return {"missed": int(matrix[0, 1]), "false alarms": int(matrix[1, 0])}


@mlrun.workflow(cache=True)
def screening(good_enough: float = 0.98) -> dict[str, Any]:
    """Find the best model."""
    mlrun.on_exit(lambda state: print(f"the workflow is {state}"))
    data = mlrun.run_function(split)
    tables = {"train": data.outputs["train"], "test": data.outputs["test"]}
    fits = {
        name: mlrun.run_function(
            fit, name=f"fit-{name}", params={"model": name}, inputs=tables,
            returns=["model: model", "auc"],
        )
        for name in MODELS
    }  # fmt: skip
    best = max(fits, key=lambda name: fits[name].outputs["auc"])
    chosen = {"best": best, "auc": fits[best].outputs["auc"], "model": fits[best].outputs["model"]}
    if chosen["auc"] >= good_enough:
        looked = mlrun.run_function(
            examine, inputs={"model": chosen["model"], "test": tables["test"]}, returns=["mistakes"]
        )
        chosen["mistakes"] = looked.outputs["mistakes"]
    return chosen


if __name__ == "__main__":
    view = screening()
    for key, value in view.results.items():
        print(f"{key}: {value}")
    for step in view.provenance["graph"]:
        print(f"  {step['name']}: {step['state']}, after {', '.join(step['before']) or 'nothing'}")
    print("its picture:", view.artifact("workflow_graph").path())
