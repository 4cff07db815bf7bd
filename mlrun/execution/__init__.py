"""Execution: how a function becomes runs, here or on a cluster."""

from __future__ import annotations
