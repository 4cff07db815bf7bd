from __future__ import annotations

import math
import threading
import warnings
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

import mlrun
from mlrun.notices import MlrunWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    Points = Callable[..., list[tuple[str, int, float]]]
    Warned = Callable[[], Any]


class Tensor:
    """Looks like a tensor of torch or JAX: a shape, `item()`, and no promise beyond."""

    def __init__(self, value: Any, shape: tuple[int, ...] = ()) -> None:
        self.value = value
        self.shape = shape

    def item(self) -> Any:
        if math.prod(self.shape) != 1:
            raise RuntimeError("a tensor with many elements cannot be converted to a scalar")
        return self.value


class Broken:
    @property
    def shape(self) -> Any:
        raise RuntimeError("no shape today")

    def __float__(self) -> float:
        raise RuntimeError("no float today")

    def __repr__(self) -> str:
        raise RuntimeError("no repr today")


def test_the_step_counts_and_follows_an_explicit_one(points: Points) -> None:
    run = mlrun.init()
    run.log({"a": 1.0})
    run.log({"a": 2.0})
    run.log({"a": 3.0}, step=10)
    run.log({"a": 4.0})
    run.log({"a": 5.0}, step=3)
    run.log({"a": 6.0})
    assert [(s, v) for _, s, v in points(run.id)] == [
        (0, 1),
        (1, 2),
        (10, 3),
        (11, 4),
        (3, 5),
        (4, 6),
    ]
    assert run.step == 5


def test_a_call_returns_nothing_and_gives_all_its_values_one_step(points: Points) -> None:
    run = mlrun.init()
    assert run.log({"a": 1, "b": 2.5, "c": -3}) is None  # type: ignore[func-returns-value]
    assert points(run.id) == [("a", 0, 1.0), ("b", 0, 2.5), ("c", 0, -3.0)]


@pytest.mark.parametrize(
    ("step", "stored"),
    [(7, 7), (7.0, 7), (np.int64(7), 7), (np.float32(7), 7), (Tensor(7), 7), (-2, -2), (True, 1)],
)
def test_steps_of_any_library(points: Points, step: Any, stored: int) -> None:
    run = mlrun.init()
    run.log({"a": 1.0}, step=step)
    run.log({"a": 2.0})
    assert [s for _, s, _ in points(run.id)] == [stored, stored + 1]


@pytest.mark.parametrize("step", [1.5, "3", float("nan"), float("inf"), [1], Broken()])
def test_a_step_without_meaning_warns_once_and_counts(
    points: Points, warned: Warned, step: Any
) -> None:
    run = mlrun.init()
    run.log({"a": 1.0}, step=4)
    with warned() as messages:
        run.log({"a": 2.0}, step=step)
        run.log({"a": 3.0}, step=step)
    assert len(messages) == 1
    assert "whole number" in messages[0]
    assert [s for _, s, _ in points(run.id)] == [4, 5, 6]


def test_a_step_beyond_64_bits_is_refused_and_counted(points: Points, warned: Warned) -> None:
    run = mlrun.init()
    with warned() as messages:
        run.log({"a": 1.0}, step=2**63)
    assert len(messages) == 1
    run.log({"a": 2.0}, step=5)
    assert points(run.id) == [("a", 5, 2.0)]
    assert run.dropped == 1


