"""What a function's code says of itself, read from its syntax tree: nothing is run."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "EntryPoint",
    "FunctionDoc",
    "Parameter",
    "default_handler",
    "entry_points",
    "is_script",
]

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SECTION = re.compile(r"^\s*(Args|Arguments|Parameters|Params)\s*:?\s*$")
_ITEM = re.compile(r"^(\s*)(?::param\s+)?\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")


@dataclass(frozen=True)
class Parameter:
    """One parameter: its type and default as they are written, empty where there is none."""

    name: str
    type: str = ""
    default: str = ""
    doc: str = ""
    kind: str = "named"


@dataclass(frozen=True)
class EntryPoint:
    """One handler: a function, or a method as `Class::method`."""

    name: str
    doc: str = ""
    parameters: tuple[Parameter, ...] = ()
    outputs: tuple[str, ...] = ()
    lineno: int = 0
    has_varargs: bool = False
    has_kwargs: bool = False

    @property
    def signature(self) -> str:
        """The handler as it is called."""
        shown = [
            p.name + (f": {p.type}" if p.type else "") + (f" = {p.default}" if p.default else "")
            for p in self.parameters
        ]
        returned = f" -> {', '.join(self.outputs)}" if self.outputs else ""
        return f"{self.name}({', '.join(shown)}){returned}"


@dataclass(frozen=True)
class FunctionDoc:
    """What `fn.doc()` returns; shown, it is text to read."""

    name: str
    description: str = ""
    default_handler: str = ""
    entry_points: dict[str, EntryPoint] = field(default_factory=dict)

    def __getitem__(self, name: str) -> EntryPoint:
        """Return one handler."""
        return self.entry_points[name]

    def __repr__(self) -> str:
        """Show everything, as text."""
        lines = [f"function: {self.name}"]
        if self.description:
            lines.append(self.description)
        if self.default_handler:
            lines.append(f"default handler: {self.default_handler}")
        for entry in self.entry_points.values():
            lines += ["", entry.signature, *(f"    {line}" for line in entry.doc.splitlines())]
            lines += [f"    {p.name}: {p.doc}" for p in entry.parameters if p.doc]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def entry_points(text: str) -> dict[str, EntryPoint]:
    r"""Return the public functions of source text, and the public methods of its classes, in order.

    Example:
        >>> found = entry_points("def train(context, lr: float = 0.1):\n    return model, accuracy\n")
        >>> print(found["train"].signature)
        train(context, lr: float = 0.1) -> model, accuracy
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return {}
    out: dict[str, EntryPoint] = {}
    for node in tree.body:
        if isinstance(node, _DEFINITIONS) and not node.name.startswith("_"):
            out[node.name] = _entry(node, node.name)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, _DEFINITIONS) and not method.name.startswith("_"):
                    name = f"{node.name}::{method.name}"
                    out[name] = _entry(method, name)
    return out


def default_handler(names: Sequence[str], function: str = "") -> str:
    """Return which of these functions is meant when nobody says; empty if that is not clear."""
    public = [n for n in names if not n.startswith("_")]
    for chosen in ("handler", function.replace("-", "_")):
        if chosen in public:
            return chosen
    return public[0] if len(public) == 1 else ""


def is_script(text: str, function: str = "") -> bool:
    """Whether code that is run without a handler is run from its top, as a script."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return False  # the error is raised where it is compiled
    names = [n.name for n in tree.body if isinstance(n, _DEFINITIONS)]
    if default_handler(names, function):
        return False
    return not names or any(_is_guard(node) for node in tree.body)


def _is_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in {
        n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)
    }


def _entry(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> EntryPoint:
    doc = ast.get_docstring(node) or ""
    summary, said = _split_doc(doc)
    parameters = [
        p for p in _parameters(node.args, said) if not ("::" in name and p.name in ("self", "cls"))
    ]
    return EntryPoint(
        name=name,
        doc=summary,
        parameters=tuple(parameters),
        outputs=_outputs(node),
        lineno=node.lineno,
        has_varargs=node.args.vararg is not None,
        has_kwargs=node.args.kwarg is not None,
    )


def _parameters(args: ast.arguments, said: dict[str, str]) -> Iterator[Parameter]:
    plain = [*args.posonlyargs, *args.args]
    none: list[ast.expr | None] = [None] * (len(plain) - len(args.defaults))
    pairs = [
        *zip(plain, [*none, *args.defaults], strict=True),
        *zip(args.kwonlyargs, args.kw_defaults, strict=True),
    ]
    for arg, default in pairs:
        yield Parameter(arg.arg, _written(arg.annotation), _written(default), said.get(arg.arg, ""))
    for starred, stars in ((args.vararg, "*"), (args.kwarg, "**")):
        if starred is not None:
            yield Parameter(
                f"{stars}{starred.arg}", _written(starred.annotation), "", said.get(starred.arg, ""),
                kind="varargs" if stars == "*" else "kwargs",
            )  # fmt: skip


def _written(node: ast.expr | None) -> str:
    return "" if node is None else ast.unparse(node)


def _outputs(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str, ...]:
    """Return what is handed back: the `outputs` of its decorator, else names or text of its last return."""
    for decorator in node.decorator_list:
        for word in getattr(decorator, "keywords", ()):
            if word.arg == "outputs" and isinstance(word.value, (ast.List, ast.Tuple)):
                return tuple(_key(item) for item in word.value.elts)
    returns = [n for n in _own_nodes(node) if isinstance(n, ast.Return) and n.value is not None]
    if not returns:
        return ()
    value: Any = max(returns, key=lambda n: n.lineno).value
    if isinstance(value, ast.Tuple):
        return tuple(ast.unparse(item) for item in value.elts)
    return () if isinstance(value, ast.Constant) and value.value is None else (ast.unparse(value),)


def _key(item: ast.expr) -> str:
    if isinstance(item, ast.Constant):
        return str(item.value)
    return ast.unparse(item)


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a function without the functions inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (*_DEFINITIONS, ast.Lambda, ast.ClassDef)):
            yield child
            yield from _own_nodes(child)


def _split_doc(doc: str) -> tuple[str, dict[str, str]]:
    """Return what stands before the parameters, and what is said of each of them."""
    lines = doc.splitlines()
    start = next(
        (n for n, line in enumerate(lines) if _SECTION.match(line) or ":param" in line), len(lines)
    )
    said: dict[str, str] = {}
    name, depth = "", -1
    for line in lines[start:]:
        match = _ITEM.match(line)
        indent = len(line) - len(line.lstrip())
        if match and (depth < 0 or indent <= depth) and (indent or ":param" in line):
            name, depth = match[2], indent
            said[name] = match[3].strip()
        elif name and line.strip() and indent > depth:
            said[name] = f"{said[name]} {line.strip()}".strip()
        elif line.strip() and not _SECTION.match(line):
            name = ""
            if depth >= 0:
                break
    return "\n".join(lines[:start]).strip(), said
