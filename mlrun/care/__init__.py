"""Care: compaction, examination, recovery, export and import of a whole store."""

from __future__ import annotations
