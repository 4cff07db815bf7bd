"""The hash of a function changes when its code or spec changes, and only then."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import mlrun
from mlrun.functions.function import Function
from mlrun.functions.hashing import content_hash
from mlrun.functions.spec import FunctionSpec

CODE = {"kind": "source", "text": "def train():\n    return 1\n", "filename": "trainer.py"}


def spec(**changes: Any) -> FunctionSpec:
    base = {"name": "train", "project": "digits", "code": CODE, "env": {"A": "1", "B": "2"}}
    return FunctionSpec.from_dict({**base, **changes})


CHANGES: list[dict[str, Any]] = [
    {"name": "other"},
    {"kind": "local"},
    {"handler": "train"},
    {"code": {**CODE, "text": "def train():\n    return 2\n"}},
    {"image": "python:3.12"},
    {"requirements": ["numpy"]},
    {"env": {"A": "2", "B": "2"}},
    {"secrets": {"TOKEN": "env:TOKEN"}},
    {"resources": {"num_cpus": 2}},
    {"replicas": 2},
    {"node_selector": {"gpu": "yes"}},
    {"retry": {"count": 1}},
    {"state_thresholds": {"executing": "1h"}},
    {"time_limit": 60},
    {"description": "better"},
    {"labels": {"team": "cv"}},
    {"source": "./"},
    {"a_field_of_tomorrow": 1},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: next(iter(c)))
def test_every_change_of_code_or_spec_changes_it(change: dict[str, Any]) -> None:
    assert content_hash(spec(**change)) != content_hash(spec())


@pytest.mark.parametrize(
    "change",
    [
        {"tag": "v1"},
        {"hash": "abc"},
        {"updated": "2024-01-01"},
        {"created": "2024-01-01"},
        {"status": {"state": "ready"}},
        {"env": {"B": "2", "A": "1"}},
        {"code": dict(reversed(CODE.items()))},
        {"code": {**CODE, "origin": "/somewhere/else/trainer.py"}},
        {"context": "/somewhere/else"},
        {"image": None},
    ],
    ids=lambda c: f"{next(iter(c))}",
)
def test_what_is_neither_code_nor_spec_does_not_change_it(change: dict[str, Any]) -> None:
    assert content_hash(spec(**change)) == content_hash(spec())


def test_the_routine_is_sha1_of_sorted_json() -> None:
    content = {"name": "f", "kind": "job", "image": "python"}
    text = json.dumps(content, sort_keys=True)
    wanted = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    assert content_hash({**content, "tag": "v3"}) == wanted
    assert len(wanted) == 40


def test_reading_it_back_from_yaml_and_store_keeps_it(tmp_path: Path) -> None:
    source = "# é 'quotes' \"\n\ndef train(context):\n\treturn 'a: b'   \n\n\n"
    Path("trainer.py").write_text(source, "utf-8")
    fn = mlrun.code_to_function(
        "train", "digits", filename="trainer.py", requirements=["numpy>=2"], env={"YES": "yes"},
        resources={"num_cpus": 0.5, "memory": "1Gi", "custom": {"fpga": 1}}, time_limit="1h",
    )  # fmt: skip
    fn.save()
    exported = fn.export(tmp_path / "out" / "function.yaml")
    assert mlrun.import_function(str(exported)).hash == fn.hash
    assert mlrun.import_function("digits/train").hash == fn.hash
    assert mlrun.import_function(fn.uri).spec.code["text"] == source
    assert (
        Function(FunctionSpec.from_dict(json.loads(json.dumps(fn.spec.to_dict())))).hash == fn.hash
    )


def test_where_the_file_lies_does_not_change_it(tmp_path: Path) -> None:
    hashes = set()
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "trainer.py").write_text("def train(): ...\n")
        made = mlrun.code_to_function(filename=str(tmp_path / place / "trainer.py"))
        script = mlrun.new_function("s", command=str(tmp_path / place / "trainer.py"))
        hashes.add((made.hash, script.hash))
    assert len(hashes) == 1


def test_a_script_s_text_is_part_of_its_version(tmp_path: Path) -> None:
    Path("a.py").write_text("print(1)\n")
    before = mlrun.new_function("s", command="a.py").hash
    Path("a.py").write_text("print(2)\n")
    assert mlrun.new_function("s", command="a.py").hash != before
