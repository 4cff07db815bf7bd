from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mlrun.errors import ConfigError
from mlrun.hyper.options import HyperParamOptions
from mlrun.hyper.strategies import plan, read_param_file


def rows(hyperparams: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    return list(plan(hyperparams, HyperParamOptions(**options)))


def test_in_a_grid_the_first_key_varies_fastest() -> None:
    assert rows({"p1": [1, 2], "p2": [3, 4]}) == [
        {"p1": 1, "p2": 3},
        {"p1": 2, "p2": 3},
        {"p1": 1, "p2": 4},
        {"p1": 2, "p2": 4},
    ]


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_grid_has_every_combination_once(values: list[list[int]]) -> None:
    indexed = {f"k{i}": list(enumerate(v)) for i, v in enumerate(values)}
    found = rows(indexed)
    size = 1
    for v in values:
        size *= len(v)
    assert len(found) == size == len({tuple(row.items()) for row in found})


def test_a_list_takes_the_first_values_then_the_second() -> None:
    assert rows({"a": [1, 2], "b": ["x", "y"]}, strategy="list") == [
        {"a": 1, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_random_draws_ten_times_unless_told() -> None:
    assert len(rows({"a": [1, 2, 3]}, strategy="random")) == 10
    assert len(rows({"a": [1, 2, 3]}, strategy="random", max_iterations=25)) == 25


def test_random_with_a_seed_draws_the_same_again() -> None:
    given_ = {"a": list(range(1000)), "b": list(range(1000))}
    first = rows(given_, strategy="random", seed=7)
    assert first == rows(given_, strategy="random", seed=7)
    assert first != rows(given_, strategy="random", seed=8)


def test_rows_of_csv_are_iterations_with_typed_cells() -> None:
    found, from_csv = read_param_file("p.csv", "lr,opt,deep\n0.1,adam,True\n1e-2,sgd,\n")
    assert from_csv
    assert found == {"lr": [0.1, 0.01], "opt": ["adam", "sgd"], "deep": [True, None]}


def test_json_is_an_object_of_lists() -> None:
    assert read_param_file("p.json", json.dumps({"a": [1]})) == ({"a": [1]}, False)
    with pytest.raises(ConfigError, match="object of lists"):
        read_param_file("p.json", "[1]")


@pytest.mark.parametrize(
    ("hyperparams", "options", "words"),
    [
        ({}, {}, "needs hyperparams"),
        ({"a": 3}, {}, "list of values"),
        ({"a": "abc"}, {}, "list of values"),
        ({"a": []}, {}, "empty"),
        ({"a": [1], "b": [1, 2]}, {"strategy": "list"}, "one length: a has 1, b has 2"),
        ({"a": [1]}, {"param_file": "x.csv"}, "not both"),
    ],
)
def test_what_cannot_be_planned_is_told(
    hyperparams: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        rows(hyperparams, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "gird"}, "did you mean 'grid'"),
        ({"max_iterations": 3}, "random and tune"),
        ({"parallel_runs": 0}, "at least 1"),
        ({"max_errors": True}, "whole number"),
        ({"selector": "best.acc"}, "illegal iteration selector"),
        ({"stop_condition": "__import__('os')"}, "not allowed"),
        ({"scheduler": "asha"}, "strategy='tune'"),
    ],
)
def test_options_without_meaning_cost_no_run(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        HyperParamOptions(**options)


def test_options_come_as_dict_too_and_unknown_names_are_told() -> None:
    options = HyperParamOptions.of({"selector": "max.acc", "max_errors": 1})
    assert options.to_dict() == {"selector": "max.acc", "max_errors": 1}
    with pytest.raises(ConfigError, match="did you mean 'selector'"):
        HyperParamOptions.of({"selectr": "max.acc"})
