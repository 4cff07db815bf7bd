from __future__ import annotations

import argparse
import enum
import json
import math
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mlrun.names import MAX_BYTES, clean_text
from mlrun.tracking.runconfig import RunConfig, nest
from mlrun.tracking.scalars import UNTAKEN, as_float
from mlrun.tracking.values import decode, encode, pretty

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=10,
)


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


@dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    inner: dict[str, int] = field(default_factory=lambda: {"a": 1})


class Model:
    """Looks like a pydantic model."""

    def model_dump(self) -> dict[str, Any]:
        return {"width": 3}


class Conf:
    """Looks like an OmegaConf mapping."""

    def keys(self) -> list[str]:
        return ["x"]

    def __getitem__(self, key: str) -> int:
        return 1


class Hostile:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no attributes today")

    def __repr__(self) -> str:
        raise RuntimeError("no repr today")


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and bool(a == b)


@given(json_values)
def test_what_json_knows_comes_back_as_it_was(value: Any) -> None:
    text, kind, exact = encode(value)
    assert exact
    assert same(decode(text), value)
    words = {
        bool: "bool",
        int: "int",
        float: "float",
        str: "str",
        list: "list",
        dict: "dict",
        type(None): "null",
    }
    assert kind == words[type(value)]


@pytest.mark.parametrize(
    ("value", "stored", "kind"),
    [
        (np.float32(0.5), 0.5, "float"), (np.int64(3), 3, "int"), (np.bool_(True), True, "bool"),
        (np.array([1, 2]), [1, 2], "list"), (np.array(7), 7, "int"), ((1, 2), [1, 2], "list"), ({3, 1}, [1, 3], "list"),
        (Path("a/b"), "a/b", "str"), (Colour.RED, "red", "str"), (Size.BIG, 3, "int"), (range(3), [0, 1, 2], "list"),
        (date(2024, 1, 2), "2024-01-02", "str"), (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00", "str"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001", "str"), (math.sqrt, "math.sqrt", "str"),
        (Optimizer, f"{__name__}.Optimizer", "str"),
        (Optimizer(), {"lr": 0.1, "betas": [0.9, 0.99], "inner": {"a": 1}}, "dict"),
        (Model(), {"width": 3}, "dict"), (Conf(), {"x": 1}, "dict"), (SimpleNamespace(a=1), {"a": 1}, "dict"),
        ({1: 2, None: 3}, {"1": 2, "None": 3}, "dict"), ("\ud800", "\ufffd", "str"),
    ],
)  # fmt: skip
def test_what_has_a_json_form_is_stored_in_it(value: Any, stored: Any, kind: str) -> None:
    text, found, exact = encode(value)
    assert (decode(text), found, exact) == (stored, kind, True)


@pytest.mark.parametrize(
    "value",
    [object(), 1j, b"bytes", np.zeros(20_000), 10**5000, Hostile()],
    ids=["object", "complex", "bytes", "array", "huge", "hostile"],
)
def test_the_rest_is_stored_as_its_repr(value: Any) -> None:
    text, kind, exact = encode(value)
    assert (kind, exact) == ("str", False)
    assert decode(text) == pretty(value)
    assert len(text) < 10_000


def test_a_list_that_holds_itself_is_stored_as_its_repr() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert encode(value) == ('"[1, [...]]"', "str", False)


def test_hostile_numbers_are_no_numbers() -> None:
    assert as_float(Hostile()) is UNTAKEN


@given(st.text())
def test_cleaned_text_is_short_unicode_without_nul(text: str) -> None:
    stored, change = clean_text(text)
    assert "\0" not in stored
    assert len(stored.encode("utf-8")) <= MAX_BYTES
    assert (stored == text) == (change == "")
    assert clean_text(stored) == (stored, "")


@given(st.text(min_size=300, max_size=2000, alphabet="aé漢🎉"))
def test_text_is_cut_at_a_character(text: str) -> None:
    stored, _ = clean_text(text)
    assert text.startswith(stored)
    if stored != text:
        following = text[len(stored)]
        assert len((stored + following).encode()) > MAX_BYTES


