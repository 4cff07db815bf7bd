"""Tracking: how a run begins, what it records, and how it ends; the path of `init` and `log`."""

from __future__ import annotations
