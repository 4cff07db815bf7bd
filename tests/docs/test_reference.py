from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mlrun

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)#\s]+)[^)]*\)")


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "build_reference", ROOT / "docs/build_reference.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_docstrings_say() -> None:
    made = builder().pages()
    stored = {p.name: p.read_text(encoding="utf-8") for p in REFERENCE.glob("*.md")}
    stale = {name for name in made.keys() | stored.keys() if made.get(name) != stored.get(name)}
    assert not stale, "run: .venv/bin/python docs/build_reference.py"


def test_every_public_name_is_in_the_reference() -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in REFERENCE.glob("*.md"))
    headings = set(re.findall(r"^#+ `?([\w.]+)`?$", text, re.MULTILINE))
    assert {name for name in mlrun.__all__ if name != "errors"} <= headings
    assert set(mlrun.errors.__all__) - {"did_you_mean"} <= headings


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = [t for t in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in t]
    assert [t for t in links if not (page.parent / t).exists()] == []
