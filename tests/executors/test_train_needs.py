"""A process group of torch is made for calls that may use it, and for those of which it cannot be seen."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from mlrun.execution.perform import perform
from mlrun.execution.task import Task
from mlrun.executors import train_needs
from mlrun.executors.train_needs import may_use_torch


@pytest.fixture(autouse=True)
def with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_needs, "find_spec", lambda name: name)


def calls(code: dict[str, Any]) -> bool:
    found: bool = may_use_torch(perform, [Task("i", "n", "p", function={"code": code})])
    return found


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("def f():\n    return 1\n", False),
        ("import os, numpy as np\nfrom sklearn.svm import SVC\n", False),
        ("NOTE = 'import torch'\n", False),
        ("import torch\n", True),
        ("def f():\n    from torch import nn\n", True),
        ("import my_models\n", True),
        ("from .models import net\n", True),
        ("import importlib\nnet = importlib.import_module('to' + 'rch')\n", True),
        ("net = __import__('torch')\n", True),
        ("def f(:\n", True),
    ],
)
def test_the_text_of_a_function_tells(text: str, may: bool) -> None:
    assert calls({"kind": "source", "text": text}) is may


def test_what_cannot_be_seen_may() -> None:
    assert calls({"kind": "pickle", "data": ""})
    assert calls({"kind": "module", "name": "my.trainer"})


def test_a_callable_of_no_module_may() -> None:
    def here() -> None:
        pass

    here.__module__ = "nowhere"
    assert may_use_torch(here, [])


def test_a_callable_is_told_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def here() -> None:
        pass

    assert not may_use_torch(here, [])
    monkeypatch.setattr(train_needs, "find_spec", lambda name: None)
    assert not may_use_torch(sys.exit, [])
