"""Callables become source where that makes them again, else pickles; their hash is that of what they do."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mlrun
from mlrun.errors import ConfigError
from mlrun.functions.callables import code_of, name_of
from mlrun.functions.fingerprint import fingerprint
from mlrun.functions.module import load_callable

FACTOR = 3
TABLE = {"a": [1, 2]}
LIVE = [object()]


def helper(x: float) -> float:
    return math.sqrt(x) * FACTOR


def plain(x: float) -> float:
    return helper(x) + len(TABLE["a"])


def uses_live(x: int) -> int:
    return x + len(LIVE)


def later(x: Path | None) -> str:
    return json.dumps(str(x))


@mlrun.handler(outputs=["doubled"])
def marked(x: int) -> int:
    return 2 * x


class Scaler:
    """Multiplies."""

    def __init__(self, by: int = FACTOR) -> None:
        self.by = by

    def apply(self, x: int) -> int:
        return x * self.by

    @staticmethod
    def half(x: float) -> float:
        return x / 2

    def __call__(self, x: int) -> int:
        return self.apply(x)


def times(by: int) -> Any:
    return lambda x: x * by


def reload(target: Any) -> Any:
    made = code_of(target)
    spec = json.loads(json.dumps({"name": "f", "code": made.code, "handler": made.handler}))
    return load_callable(spec)


def test_a_function_takes_along_what_it_uses_of_its_module() -> None:
    made = code_of(plain)
    assert made.code["kind"] == "source"
    text = made.code["text"]
    assert text.index("FACTOR = 3") < text.index("def helper") < text.index("def plain")
    assert "import math" in text
    assert "uses_live" not in text
    assert reload(plain)(4) == plain(4)


def test_annotations_that_are_only_text_stay_text() -> None:
    assert "from __future__ import annotations" in code_of(later).code["text"]
    assert reload(later)(None) == '"None"'


def test_a_decorated_handler_keeps_its_decorator() -> None:
    assert "@mlrun.handler" in code_of(marked).code["text"]
    run = mlrun.new_function("m", handler=marked).run(params={"x": 4})
    assert run.results == {"doubled": 8}


def test_what_uses_live_objects_is_pickled() -> None:
    made = code_of(uses_live)
    assert made.code["kind"] == "pickle"
    assert "def uses_live" in made.code["text"]
    assert reload(uses_live)(1) == 2


@pytest.mark.parametrize(
    ("target", "given", "wanted"),
    [
        (lambda x: x + 1, 1, 2),
        (times(5), 2, 10),
        (partial(pow, 2), 3, 8),
        (Scaler(4), 2, 8),
        (Scaler(5).apply, 2, 10),
        (Scaler.apply, 2, 6),
        (Scaler.half, 3, 1.5),
        (math.sqrt, 4, 2.0),
        (json.dumps, [1], "[1]"),
    ],
    ids=[
        "lambda",
        "closure",
        "partial",
        "instance",
        "bound",
        "method",
        "static",
        "builtin",
        "library",
    ],
)
def test_every_kind_of_callable_runs(target: Any, given: Any, wanted: Any) -> None:
    assert reload(target)(given) == wanted


def test_a_method_is_its_class_and_its_name() -> None:
    made = code_of(Scaler.apply)
    assert made.handler == "Scaler::apply"
    assert "class Scaler" in made.code["text"]
    fn = mlrun.new_function("s", handler=Scaler.apply)
    assert fn.run(params={"x": 2, "_init_args": {"by": 7}}).results == {"return": 14}


def test_what_a_library_holds_travels_by_name() -> None:
    made = code_of(json.dumps)
    assert made.code["kind"] == "module"
    assert made.code["name"] == "json"
    assert len(made.code["digest"]) == 40


def test_names_of_callables() -> None:
    assert [name_of(t) for t in (plain, Scaler.apply, times(1), partial(plain), Scaler())] == [
        "plain", "Scaler-apply", "function", "plain", "Scaler",
    ]  # fmt: skip


def test_what_cannot_be_sent_says_why() -> None:
    handle = (c for c in "ab")
    with pytest.raises(ConfigError, match=r"cannot be sent.*generator"):
        code_of(lambda: handle)


def test_a_wrapper_that_is_not_in_the_source_is_not_lost() -> None:
    import functools

    @functools.wraps(plain)
    def louder(x: float) -> float:
        return 100 * plain(x)

    assert reload(louder)(4) == 100 * plain(4)


def test_the_hash_of_a_pickle_follows_what_it_does() -> None:
    def hash_of(target: Any) -> str:
        return mlrun.new_function("f", handler=target).hash

    assert hash_of(times(2)) == hash_of(times(2)) != hash_of(times(3))
    assert hash_of(Scaler(2).apply) == hash_of(Scaler(2).apply) != hash_of(Scaler(3).apply)


_PROGRAM = """
import mlrun
LIVE = {object: 1}
class Thing:
    def __init__(self): self.names = {"b", "a", "c"}
    def use(self, x): return x, LIVE
def f(x, thing=Thing()): return thing.use(x)
print(mlrun.new_function("f", handler=f).hash)
"""


def test_the_hash_of_a_pickle_is_the_same_in_every_process(tmp_path: Path) -> None:
    Path("program.py").write_text(_PROGRAM)
    told = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "program.py"], env=env, check=True, capture_output=True, text=True
        )
        told.add(done.stdout)
    assert len(told) == 1


def test_fingerprints_of_circles_end() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert len(fingerprint(lambda: circle)) == 40


_LIBRARY = """
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from mlrun.functions.fingerprint import fingerprint
tools = {"make": make_pipeline, "score": roc_auc_score}
print(fingerprint(lambda x: tools[x](x)))
"""


@pytest.mark.soak
def test_a_librarys_functions_count_by_their_names_and_are_the_same_in_every_process() -> None:
    """What hangs on them (locks, caches, whole modules) differs from process to process."""
    pytest.importorskip("sklearn")
    told = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", _LIBRARY], env=env, check=True, capture_output=True, text=True
        )
        told.add(done.stdout)
    assert len(told) == 1
    tools = {"dump": json.dumps}
    other = {"dump": json.loads}
    assert fingerprint(lambda: tools) != fingerprint(lambda: other)
