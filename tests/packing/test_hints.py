from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from mlrun.errors import ConfigError
from mlrun.packing.hints import LogHint, parse_hints


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("model", ("model", "", 0, {})),
        ("model:model", ("model", "model", 0, {})),
        (" my model : dataset ", ("my model", "dataset", 0, {})),
        ("a/b:dataset[format=csv]", ("a/b", "dataset", 0, {"format": "csv"})),
        (
            "m : model[framework='sklearn', n=3]",
            ("m", "model", 0, {"framework": "sklearn", "n": 3}),
        ),
        ("*parts", ("parts", "", 1, {})),
        ("**named", ("named", "", 1, {})),
        ("2*deep : result", ("deep", "result", 2, {})),
        ("k : [format=csv]", ("k", "", 0, {"format": "csv"})),
    ],
)
def test_hints_are_read(text: str, wanted: tuple[Any, ...]) -> None:
    hint = LogHint.of(text)
    assert (hint.key, hint.artifact_type, hint.itemized, dict(hint.packing_kwargs)) == wanted


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ("", "cannot read"),
        (" : model", "cannot read"),
        ("x : modle", "did you mean 'model'"),
        ("x : model[f(1)]", "options are written"),
        ("x : model[a=f(1)]", "plain value"),
        ("x : model[**a]", "options are written"),
        (3, "a log hint is text"),
        ({"keys": "x"}, "unexpected keyword"),
    ],
)
def test_what_is_no_hint_is_told(given_: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LogHint.of(given_)


def test_one_hint_need_not_be_a_list_and_none_keeps_nothing() -> None:
    assert [h and h.key for h in parse_hints("a")] == ["a"]
    assert [h and h.key for h in parse_hints(["a", None, {"key": "b"}])] == ["a", None, "b"]


def test_two_values_of_one_key_are_refused() -> None:
    with pytest.raises(ConfigError, match="key 'a'"):
        parse_hints(["a", "a : model"])


@given(st.text(max_size=30))
def test_any_text_is_a_hint_or_a_clear_refusal(text: str) -> None:
    try:
        hint = LogHint.of(text)
    except ConfigError:
        return
    assert hint.key
