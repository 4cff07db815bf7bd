"""Notebooks as source: the code cells of an `.ipynb` file, without what only a notebook understands.

Annotations choose what is code of the function: `# mlrun: start-code` and `# mlrun: end-code` stand around it (several
such pairs are joined), `# mlrun: ignore` leaves its cell out; `# nuclio:` is read as `# mlrun:`. Without any, every
code cell counts. Magics and shell commands (`%matplotlib`, `!pip`) become comments.
"""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["notebook_source", "strip_magics"]

_NOTE = re.compile(r"^\s*#\s*(?:mlrun|nuclio)\s*:\s*(start-code|start|end-code|end|ignore)\b", re.I)
# cell magics whose body is Python that runs as it stands
_PYTHON_CELLS = ("%%time", "%%timeit", "%%capture", "%%prun", "%%python", "%%python3")
_MAGIC = re.compile(r"^(\s*)([%!?]|[^#'\"]*=\s*[%!]|.*\?\s*$)")


def notebook_source(path: Path) -> str:
    """Return the Python source of a notebook.

    Raises:
        ConfigError: it is no notebook, or its annotations leave no code.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        cells = found["cells"] if "cells" in found else found["worksheets"][0]["cells"]
        texts = [_text(c) for c in cells if c.get("cell_type") == "code"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigError(f"cannot read the notebook {path.name}: {error}") from error
    kept = [strip_magics(t) for t in _chosen(texts)]
    text = "\n\n".join(k.strip("\n") for k in kept if k.strip())
    if not text:
        raise ConfigError(
            f"{path.name} holds no code for a function: mark it with '# mlrun: start-code' and '# mlrun: end-code'"
        )
    return text + "\n"


def _text(cell: dict[str, Any]) -> str:
    source = cell["source"] if "source" in cell else cell["input"]
    return source if isinstance(source, str) else "".join(source)


def _chosen(cells: list[str]) -> list[str]:
    """Return what the annotations leave of the cells."""
    marked = any(_word(line) == "start" for text in cells for line in text.splitlines())
    inside = not marked
    out: list[str] = []
    for text in cells:
        lines = text.splitlines()
        ignored = any(_word(line) == "ignore" for line in lines)
        kept: list[str] = []
        for line in lines:
            word = _word(line)
            if word in ("start", "end"):
                inside = word == "start"
            elif inside and not ignored:
                kept.append(line)
        out.append("\n".join(kept))
    return out


def _word(line: str) -> str:
    match = _NOTE.match(line)
    return match[1].lower().removesuffix("-code") if match else ""


def strip_magics(text: str) -> str:
    r"""Return the code of a cell with its magics and shell commands as comments.

    Example:
        >>> print(strip_magics("%matplotlib inline\nx = 7 \\\n  % 4"))
        # %matplotlib inline
        x = 7 \
          % 4
    """
    lines = text.split("\n")
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        if lines[first].split()[0] not in _PYTHON_CELLS:
            return ""
        lines[first] = f"# {lines[first]}"
    for _ in range(len(lines)):  # each round makes one line a comment
        wrong = _first_wrong(lines)
        if wrong is None:
            break
        at = _magic_at(lines, wrong)
        if at is None:
            break  # no magic: what is wrong with it is said when it is run
        _comment(lines, at)
    return "\n".join(lines)


def _first_wrong(lines: list[str]) -> int | None:
    try:
        compile(
            "\n".join(lines), "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
    except SyntaxError as error:
        return min((error.lineno or 1), len(lines)) - 1
    except ValueError:  # NUL
        return None
    return None


def _magic_at(lines: list[str], wrong: int) -> int | None:
    """Return the line at or before the wrong one that is a magic; a quote in a shell command is found later."""
    for at in range(wrong, -1, -1):
        if _MAGIC.match(lines[at]) and not lines[at].lstrip().startswith("#"):
            return at
    for at in range(wrong + 1, len(lines)):
        if re.match(r"\s*[%!]", lines[at]):
            return at
    return None


def _comment(lines: list[str], at: int) -> None:
    """Make a line a comment, and what continues it; its place in a block is held by `pass`."""
    line = lines[at]
    indent = line[: len(line) - len(line.lstrip())]
    while True:
        more = lines[at].endswith("\\") and at + 1 < len(lines)
        said = lines[at].strip()
        lines[at] = f"{indent}pass  # {said}" if indent and line is not None else f"# {said}"
        line = None  # type: ignore[assignment]  # only the first line holds the place
        if not more:
            return
        at += 1
