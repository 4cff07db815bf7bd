"""How an artifact looks in a notebook. Stored text is always escaped; stored HTML and SVG are never run."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrun.content.dataitem import DataItem

__all__ = ["human_size", "item_html"]

_INLINE_BYTES = 1 << 20
_INLINE = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}


def item_html(item: DataItem) -> str:
    """Return a small table about the artifact, and a picture or the first rows when it has them."""
    facts = [("type", item.type), ("size", human_size(item.size)), ("sha256", item.sha256[:12])]
    if item.error:
        facts = [("not stored", item.error)]
    facts += [
        (name, item.meta[name])
        for name in ("rows", "framework", "class", "caption")
        if item.meta.get(name)
    ]
    title = escape(f"{item.project}/{item.key}")
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts
    )
    return f"<div><b>{title}</b><table>{rows}</table>{_picture(item)}{_first_rows(item.meta.get('preview'))}</div>"


def human_size(size: int | None) -> str:
    """Return bytes for people.

    Example:
        >>> human_size(999), human_size(2_500_000), human_size(None)
        ('999 B', '2.5 MB', 'unknown')
    """
    if size is None:
        return "unknown"
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"


def _picture(item: DataItem) -> str:
    mime = _INLINE.get(str(item.meta.get("format")))
    if mime is None or item.error or item.size is None or item.size > _INLINE_BYTES:
        return ""
    try:
        data = item.get()
    except (MlrunError, OSError):  # a repr never raises: the facts are shown without the picture
        return ""
    return (
        f'<img src="data:{mime};base64,{base64.b64encode(data).decode()}" style="max-width:480px"/>'
    )


def _first_rows(preview: Any) -> str:
    if not isinstance(preview, dict) or not isinstance(preview.get("columns"), list):
        return ""
    head = _cells(preview["columns"], "th")
    rows = preview.get("rows")
    body = (
        "".join(_cells(row, "td") for row in rows if isinstance(row, list))
        if isinstance(rows, list)
        else ""
    )
    return f"<table>{head}{body}</table>"


def _cells(values: Sequence[Any], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(str(v))}</{tag}>" for v in values) + "</tr>"
