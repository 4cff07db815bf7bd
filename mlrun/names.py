"""Text that users give as project, run name, key or tag: any text is accepted, and what is stored is plain Unicode.

Three things cannot be stored everywhere and are changed, each with a word of warning: NUL characters are removed, text
over 1,024 bytes of UTF-8 is cut at a character boundary, and lone surrogates become U+FFFD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_BYTES", "as_text", "clean", "clean_text", "plain_text"]

MAX_BYTES = 1024  # of UTF-8


def clean_text(text: Any, *, limit: int = MAX_BYTES) -> tuple[str, str]:
    """Return the text to store and what was changed about it (an empty string when nothing was).

    Anything that is not text becomes `str(text)`.

    Example:
        >>> clean_text("a" + chr(0) + "b")
        ('ab', 'NUL removed')
        >>> clean_text(7)
        ('7', '')
        >>> text, change = clean_text("é" * 1000)
        >>> len(text), change
        (512, 'cut to 1,024 bytes')
    """
    if type(text) is not str:
        text = as_text(text)
    if text.isascii() and len(text) <= limit and "\0" not in text:
        return text, ""
    changes = []
    if "\0" in text:
        text = text.replace("\0", "")
        changes.append("NUL removed")
    if (whole := plain_text(text)) != text:
        text = whole
        changes.append("lone surrogates replaced")
    data = text.encode("utf-8")
    if len(data) > limit:
        text = data[:limit].decode("utf-8", "ignore")
        changes.append(f"cut to {limit:,} bytes")
    return text, ", ".join(changes)


def plain_text(text: Any) -> str:
    """Return `str(text)` with lone surrogates, which no store can hold, as U+FFFD; NUL and length are left alone.

    Example:
        >>> plain_text("a" + chr(0xD800)) == "a" + chr(0xFFFD)
        True
    """
    found = as_text(text)
    try:
        found.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in found)
    return found


def as_text(value: Any) -> str:
    """Return `str(value)`, or a placeholder when that fails."""
    if isinstance(value, str):
        return str.__str__(value)  # the text of an enum, not its name
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a key whose str() fails still needs a name
        return f"<{type(value).__name__}>"


def clean(text: Any, what: str, warn: Callable[[str, str], None]) -> str:
    """Return the text to store; tell `warn(code, message)` when it differs from what was given.

    Args:
        text: what the user gave.
        what: the noun for the message: "project", "key", "tag", …
        warn: called at most once; its code is distinct for each text.
    """
    stored, change = clean_text(text)
    if change:
        warn(
            f"{what}:{stored}", f"{what} {stored[:40]!r}{'…' if len(stored) > 40 else ''}: {change}"
        )
    return stored
