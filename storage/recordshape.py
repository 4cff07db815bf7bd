"""What the tables of records have in common wherever they lie: runs and keys are numbers, and how rows are read again.

A run has a number, `rid`, and a key of params, results and summaries one, `kid`: rows are short and indexes small. A
run whose record has not come yet, or is deleted, has a number and is not `present`.
"""

from __future__ import annotations

from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS, Table

__all__ = ["BY_RID", "KEY", "KEYED", "RUN_ID", "VISIBLE", "name", "source"]

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
