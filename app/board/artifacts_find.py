"""Finding artifacts: pages of keys, and the versions of one, each by a query that returns no more than is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

import mlrun

if TYPE_CHECKING:
    from sqlglot import exp

    from mlrun.store import Store

__all__ = ["MOST_KEYS", "MOST_VERSIONS", "find_keys", "types_of", "versions_of"]

MOST_KEYS = 200
MOST_VERSIONS = 200


def types_of(store: Store, project: str) -> list[str]:
    """Return the types of the artifacts of a project, or of all."""
    asked = _from(project).select("type").distinct().order_by("type").limit(100)
    return [kind for kind in _answer(store, asked)["type"] if kind]


def find_keys(store: Store, project: str, kind: str = "", text: str = "") -> pl.DataFrame:
    """Return artifacts, the newest first: `project, key, type, version, versions, size, created_at`.

    Args:
        store: where.
        project: only its artifacts; empty for all.
        kind: only of this type.
        text: what the key holds, in small or capital letters.

    Returns:
        At most one row more than `MOST_KEYS`.
    """
    from sqlglot import exp

    asked = _from(project, kind).select(
        "project", "key", "max(type) as type", "max(version) as version", "count(distinct version) as versions",
        "max(created_at) as created_at",
    )  # fmt: skip
    if text:
        holds = exp.func("strpos", exp.func("lower", exp.column("key")), _text(text.lower()))
        asked = asked.where(exp.GT(this=holds, expression=exp.Literal.number(0)))
    asked = asked.group_by("project", "key").order_by("created_at desc", "key")
    return _answer(store, asked.limit(MOST_KEYS + 1))


def versions_of(store: Store, project: str, key: str) -> pl.DataFrame:
    """Return versions, the newest first: `version, aliases, type, size, created_at, run_id, run, uri`.

    `run` is the name of the run that made it first. At most `MOST_VERSIONS` of them.
    """
    from sqlglot import exp

    asked = _from(project).where(exp.EQ(this=exp.column("key"), expression=_text(key)))
    asked = asked.select("version", "aliases", "type", "size", "created_at", "run_id", "uri")
    found = _answer(store, asked.order_by("version desc", "run_id").limit(5 * MOST_VERSIONS))
    found = found.unique("version", keep="first", maintain_order=True).head(MOST_VERSIONS)
    names = names_of(store, found["run_id"].to_list())
    return found.with_columns(pl.col("run_id").replace_strict(names, default=None).alias("run"))


def names_of(store: Store, run_ids: list[str]) -> dict[str, str]:
    """Return the names of runs by id."""
    if not run_ids:
        return {}
    listed = ", ".join("'" + run_id.replace("'", "''") + "'" for run_id in dict.fromkeys(run_ids))
    found = mlrun.runs(
        where=f"run_id in ({listed})", columns=["run_id", "name"], children=True, archived=True, deleted=True,
        store=store,
    )  # fmt: skip
    return dict(found.iter_rows())


def _from(project: str, kind: str = "") -> exp.Select:
    from sqlglot import exp

    asked = exp.select().from_("artifacts")
    for column, value in (("project", project), ("type", kind)):
        if value:
            asked = asked.where(exp.EQ(this=exp.column(column), expression=_text(value)))
    return asked


def _text(value: str) -> exp.Expression:
    """Return text as a literal of the tree; the tree is printed, and nothing is pasted into a query."""
    from sqlglot import exp

    return exp.Literal.string(value)


def _answer(store: Store, asked: exp.Select) -> pl.DataFrame:
    return mlrun.sql(asked.sql(dialect="duckdb"), store=store)
