"""The picture of a workflow: its steps by the order they come in, coloured by how they ended. Mermaid text, or SVG."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Node", "mermaid", "svg"]

_COLOURS = {
    "completed": "#2e7d32", "cached": "#00695c", "error": "#c62828", "aborted": "#6d4c41", "lost": "#6d4c41",
    "skipped": "#757575", "running": "#1565c0", "pending": "#1565c0", "created": "#546e7a",
}  # fmt: skip  # white text on each has a contrast of at least 4.5
_WIDE, _HIGH, _GAP_X, _GAP_Y, _MARGIN = 190, 46, 60, 22, 16
_LETTERS, _LONG = 24, 200  # of a name, in a box and in its title


@dataclass(frozen=True)
class Node:
    """One step: its name, state (a run's, or "cached"), and the names of the steps before it."""

    name: str
    state: str
    before: tuple[str, ...] = ()


def mermaid(nodes: Sequence[Node]) -> str:
    """Return the graph in Mermaid's language."""
    ids = {node.name: f"s{i}" for i, node in enumerate(nodes)}
    lines = ["flowchart LR"]
    for node in nodes:
        lines.append(f'  {ids[node.name]}["{_quoted(node.name)}<br/>{node.state}"]:::{node.state}')
    lines += [f"  {ids[b]} --> {ids[node.name]}" for node in nodes for b in node.before if b in ids]
    used = sorted({node.state for node in nodes})
    lines += [f"  classDef {s} fill:{_COLOURS.get(s, '#546e7a')},color:#fff" for s in used]
    return "\n".join(lines) + "\n"


def _quoted(name: str) -> str:
    """Write a name so that neither Mermaid nor a browser takes a part of it for its own."""
    return "".join(c if c.isalnum() or c in " _-." else f"#{ord(c)};" for c in _shown(name, _LONG))


def _shown(name: str, length: int) -> str:
    """Return a name as one line of characters that XML can hold."""
    whole = "".join(c if c.isprintable() else "\ufffd" for c in name)
    return whole if len(whole) <= length else whole[: length - 1] + "…"


def svg(nodes: Sequence[Node]) -> str:
    """Return the graph as an SVG picture: steps in columns, each to the right of all steps before it."""
    columns = _columns(nodes)
    places = {
        node.name: (_MARGIN + x * (_WIDE + _GAP_X), _MARGIN + y * (_HIGH + _GAP_Y))
        for x, column in enumerate(columns)
        for y, node in enumerate(column)
    }
    width = 2 * _MARGIN + len(columns) * (_WIDE + _GAP_X) - _GAP_X if columns else 2 * _MARGIN
    tall = max((len(c) for c in columns), default=0)
    height = 2 * _MARGIN + tall * (_HIGH + _GAP_Y) - (_GAP_Y if tall else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" font-family="sans-serif">',
        f"<title>{escape(f'{len(nodes)} steps')}</title>",
    ]
    for node in nodes:
        parts += [_edge(places[b], places[node.name]) for b in node.before if b in places]
    parts += [_box(node, *places[node.name]) for node in nodes]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _columns(nodes: Iterable[Node]) -> list[list[Node]]:
    depth: dict[str, int] = {}
    columns: list[list[Node]] = []
    for node in nodes:  # a step is made after those before it
        at = 1 + max((depth[b] for b in node.before if b in depth), default=-1)
        depth[node.name] = at
        while len(columns) <= at:
            columns.append([])
        columns[at].append(node)
    return columns


def _edge(source: tuple[int, int], target: tuple[int, int]) -> str:
    x1, y1 = source[0] + _WIDE, source[1] + _HIGH // 2
    x2, y2 = target[0], target[1] + _HIGH // 2
    bend = (x1 + x2) // 2
    return (
        f'<path d="M{x1} {y1} C{bend} {y1} {bend} {y2} {x2 - 6} {y2}" fill="none" stroke="#78909c" stroke-width="1.5"/>'
        f'<path d="M{x2} {y2} l-7 -4 v8 z" fill="#78909c"/>'
    )


def _box(node: Node, x: int, y: int) -> str:
    name = _shown(node.name, _LETTERS)
    colour = _COLOURS.get(node.state, "#546e7a")
    return (
        f"<g><title>{escape(_shown(node.name, _LONG))}: {escape(node.state)}</title>"
        f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="8" fill="{colour}"/>'
        f'<text x="{x + 12}" y="{y + 20}" fill="#fff" font-size="13">{escape(name)}</text>'
        f'<text x="{x + 12}" y="{y + 36}" fill="#fff" font-size="11">{escape(node.state)}</text></g>'
    )
