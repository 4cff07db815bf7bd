"""What the tables of records have in common wherever they lie: runs and keys are numbers, and how rows are read again.

A run has a number, `rid`, and a key of params, results and summaries one, `kid`: rows are short and indexes small. A
run whose record has not come yet, or is deleted, has a number and is not `present`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.recordops import END_COLUMNS, ENDS, may_end
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BY_RID", "KEY", "KEYED", "RUN_ID", "VISIBLE", "changes", "name", "source"]

KEYED = (PARAMS, RESULTS, SUMMARIES)  # tables whose rows have a run and a key
BY_RID = (*KEYED, TAGS)
RUN_ID, KEY = PARAMS.key
# runs that a list shows when it is not asked for more: indexes hold only these
VISIBLE = "present and parent is null and archived_at is null and deleted_at is null"


def name(word: str) -> str:
    """Return an SQL identifier."""
    return '"' + word.replace('"', '""') + '"'


def source(table: Table) -> tuple[dict[str, str], str]:
    """Return how a logical table is read: expression of every column, and what stands behind `from`."""
    expressions = {c.name: f"t.{name(c.name)}" for c in table.columns}
    if table is RUNS:
        return expressions, "runs t where t.present"
    if table not in BY_RID:
        return expressions, f"{table.name} t where true"
    expressions[RUN_ID] = f"r.{name(RUN_ID)}"
    joins = f"{table.name} t join runs r on r.rid = t.rid"
    if table in KEYED:
        expressions[KEY] = f"k.{name(KEY)}"
        joins += " join keys k on k.kid = t.kid"
    return expressions, f"{joins} where true"


def changes(table: Table, columns: Sequence[str]) -> str:
    """Return what an upsert sets where the row is there; of a run, see `mlrun.recordops.abort_stays`."""
    sets = {c: f"excluded.{name(c)}" for c in columns}
    if table is RUNS and may_end(columns):
        ends = ", ".join(f"'{state}'" for state in ENDS)
        stays = (
            f"runs.state = 'aborted' and excluded.state in ({ends}) "
            "and coalesce(excluded.finished_at, 0) >= coalesce(runs.finished_at, 0) "
            "and coalesce(excluded.finished_at, 0) >= coalesce(runs.updated_at, 0)"
        )
        for c in (c for c in END_COLUMNS if c in sets):
            sets[c] = f"case when {stays} then runs.{name(c)} else {sets[c]} end"
    return ", ".join(f"{name(c)} = {value}" for c, value in sets.items())
