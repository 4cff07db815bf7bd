"""Lookup: one consistent sight of the records, what is pending laid over what is stored, long made wide."""

from __future__ import annotations
