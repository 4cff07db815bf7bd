from __future__ import annotations

import math
from typing import Any

import pytest

from mlrun.hyper.selector import Selector
from mlrun.hyper.table import iteration_frame


def outcome(number: int, state: str = "completed", **results: Any) -> dict[str, Any]:
    return {"iteration": number, "state": state, "results": results}


def best(text: str, *outcomes: dict[str, Any]) -> int | None:
    selector = Selector.parse(text)
    assert selector is not None
    return selector.best(outcomes)


def test_without_a_prefix_the_greatest_wins() -> None:
    assert best("acc", outcome(1, acc=1), outcome(2, acc=3), outcome(3, acc=2)) == 2


def test_the_least_wins_with_min() -> None:
    assert best("min.loss", outcome(1, loss=1), outcome(2, loss=-3)) == 2


def test_of_equal_ones_the_first_wins_whatever_the_order_they_end_in() -> None:
    assert best("max.acc", outcome(3, acc=5), outcome(1, acc=5), outcome(2, acc=5)) == 1


def test_text_counts_as_its_number_and_other_text_not_at_all() -> None:
    assert best("acc", outcome(1, acc="0.9"), outcome(2, acc="much"), outcome(3, acc=0.5)) == 1


def test_failed_missing_none_and_nan_are_not_chosen() -> None:
    found = best(
        "acc",
        outcome(1, state="error", acc=9),
        outcome(2),
        outcome(3, acc=None),
        outcome(4, acc=math.nan),
        outcome(5, acc=0.1),
    )
    assert found == 5


def test_with_nothing_to_choose_there_is_no_best() -> None:
    assert best("acc", outcome(1, acc=-math.inf), outcome(2)) is None


def test_the_last_value_of_a_metric_decides_where_there_is_no_result() -> None:
    assert best("acc", {**outcome(1), "metrics": {"acc": 2.0}}, outcome(2, acc=1)) == 1


def test_a_key_with_dots_follows_its_prefix() -> None:
    assert (
        best(
            "max.val.acc",
            {**outcome(1), "results": {"val.acc": 1}},
            {**outcome(2), "results": {"val.acc": 2}},
        )
        == 2
    )


@pytest.mark.parametrize("text", [None, ""])
def test_no_selector_is_none(text: str | None) -> None:
    assert Selector.parse(text) is None


def test_the_iteration_table_has_the_columns_and_rows_of_the_orchestrator() -> None:
    grid = [(1, 3), (2, 3), (1, 4), (2, 4)]
    frame = iteration_frame(
        {
            "state": "completed",
            "iteration": i,
            "params": {"p1": p1, "p2": p2},
            "results": {"acc": p1 * p2, "loss": -p1},
        }
        for i, (p1, p2) in enumerate(grid, 1)
    )
    assert frame.columns == ["state", "iter", "param.p1", "param.p2", "output.acc", "output.loss"]
    assert frame.rows() == [
        ("completed", 1, 1, 3, 3, -1),
        ("completed", 2, 2, 3, 6, -2),
        ("completed", 3, 1, 4, 4, -1),
        ("completed", 4, 2, 4, 8, -2),
    ]


def test_columns_of_mixed_types_become_json_and_gaps_null() -> None:
    frame = iteration_frame(
        [
            {"state": "error", "iteration": 2, "params": {"a": "x"}},
            {"state": "completed", "iteration": 1, "params": {"a": 1}, "results": {"r": [1]}},
        ]
    )
    assert frame.rows() == [("completed", 1, "1", "[1]"), ("error", 2, '"x"', None)]
