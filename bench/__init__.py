"""Workloads, each with its peers in the same run; what they print goes into `docs/benchmarks.md`.

A runner prints JSON and a table and never asserts a time: a number is read, not passed or failed.
"""

from __future__ import annotations