def test_after_the_last_step_there_is_values_stay_at_it(points: Points, warned: Warned) -> None:
    run = mlrun.init()
    last = 2**63 - 1
    with warned() as messages:
        run.log({"a": 1.0}, step=last)
        assert run.step == last
        run.log({"a": 2.0})
        run.log({"a": 3.0, "b": 3.0})
        run.log({"a": 4.0}, step="no step")  # type: ignore[arg-type]
    assert [(k, v) for k, s, v in points(run.id) if s == last] == [
        ("a", 1.0),
        ("a", 2.0),
        ("a", 3.0),
        ("b", 3.0),
        ("a", 4.0),
    ]
    assert run.dropped == 0
    assert len([m for m in messages if "no step after" in m]) == 1
    run.log({"a": 5.0}, step=7)
    run.log({"a": 6.0})
    assert [s for _, s, v in points(run.id) if v > 4] == [7, 8]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (True, 1.0), (False, 0.0), (3, 3.0), (2.5, 2.5), (Decimal("0.25"), 0.25), (Fraction(1, 8), 0.125),
        (np.float32(0.5), 0.5), (np.int8(-3), -3.0), (np.bool_(True), 1.0), (np.float16(1.5), 1.5),
        (np.array(4.5), 4.5), (np.array([4.5]), 4.5), (np.array([[2]]), 2.0), (Tensor(1.5), 1.5),
        (Tensor(2, (1, 1)), 2.0),
        (float("inf"), math.inf), (-math.inf, -math.inf), (np.float64("inf"), math.inf),
    ],
)  # fmt: skip
def test_numbers_of_any_library(points: Points, value: Any, stored: float) -> None:
    run = mlrun.init()
    run.log({"a": value})
    run.log({"a": value})
    assert points(run.id) == [("a", 0, stored), ("a", 1, stored)]
    assert run.dropped == 0


def test_nan_survives(points: Points) -> None:
    run = mlrun.init()
    run.log({"a": float("nan"), "b": np.float32("nan"), "c": Tensor(float("nan"))})
    assert all(math.isnan(v) for _, _, v in points(run.id))
    assert len(points(run.id)) == 3


def test_none_gives_no_point_and_takes_a_step(points: Points) -> None:
    run = mlrun.init()
    run.log({"a": None, "b": 1.0})
    run.log({"a": None})
    run.log({})
    run.log({"a": 2.0})
    assert points(run.id) == [("b", 0, 1.0), ("a", 3, 2.0)]
    assert run.dropped == 0


def test_an_int_beyond_a_float_is_infinite_with_a_warning(points: Points, warned: Warned) -> None:
    run = mlrun.init()
    with warned() as messages:
        run.log({"a": 10**400})
        run.log({"a": -(10**400)})
    assert [v for _, _, v in points(run.id)] == [math.inf, -math.inf]
    assert len(messages) == 1


def test_nested_dicts_get_slashes(points: Points) -> None:
    run = mlrun.init()
    run.log({"val": {"acc": 0.9, "per": {"cat": 1, 2: 0.5}}, "loss": 1.0, "empty": {}})
    assert sorted(k for k, _, _ in points(run.id)) == [
        "loss",
        "val/acc",
        "val/per/2",
        "val/per/cat",
    ]


def test_keys_become_text(points: Points) -> None:
    run = mlrun.init()
    run.log({1: 1.0, (2, 3): 2.0, None: 3.0})  # type: ignore[dict-item]
    assert [k for k, _, _ in points(run.id)] == ["1", "(2, 3)", "None"]


def test_a_dict_that_holds_itself_ends(points: Points) -> None:
    data: dict[str, Any] = {"a": 1.0}
    data["self"] = data
    run = mlrun.init()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MlrunWarning)
        run.log(data)
    assert ("a", 0, 1.0) in points(run.id)


def test_what_cannot_be_taken_is_told_once_and_counted(points: Points, warned: Warned) -> None:
    run = mlrun.init()
    with warned() as messages:
        for _ in range(3):
            run.log({"ok": 1.0, "bad": object(), "worse": Broken()})
    assert [v for _, _, v in points(run.id)] == [1.0, 1.0, 1.0]
    assert len(messages) == 2
    assert sum("'bad'" in m for m in messages) == 1
    assert (run.unloggable, run.dropped) == (6, 6)
    run.finish()
    assert mlrun.runs()["dropped"].to_list() == [6]


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2], {1, 2}, object(), Broken()])
def test_data_that_is_no_dict_warns_and_goes_on(points: Points, warned: Warned, data: Any) -> None:
    run = mlrun.init()
    with warned() as messages:
        run.log(data)
        run.log(data)
    run.log({"a": 1.0})
    assert len(messages) == 1
    assert "dict" in messages[0]
    assert points(run.id) == [("a", 2, 1.0)]


