"""Changes of a records store, as journals hold them and `apply` takes them: `(verb, table, row)`.

- `put`: upsert by the table's key; columns that the row leaves out keep their value.
- `del`: delete the rows that match every column of the row, which is a key or a part of one.
- `artifact` (the table's name is empty): register content. The row holds project, key, type, size, sha256, uri, meta,
  created_at, run_id, role, step, aliases (a list). The version is that of the same (sha256, type) under (project, key),
  else the highest + 1; a LINEAGE row and the aliases are put with it.
- `expect`: a condition on all ops of the same `apply`, never in a journal. The row of this key, as it was stored
  before, has in each further column the value that is given, or one of a list; an absent row has None everywhere.

Values are str, int, float, bool or None; timestamps are int microseconds. Every op but `expect` is idempotent.
"""

from __future__ import annotations

from typing import Any, Literal

__all__ = ["Op"]

Op = tuple[Literal["put", "del", "artifact", "expect"], str, dict[str, Any]]
