"""Lists of names: `order_by` and `columns`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlrun.contracts import OrderKey
from mlrun.errors import WhereError
from mlrun.where.parse_cursor import Cursor
from mlrun.where.parse_names import SCOPES, name_of
from mlrun.where.parse_tokens import Token, tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrun.where.ast import Name

__all__ = ["parse_columns", "parse_order"]


def parse_order(order: str | Sequence[str]) -> tuple[OrderKey, ...]:
    """Return the keys of `"-metrics.acc, started_at"`, or of a list of such texts.

    `-` before a name, or `desc` behind it, means descending.

    Raises:
        WhereError: as `parse`.
    """
    return tuple(key for text in _texts(order) for key in _Lists(text).order_keys())


def parse_columns(columns: str | Sequence[str]) -> tuple[Name, ...]:
    """Return the names of columns; `tags` is one, and `metrics.val/acc` needs no quotes as in the frames' headers.

    Raises:
        WhereError: as `parse`.
    """
    return tuple(
        name for text in _texts(columns) for name in _columns_of(text, alone=text is not columns)
    )


def _texts(given: str | Sequence[str]) -> list[str]:
    if isinstance(given, str):
        return [given]
    try:
        return list(given)
    except TypeError:
        raise WhereError(f"names are text or a list of texts, not {type(given).__name__}") from None


def _columns_of(text: str, *, alone: bool) -> list[Name]:
    if alone and isinstance(text, str):
        scope, dot, key = text.strip().partition(".")
        if dot and scope in SCOPES and re.search(r"[^\w.]", key) and '"' not in key:
            return [name_of(tokenize(f'{scope}."{key}"')[0], text)]
    return _Lists(text).column_names()


class _Lists(Cursor):
    def order_keys(self) -> list[OrderKey]:
        keys: list[OrderKey] = []
        while not self.done():
            if keys:
                self.expect(",", " between two names")
            minus = self.now.op == "-"
            self.at += self.now.op in ("-", "+")
            name = name_of(self.name_token(), self.text)
            behind = self.now.word if self.now.word in ("asc", "desc") else ""
            if behind and minus:
                self.refuse("either `-` before the name or `desc` behind it", self.now)
            self.at += bool(behind)
            keys.append(OrderKey(name, minus or behind == "desc"))
        return keys

    def column_names(self) -> list[Name]:
        names = [name_of(self.name_token(), self.text, tags=True)]
        while not self.done():
            self.expect(",", " between two names")
            names.append(name_of(self.name_token(), self.text, tags=True))
        return names

    def name_token(self) -> Token:
        if self.now.kind != "name":
            self.refuse("a name is wanted here, as in metrics.acc or started_at", self.now)
        return self.take()
