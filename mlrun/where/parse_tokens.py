"""Text of a `where` -> tokens with their places.

A dotted name is one token, so that words after a dot are never keywords (`params.order`) and may begin with a digit
(`params.layers.0`). sqlglot has a tokenizer too; loading it would cost each fresh process more than its first answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from mlrun.errors import WhereError

__all__ = ["MAX_CHARS", "Token", "tokenize"]

MAX_CHARS = 250_000

_QUOTED = r'"(?:[^"]|"")*"'
_TOKEN = re.compile(
    rf"""
    (?P<space>\s+)
  | (?P<name>(?:[^\W\d]\w*|{_QUOTED})(?:\.(?:\w+|{_QUOTED}))*)
  | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
  | (?P<text>'(?:[^']|'')*')
  | (?P<comment>--|/\*)
  | (?P<op><=|>=|<>|!=|==|[-+*/()<>=,])
    """,
    re.VERBOSE,
)
_PART = re.compile(rf"{_QUOTED}|\w+")
_HINTS = {
    '"': "this quoted name does not end",
    "'": "this text does not end",
    "!": "write `not`",
    "&": "write `and`",
    "|": "write `or`",
    ";": "one expression, without `;`",
    ".": "nothing stands around this dot",
    "`": "names are quoted with \" and text with '",
    "“": "names are quoted with \" and text with '",
    "\u2018": "text is quoted with '",
    "\u2019": "text is quoted with '",
    "%": "there is no remainder operator",
}


@dataclass(frozen=True)
class Token:
    """A piece of the text; `parts` are a name's, each with whether it was quoted; `kind="end"` closes the list."""

    kind: Literal["name", "number", "text", "op", "end"]
    text: str
    start: int
    end: int
    parts: tuple[tuple[str, bool], ...] = ()

    @property
    def op(self) -> str:
        """The operator or bracket that this is, or an empty string."""
        return self.text if self.kind == "op" else ""

    @property
    def word(self) -> str:
        """The lower-case keyword that this may be, or an empty string."""
        if self.kind != "name" or len(self.parts) != 1 or self.parts[0][1]:
            return ""
        return self.text.lower()


def tokenize(text: str) -> list[Token]:
    """Split `text`; the last token has kind `end`.

    Raises:
        WhereError: something is no token, is not finished, or `text` is too long.
    """
    if not isinstance(text, str):
        raise WhereError(f"an expression is text, not {type(text).__name__}")
    if len(text) > MAX_CHARS:
        raise WhereError(
            f"the expression has {len(text):,} characters; at most {MAX_CHARS:,} are read"
        )
    if bad := re.search("[\0\ud800-\udfff]", text):
        raise WhereError("no stored text holds this character", ascii(text), bad.start() + 1)
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            hint = _HINTS.get(text[at], "")
            raise WhereError(f"unexpected {text[at]!r}" + (f": {hint}" if hint else ""), text, at)
        at = found.end()
        if found.lastgroup != "space":
            tokens.append(_token(found, text))
    tokens.append(Token("end", "", len(text), len(text)))
    return tokens


def _token(found: re.Match[str], text: str) -> Token:
    raw, start, end = found.group(), found.start(), found.end()
    match found.lastgroup:
        case "name":
            parts = tuple(
                (p[1:-1].replace('""', '"'), True) if p.startswith('"') else (p, False)
                for p in _PART.findall(raw)
            )
            return Token("name", raw, start, end, parts)
        case "number":
            if end < len(text) and (text[end].isalnum() or text[end] in "_."):
                raise WhereError("this is no number that the language knows", text, start)
            return Token("number", raw, start, end)
        case "text":
            return Token("text", raw[1:-1].replace("''", "'"), start, end)
        case "comment":
            raise WhereError("an expression has no comments", text, start)
    return Token("op", raw, start, end)