def test_text_and_tables_go_the_slow_way(points: Points) -> None:
    run = mlrun.init(project="p")
    run.log({"note": "all is well", "loss": 1.0, "sizes": [1, 2, 3]}, step=4)
    run.finish()
    assert points(run.id) == [("loss", 4, 1.0)]
    assert sorted(mlrun.artifacts(run.id)["key"].to_list()) == ["note", "sizes"]
    assert mlrun.get_artifact("p/note").get() == b"all is well"


def test_the_key_limit_warns_at_80_percent_and_refuses_at_100(
    points: Points, warned: Warned
) -> None:
    run = mlrun.init(max_metric_keys=10)
    with warned() as messages:
        run.log({f"k{i}": 1.0 for i in range(7)})
    assert messages == []
    with warned() as messages:
        run.log({"k7": 1.0})
        run.log({"k8": 1.0})
    assert len(messages) == 1
    assert "8 metric keys" in messages[0]
    with warned() as messages:
        run.log({"k9": 1.0, "k10": 1.0, "k11": 1.0, "k0": 2.0})
        run.log({"k12": 1.0})
    assert len(messages) == 1
    assert "MLRUN_MAX_METRIC_KEYS" in messages[0]
    assert sorted({k for k, _, _ in points(run.id)}) == sorted(f"k{i}" for i in range(10))
    assert points(run.id)[-1] == ("k0", 3, 2.0)
    assert run.dropped == 3


def test_logging_after_the_end_warns_once_and_counts(points: Points, warned: Warned) -> None:
    run = mlrun.init()
    run.log({"a": 1.0})
    run.finish()
    with warned() as messages:
        run.log({"a": 2.0})
        run.log({"a": 3.0, "b": 1.0})
        run.log({})
    assert len(messages) == 1
    assert "finished" in messages[0]
    assert points(run.id) == [("a", 0, 1.0)]
    assert run.dropped == 3


def test_warnings_as_errors_do_not_end_a_run(
    points: Points, capsys: pytest.CaptureFixture[str]
) -> None:
    run = mlrun.init()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.log({"a": 1.0}, step="x")  # type: ignore[arg-type]
    assert points(run.id) == [("a", 0, 1.0)]
    assert "whole number" in capsys.readouterr().err


def test_a_warning_points_at_the_line_that_called() -> None:
    run = mlrun.init()
    with pytest.warns(MlrunWarning) as caught:
        run.log({"a": 1.0}, step="x")  # type: ignore[arg-type]
    assert caught[0].filename == __file__


def test_threads_never_share_an_automatic_step(points: Points) -> None:
    run = mlrun.init()
    run.log({"a": 0.0})

    def work() -> None:
        for _ in range(500):
            run.log({"a": 1.0})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(s for _, s, _ in points(run.id)) == list(range(2001))


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.dictionaries(
        st.one_of(st.text(max_size=20), st.integers(), st.none()),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.fractions()),
            lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=6,
    )
)
def test_any_numbers_under_any_keys(points: Points, data: dict[Any, Any]) -> None:
    run = mlrun.init(system_metrics=False, console=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MlrunWarning)
        run.log(data, step=3)
    stored = points(run.id)
    run.finish()
    assert {s for _, s, _ in stored} <= {3}
    assert len(stored) <= _leaves(data)
    if all(isinstance(k, str) and "\0" not in k for k in data) and not any(
        isinstance(v, dict) for v in data.values()
    ):
        assert {k for k, _, _ in stored} == {k for k, v in data.items() if v is not None}
    assert run.dropped == 0


def _leaves(data: Any) -> int:
    return sum(map(_leaves, data.values())) if isinstance(data, dict) else data is not None
