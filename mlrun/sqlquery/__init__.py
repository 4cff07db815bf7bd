"""`mlrun.sql`: one read-only SELECT over named tables."""

from __future__ import annotations
