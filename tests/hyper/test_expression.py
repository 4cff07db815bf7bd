from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from mlrun.errors import ConfigError
from mlrun.hyper.expression import Condition


def holds(text: str, metrics: dict[str, float] | None = None, **results: Any) -> bool:
    return Condition.parse(text).holds({"results": results, "metrics": metrics or {}})


@pytest.mark.parametrize(
    ("text", "results", "wanted"),
    [
        ("accuracy >= 0.99", {"accuracy": 0.99}, True),
        ("accuracy >= 0.99", {"accuracy": 0.98}, False),
        ("0.1 < loss <= 0.5", {"loss": 0.5}, True),
        ("0.1 < loss <= 0.5", {"loss": 0.1}, False),
        ("not (a > 1 or b > 1)", {"a": 0, "b": 1}, True),
        ("a + b * 2 == 7 and -a == -1", {"a": 1, "b": 3}, True),
        ("max(a, b) > 2 and abs(b) == 3", {"a": 1, "b": 3}, True),
        ("status in ['done', 'stopped']", {"status": "done"}, True),
        ("ok", {"ok": True}, True),
        ("a / b > 1", {"a": 1, "b": 0}, False),
        ("a > 1", {"a": "text"}, False),
        ('results["val/acc"] > 1', {"val/acc": 2}, True),
    ],
)
def test_conditions_hold_as_python_would_say(
    text: str, results: dict[str, Any], wanted: bool
) -> None:
    assert holds(text, **results) is wanted


def test_results_come_before_metrics_of_the_same_name() -> None:
    assert holds("acc > 1", {"acc": 0.0}, acc=2)
    assert holds('metrics["acc"] < 1', {"acc": 0.0}, acc=2)


def test_a_name_that_is_not_there_yet_makes_only_its_own_part_false() -> None:
    assert not holds("late > 1")
    assert holds("late > 1 or acc > 1", acc=2)


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "a >", "__import__('os').system('x')", "a.b > 1", "[x for x in y]", "lambda: 1", "a if b else c",
        "f(1)", "abs(*a)", "max(key=a)", "a[0] > 1", 'other["x"] > 1', "f'{a}'", "a := 1", "{1: 2}", "a @ b", "~a",
        "a << 2", "open", "x" * 3000, "(" * 300 + "a" + ")" * 300, "b'x' == a", "max()",
    ],
)  # fmt: skip
def test_what_is_no_plain_comparison_is_refused_before_anything_runs(text: str) -> None:
    if text == "open":
        assert not holds(text)  # a name like any other: there is no such result
        return
    with pytest.raises(ConfigError):
        Condition.parse(text)


def test_the_place_is_shown() -> None:
    with pytest.raises(ConfigError, match=r"acc\.x > 1\n  \^"):
        Condition.parse("acc.x > 1")


def test_large_powers_and_long_text_cost_nothing() -> None:
    assert not holds("9 ** 9 ** 9 > 1")
    assert not holds("'a' * 999999999 == 'b'")


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_a_clear_refusal(text: str) -> None:
    try:
        condition = Condition.parse(text)
    except ConfigError:
        return
    assert condition.holds({"results": {"a": 1}}) in (True, False)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_comparisons_agree_with_python(a: float, b: float) -> None:
    for sign, answer in (("<", a < b), ("<=", a <= b), ("==", a == b), ("!=", a != b)):
        assert holds(f"a {sign} b", a=a, b=b) is answer
