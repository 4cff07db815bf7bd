"""Notebooks become source: annotations, magics, names with dots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mlrun
from mlrun.errors import ConfigError
from mlrun.functions.notebook import notebook_source, strip_magics


def notebook(path: str, *cells: str | list[str]) -> Path:
    made: list[dict[str, Any]] = [
        {"cell_type": "code", "source": c, "metadata": {}, "outputs": []} for c in cells
    ]
    made.insert(
        0,
        {"cell_type": "markdown", "source": "# def not_code(): ...", "metadata": {}, "outputs": []},
    )
    Path(path).write_text(json.dumps({"cells": made, "nbformat": 4, "metadata": {}}), "utf-8")
    return Path(path)


def test_without_annotations_all_code_cells_count() -> None:
    text = notebook_source(
        notebook("a.ipynb", ["import json\n", "x = 1"], "def f():\n    return x")
    )
    assert text == "import json\nx = 1\n\ndef f():\n    return x\n"


@pytest.mark.parametrize("word", ["mlrun", "nuclio"])
def test_annotations_choose_the_code(word: str) -> None:
    path = notebook(
        "a.ipynb",
        "before = 1",
        f"# {word}: start-code",
        "def f(): return g()",
        f"# {word}: ignore\ndef g(): return 'ignored'",
        f"def g(): return 2\n# {word}: end-code\nafter = 3",
        "f()",
    )
    text = notebook_source(path)
    assert "def f(): return g()" in text
    assert "def g(): return 2" in text
    assert not any(word in text for word in ("before", "ignored", "after", "f()\n"))


def test_several_pairs_are_joined() -> None:
    path = notebook(
        "a.ipynb",
        "#mlrun:start-code\na = 1\n# mlrun: end-code",
        "skip = 1",
        "# mlrun: start-code\nb = 2",
    )
    assert notebook_source(path).split() == ["a", "=", "1", "b", "=", "2"]


def test_an_end_alone_ends_the_code() -> None:
    assert notebook_source(notebook("a.ipynb", "a = 1", "# mlrun: end-code", "b = 2")) == "a = 1\n"


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("%matplotlib inline\nx = 1", "# %matplotlib inline\nx = 1"),
        ("!pip install 'x\ny = 2", "# !pip install 'x\ny = 2"),
        ("files = !ls\nz = 3", "# files = !ls\nz = 3"),
        ("df.head?\nx = 1", "# df.head?\nx = 1"),
        ("?df\nx = 1", "# ?df\nx = 1"),
        ("if x:\n    !ls\ny = 1", "if x:\n    pass  # !ls\ny = 1"),
        ("!pip install \\\n   a b\nx = 1", "# !pip install \\\n# a b\nx = 1"),
        ("%%time\nx = 1", "# %%time\nx = 1"),
        ("%%bash\nrm -rf /", ""),
        ("%%writefile a.py\nx = 1", ""),
        ("x = (7\n% 4)", "x = (7\n% 4)"),
        ('t = """\n%matplotlib\n!ls\n"""', 't = """\n%matplotlib\n!ls\n"""'),
        ("await f()\n%cd x", "await f()\n# %cd x"),
        ("x = = 1", "x = = 1"),
    ],
)
def test_magics_become_comments_and_nothing_else_does(cell: str, wanted: str) -> None:
    assert strip_magics(cell) == wanted


def test_a_name_with_dots_and_blanks_works() -> None:
    path = notebook("my.note book.v2.ipynb", "%time\ndef f(x):\n    return x + 1\n")
    fn = mlrun.code_to_function(filename=str(path), kind="job", code_output="out.py")
    assert fn.name == "my-note-book-v2"
    assert Path("out.py").read_text() == fn.spec.code["text"]
    assert fn.run(params={"x": 1}).results == {"return": 2}


def test_what_is_no_notebook_is_refused() -> None:
    Path("a.ipynb").write_text("{}")
    with pytest.raises(ConfigError, match=r"a\.ipynb"):
        notebook_source(Path("a.ipynb"))
    with pytest.raises(ConfigError, match="start-code"):
        notebook_source(notebook("b.ipynb", "# mlrun: ignore\nx = 1"))
