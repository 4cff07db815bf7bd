"""Packing: returned values become results and artifacts by hints; inputs become what type hints ask for."""

from __future__ import annotations
