"""The `where` language: one small closed language of boolean expressions over runs."""

from __future__ import annotations

from mlrun.where.parse import parse
from mlrun.where.parse_lists import parse_columns, parse_order
from mlrun.where.printing import to_text

__all__ = ["parse", "parse_columns", "parse_order", "to_text"]
