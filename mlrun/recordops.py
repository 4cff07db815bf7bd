"""Changes of a records store, as journals hold them and `apply` takes them: `(verb, table, row)`.

- `put`: upsert by the table's key; columns that the row leaves out keep their value.
- `del`: delete the rows that match every column of the row, which is a key or a part of one.
- `artifact` (the table's name is empty): register content. The row holds project, key, type, size, sha256, uri, meta,
  created_at, run_id, role, step, aliases (a list). The version is that of the same (sha256, type) under (project, key),
  else the highest + 1; a LINEAGE row and the aliases are put with it.
- `expect`: a condition on all ops of the same `apply`, never in a journal. The row of this key, as it was stored
  before, has in each further column the value that is given, or one of a list; an absent row has None everywhere.

An aborted run stays aborted. A `put` that ends it otherwise (see `ENDS`), of a process that went on, comes by the
journal afterwards: of such a row `END_COLUMNS` are left as they are, unless the process had ended before the abort was
written. A row that names a writer takes the run up anew, and is no such end.

Values are str, int, float, bool or None; timestamps are int microseconds. Every op but `expect` is idempotent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["ENDS", "END_COLUMNS", "Op", "abort_stays", "may_end"]

ENDS = ("completed", "error", "skipped")
END_COLUMNS = ("state", "finished_at", "error")

Op = tuple[Literal["put", "del", "artifact", "expect"], str, dict[str, Any]]


def may_end(columns: Collection[str]) -> bool:
    """Whether a row of RUNS with these columns can be an end that comes after an abort."""
    return "state" in columns and "finished_at" in columns and "writer" not in columns


def abort_stays(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a stored run stays aborted though this row ends it otherwise; times in microseconds.

    Example:
        >>> abort_stays({"state": "aborted", "finished_at": 5}, {"state": "completed", "finished_at": 6})
        True
        >>> abort_stays({"state": "aborted", "finished_at": 5}, {"state": "completed", "finished_at": 4})
        False
    """
    if old.get("state") != "aborted" or not may_end(new) or new["state"] not in ENDS:
        return False
    written = max(old.get("finished_at") or 0, old.get("updated_at") or 0)
    return (new["finished_at"] or 0) >= written
