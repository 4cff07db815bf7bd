"""Queries of callers, each in a process that is ended when it takes too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.errors import SQLError

from .child import Children, Limits

if TYPE_CHECKING:
    from mlrun.store import Store

    from .options import Options

__all__ = ["SqlPool"]


class SqlPool:
    """Runs queries in children.

    Args:
        store: what they read.
        options: the limits.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self._rows = options.sql_rows
        limits = Limits(options.sql_seconds, options.sql_bytes, _too_much)
        self._children = Children("mlrun.app.sqlchild", store, options.sql_children, limits)

    def run(self, query: str, projects: frozenset[str] | None, *, audits: bool = False) -> bytes:
        """Return the answer as an Arrow IPC stream; called in a thread.

        Args:
            query: one SELECT.
            projects: those that the caller may read; None for all.
            audits: whether the audit log may be read too.

        Raises:
            SQLError: it is no such query, it takes too long, or too much memory, or has too many rows.
            StoreBusy: others' queries run.
        """
        only = None if projects is None else sorted(projects)
        return self._children.run(
            {"query": query, "projects": only, "audits": audits, "rows": self._rows}
        )

    def close(self) -> None:
        """End the children."""
        self._children.close()


def _too_much(what: str) -> SQLError:
    return SQLError(f"the query took more than {what} and was ended: ask for less")
