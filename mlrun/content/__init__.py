"""Content: what artifacts are made of, how they are stored, and how they are read back."""

from __future__ import annotations
