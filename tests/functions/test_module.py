"""Code is loaded once, shows its lines, and says what it lacks."""

from __future__ import annotations

import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

import mlrun
from mlrun.errors import ConfigError, RunError
from mlrun.functions.module import load_callable, load_source


def source(text: str, **more: Any) -> dict[str, Any]:
    return {"name": "f", "code": {"kind": "source", "text": text, "filename": "code.py"}, **more}


def test_the_same_content_is_loaded_once() -> None:
    text = "made = []\ndef f():\n    made.append(1)\n    return len(made)\n"
    assert load_callable(source(text))() == 1
    assert load_callable(source(text))() == 2
    assert load_callable(source(text + "# changed\n"))() == 1


def test_tracebacks_show_the_lines_of_text_that_is_in_no_file() -> None:
    found = load_callable(source("def f():\n    raise ValueError('here')\n"))
    with pytest.raises(ValueError, match="here") as caught:
        found()
    assert "raise ValueError('here')" in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_still_the_same_is_the_module_s_file(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("7")
    (tmp_path / "reader.py").write_text(
        "from pathlib import Path\ndef read():\n    return int((Path(__file__).parent / 'data.txt').read_text())\n"
    )
    fn = mlrun.code_to_function(filename=str(tmp_path / "reader.py"))
    assert fn.run().results == {"return": 7}


def test_what_lies_beside_a_file_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "beside_it_9.py").write_text("X = 5\n")
    (tmp_path / "user.py").write_text("import beside_it_9\ndef f():\n    return beside_it_9.X\n")
    assert mlrun.code_to_function(filename=str(tmp_path / "user.py")).run().results == {"return": 5}


def test_dataclasses_and_pickles_of_a_function_s_classes_work() -> None:
    import cloudpickle

    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
    module = load_source(text, "shapes.py")
    data = cloudpickle.dumps(module.P(3))
    name = module.__name__
    kept = sys.modules.pop(name)
    try:
        assert pickle.loads(data).x == 3
    finally:
        sys.modules[name] = kept


@pytest.mark.parametrize(
    ("text", "handler", "wanted"),
    [
        ("def only(): return 1", "", 1),
        ("def handler(): return 1\ndef other(): return 2", "", 1),
        ("def f(): return 1\ndef other(): return 2", "", 1),
        ("def a(): return 1\ndef b(): return 2", "b", 2),
        ("class C:\n    def m(self): return 3", "C::m", 3),
        ("class C:\n    @classmethod\n    def m(cls): return cls.__name__", "C::m", "C"),
        ("import json\ndef f(): ...", "json.dumps", "f"),
        ("def _hidden(): ...\ndef seen(): return 4", "", 4),
    ],
)
def test_handlers_are_found(text: str, handler: str, wanted: Any) -> None:
    found = load_callable(source(text), handler)
    assert (found.__name__[-1] == "s") if wanted == "f" else (found() == wanted)


@pytest.mark.parametrize(
    ("text", "handler", "said"),
    [
        ("def train(): ...", "trian", "did you mean 'train'"),
        ("def a(): ...\ndef b(): ...", "", "one of a, b"),
        ("x = 1", "x", "cannot be called"),
        ("class C: ...", "C::go", "no handler 'C::go'"),
        ("def f(): ...", "no_such_module_7.f", "no module 'no_such_module_7'"),
    ],
)
def test_what_is_lacking_is_said(text: str, handler: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_callable(source(text), handler)


def test_a_function_without_code_says_so() -> None:
    with pytest.raises(ConfigError, match="no code"):
        load_callable({"name": "f"})


def test_a_pickle_of_another_python_is_refused() -> None:
    code = {"kind": "pickle", "data": "", "python": "2.7"}
    with pytest.raises(ConfigError, match=r"Python 2\.7"):
        load_callable({"name": "f", "code": code})


def test_code_that_raises_as_it_is_loaded_fails_the_run_with_its_reason() -> None:
    Path("bad.py").write_text("import no_such_thing_1\ndef f(): ...\n")
    with pytest.raises(RunError, match="no_such_thing_1"):
        mlrun.code_to_function(filename="bad.py").run()


def test_a_script_without_functions_runs_from_its_top() -> None:
    Path("script.py").write_text(
        "import mlrun\n"
        "ctx = mlrun.get_or_create_ctx('script')\n"
        "if __name__ == '__main__':\n    ctx.log_result('y', ctx.get_param('x') + 1)\n"
    )
    assert mlrun.code_to_function(filename="script.py").run(params={"x": 1}).results == {"y": 2}


def test_a_source_folder_comes_first_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "inside_repo_3.py").write_text("Y = 6\n")
    fn = mlrun.new_function("f", handler="inside_repo_3.f", source=str(tmp_path / "repo"))
    fn.with_code(body="import inside_repo_3\ndef f():\n    return inside_repo_3.Y\n").update(
        handler="f"
    )
    assert fn.run().results == {"return": 6}
    assert fn.needs().source == str(tmp_path / "repo")


def test_function_to_module_takes_files_notebooks_and_functions() -> None:
    Path("shop.py").write_text("def price(n):\n    return 2 * n\n")
    module = mlrun.function_to_module("shop.py")
    assert module.price(2) == 4
    assert mlrun.function_to_module(mlrun.code_to_function(filename="shop.py")).price(3) == 6
    with pytest.raises(ConfigError, match="no source"):
        mlrun.function_to_module(mlrun.new_function("f", handler=lambda: 1))
