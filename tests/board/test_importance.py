from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mlrun.app.board.importance import importance


def _runs(count: int = 200) -> pl.DataFrame:
    chance = np.random.default_rng(0)
    lr, depth, noise = chance.random(count), chance.integers(1, 5, count), chance.random(count)
    kind = chance.choice(["a", "b"], count)
    bump = -((lr - 0.5) ** 2) * 40
    loss = 3.0 * depth + bump + (kind == "b") * 2 + noise * 0.1
    return pl.DataFrame({
        "lr": lr, "depth": depth, "kind": kind, "noise": chance.random(count), "same": 1,
        "loss": loss,
    })  # fmt: skip


def test_what_decides_comes_first_also_without_a_direction() -> None:
    found = importance(_runs(), ["lr", "depth", "kind", "noise", "same"], "loss")
    shares = dict(zip(found["param"], found["share"], strict=True))
    assert found["param"][0] == "depth"
    assert "same" not in shares
    assert shares["lr"] > 0.05 > shares["noise"]
    said = dict(zip(found["param"], found["correlation"], strict=True))
    assert said["depth"] > 0.7
    assert abs(said["lr"]) < 0.3
    assert said["kind"] is None


def test_a_straight_line_is_explained_wholly() -> None:
    frame = pl.DataFrame({"p": [1, 1, 2, 2, 3, 3], "t": [2.0, 2, 4, 4, 6, 6]})
    [(_, correlation, share, runs)] = importance(frame, ["p"], "t").rows()
    assert (correlation, share, runs) == (pytest.approx(1), pytest.approx(1), 6)


def test_few_runs_missing_values_and_constants_are_borne() -> None:
    frame = pl.DataFrame({
        "p": [1.0, None, 3, float("nan"), 5], "q": ["a", "b", "a", "b", "c"],
        "t": [1.0, 2, float("inf"), 4, None],
    })  # fmt: skip
    assert importance(frame, ["p", "q"], "t").is_empty()
    flat = pl.DataFrame({"p": [1, 2, 3, 4, 5], "t": [1e308] * 5})
    assert importance(flat, ["p"], "t").rows() == [("p", None, 0.0, 5)]
    unique = pl.DataFrame({"p": list("abcde"), "t": [1.0, 2, 3, 4, 5]})
    assert importance(unique, ["p"], "t")["share"].to_list() == [0.0]
