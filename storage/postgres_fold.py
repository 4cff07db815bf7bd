"""Partial summaries of series, merged among themselves and into what is stored.

See SUMMARIES in `mlrun.tables` for what null means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.errors import StoreError
from mlrun.tables import SUMMARIES

from .postgres_arrays import unnest
from .postgres_schema import KINDS, name

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MERGE", "SUMMARY_KINDS", "folded"]

_LAST = ("last_step", "last_time", "last_seq")  # what is later, most important first


def folded(summaries: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Merge summaries of one series, by the rules of MERGE: an upsert takes a row once. NaN becomes null."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for given in summaries:
        new = {c: None if v != v else v for c, v in zip(SUMMARIES.names, given, strict=True)}
        key = tuple(new[c] for c in SUMMARIES.key)
        found[key] = _merged(found[key], new) if key in found else new
    return [list(row.values()) for row in found.values()]


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    is_later = [new[c] for c in _LAST] >= [old[c] for c in _LAST]
    merged = old | ({c: new[c] for c in ("last", *_LAST)} if is_later else {})
    for column, pick in (("min", min), ("max", max), ("first_step", min)):
        both = [row[column] for row in (old, new) if row[column] is not None]
        merged[column] = pick(both, default=None)
    if old["count"] == old["nan"]:
        merged["sum"] = new["sum"]
    elif new["count"] != new["nan"]:
        total = None if None in (old["sum"], new["sum"]) else old["sum"] + new["sum"]
        merged["sum"] = None if total != total else total
    for column in ("count", "nan"):
        merged[column] = old[column] + new[column]
    return merged


def _merge_statement() -> str:
    """Return the upsert that folds a partial summary into the stored one; see SUMMARIES for what null means."""
    later = "(excluded.last_step, excluded.last_time, excluded.last_seq) >= (s.last_step, s.last_time, s.last_seq)"
    sets = {c: f"case when {later} then excluded.{c} else s.{c} end" for c in ("last", *_LAST)} | {
        "min": "least(s.min, excluded.min)",
        "max": "greatest(s.max, excluded.max)",
        # a sum that is null over numbers is NaN and stays so; without numbers it is nothing
        "sum": "case when s.count = s.nan then excluded.sum when excluded.count = excluded.nan then s.sum "
        "else plus(s.sum, excluded.sum) end",
        "count": "s.count + excluded.count",
        "nan": "s.nan + excluded.nan",
        "first_step": "least(s.first_step, excluded.first_step)",
    }
    targets = ["rid", "kid", *(c for c in SUMMARIES.names if c not in SUMMARIES.key)]
    if missing := set(targets[2:]) ^ set(sets):
        raise StoreError(f"no rule to merge {sorted(missing)}")
    return (
        f"insert into summaries as s ({', '.join(map(name, targets))}) "
        f"select * from {unnest(targets, SUMMARY_KINDS)} on conflict (rid, kid) do update set "
        + ", ".join(f"{name(c)} = {rule}" for c, rule in sets.items())
    )


SUMMARY_KINDS = ("int8", "int8", *(KINDS[c.type] for c in SUMMARIES.columns[2:]))
MERGE = _merge_statement()
