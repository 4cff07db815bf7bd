from __future__ import annotations

import json
from typing import Any

import pytest

from mlrun.errors import ConfigError
from mlrun.hyper.options import HyperParamOptions
from mlrun.hyper.space import KINDS, Draw, read_space, space_record


def test_lists_are_choices_and_tuples_that_name_a_kind_are_ranges() -> None:
    assert Draw.of("x", [1, "a"]) == Draw("choice", (1, "a"))
    assert Draw.of("x", ("uniform", 0, 1)) == Draw("uniform", (0, 1))
    assert Draw.of("x", {"randint": [1, 5]}) == Draw("randint", (1, 5))
    assert Draw.of("x", ("choice", [1, 2])) == Draw("choice", (1, 2))
    assert Draw.of("x", ("adam", "sgd")) == Draw("choice", ("adam", "sgd"))
    assert Draw.of("x", ["uniform", 0, 1]).kind == "choice"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "list of values or a range"),
        ("abc", "list of values or a range"),
        ([], "empty"),
        (("uniform", 1), "takes 2 numbers"),
        (("quniform", 0, 1), "takes 3 numbers"),
        (("uniform", 2, 1), "not below"),
        (("loguniform", 0, 1), "above 0"),
        ({"uniforn": [0, 1]}, "none of"),
        ({"uniform": [0, 1], "randint": [0, 1]}, "none of"),
        (("uniform", "a", "b"), "numbers"),
    ],
)
def test_what_is_no_range_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Draw.of("x", given)


def test_a_space_survives_its_json_form() -> None:
    given: dict[str, Any] = {"lr": ("loguniform", 1e-4, 0.1), "depth": [2, 4], "n": ("randn", 0, 1)}
    options = HyperParamOptions(strategy="tune")
    space = read_space(given, options)
    assert read_space(json.loads(json.dumps(space_record(space))), options) == space


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["choice", *KINDS])
def test_ray_tune_has_a_word_for_every_kind(kind: str) -> None:
    from mlrun.executors.tune_names import domain_of

    numbers = (1, 10, 1)[: KINDS.get(kind, 2)]
    drawn = domain_of(Draw(kind, numbers)).sample()
    assert isinstance(drawn, int | float)