def changes_of(config: RunConfig, change: Any) -> list[tuple[dict[str, Any], list[str]]]:
    told: list[tuple[dict[str, Any], list[str]]] = []
    config._changed = lambda new, gone: told.append((new, gone))
    change(config)
    config._changed = None
    return told


def test_a_param_is_reached_by_steps_and_by_its_path() -> None:
    config = RunConfig({"lr": 0.1, "model": {"depth": 3, "head": {"width": 8}}, "a.b": 1})
    assert (
        config["model"]["head"]["width"]
        == config["model.head.width"]
        == config["model"]["head.width"]
        == 8
    )
    assert config["a.b"] == 1
    assert config["model"] == {"depth": 3, "head": {"width": 8}}
    assert dict(config)["lr"] == 0.1
    assert list(config) == ["lr", "model", "a.b"]
    assert "model.depth" in config
    assert "model.deep" not in config
    with pytest.raises(KeyError, match=r"did you mean 'model\.depth'"):
        config["model.dept"]


def test_every_change_is_told_with_flat_keys() -> None:
    config = RunConfig({"lr": 0.1, "model": {"depth": 3, "width": 8}})
    assert changes_of(config, lambda c: c.__setitem__("lr", 0.2)) == [({"lr": 0.2}, [])]
    assert changes_of(config, lambda c: c["model"].__setitem__("depth", 4)) == [
        ({"model.depth": 4}, [])
    ]
    assert changes_of(config, lambda c: c.__setitem__("model.depth", 5)) == [
        ({"model.depth": 5}, [])
    ]
    assert changes_of(config, lambda c: c.update({"model": {"width": 9}}, epochs=3)) == [
        ({"model.width": 9, "epochs": 3}, [])
    ]
    assert changes_of(config, lambda c: c.__setitem__("model", {"kind": "mlp"})) == [
        ({"model.kind": "mlp"}, ["model.depth", "model.width"])
    ]
    assert changes_of(config, lambda c: c.__delitem__("epochs")) == [({}, ["epochs"])]
    assert changes_of(config, lambda c: c.update(lr=0.2)) == []
    assert config == {"lr": 0.2, "model": {"kind": "mlp"}}


def test_a_number_that_only_changes_its_type_is_told() -> None:
    config = RunConfig({"a": 1})
    assert changes_of(config, lambda c: c.update(a=1.0)) == [({"a": 1.0}, [])]
    assert changes_of(config, lambda c: c.update(a=True)) == [({"a": True}, [])]


@pytest.mark.parametrize(
    "given_config",
    [
        argparse.Namespace(lr=0.1, opt=argparse.Namespace(name="sgd")),
        {"lr": 0.1, "opt": {"name": "sgd"}},
        [("lr", 0.1), ("opt", {"name": "sgd"})],
        SimpleNamespace(lr=0.1, opt=SimpleNamespace(name="sgd")),
    ],
)
def test_config_objects_are_mappings(given_config: Any) -> None:
    config = RunConfig()
    config.update(given_config)
    assert config.flat() == {"lr": 0.1, "opt.name": "sgd"}


names = st.text(alphabet="ab", min_size=1, max_size=2)
trees = st.recursive(
    st.dictionaries(names, st.integers(), max_size=3),
    lambda inner: st.dictionaries(names, st.one_of(st.integers(), inner), max_size=3),
    max_leaves=12,
)


@given(trees)
def test_a_tree_survives_being_stored_flat(tree: dict[str, Any]) -> None:
    flat = RunConfig(tree).flat()
    assert RunConfig(nest(flat)).flat() == flat
    for path, value in flat.items():
        assert RunConfig(tree)[path] == value


@given(st.dictionaries(st.text(alphabet="a.b", max_size=5), st.integers(), max_size=5))
def test_any_stored_keys_can_be_read_again(flat: dict[str, int]) -> None:
    config = RunConfig(nest(flat))
    assert config.flat() == flat
    assert {k: config[k] for k in flat} == flat


def test_encoded_text_is_one_that_other_readers_take() -> None:
    assert json.loads(encode({"a": [1, None]})[0]) == {"a": [1, None]}
    assert encode(math.nan)[0] == "NaN"
    assert encode(-math.inf)[0] == "-Infinity"
