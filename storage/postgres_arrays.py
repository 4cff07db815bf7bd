"""Rows as array parameters: a statement of `unnest` writes a thousand rows for about the price of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .postgres_connect import Listed
from .postgres_schema import name

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["columns_of", "listed", "unnest"]

_ARROW = {"text": "string", "float8": "float64", "int8": "int64", "bool": "bool_"}


def listed(values: Sequence[Any], kind: str) -> Listed:
    """Return values as an array parameter of a PostgreSQL type."""
    return Listed(values, _ARROW[kind])


def columns_of(rows: Sequence[Sequence[Any]], kinds: Sequence[str]) -> list[Any]:
    """Return rows as one array for each column."""
    return [
        listed(values, kind) for values, kind in zip(zip(*rows, strict=True), kinds, strict=True)
    ]


def unnest(columns: Sequence[str], kinds: Sequence[str]) -> str:
    """Return the table `u` of columns that come as the parameters $1, $2, …; kinds are types of PostgreSQL."""
    holes = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(kinds, 1))
    return f"unnest({holes}) u({', '.join(map(name, columns))})"
