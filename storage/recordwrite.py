"""What writing planned steps has in common wherever records lie: marks, the numbers needed, which step is whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mlrun.contracts import Mark
from mlrun.errors import MarkConflict, RowConflict
from mlrun.tables import TAGS

from .recordshape import KEYED, name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlrun.tables import Table

    from .recordplan import Row, Step

__all__ = ["StepWriter", "compare_marks", "read_marks", "texts_to_number", "write_steps"]


class Asking(Protocol):
    """A connection that can be asked."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query."""
        ...


@dataclass(frozen=True)
class StepWriter:
    """Writes steps of every kind, inside a transaction that has begun.

    Attributes:
        look_up: returns the rows that match every column of a key.
        put: upserts rows of the same columns.
        put_labels: replaces the labels of runs, given as JSON by key.
        delete: deletes the rows that match every column of a key.
        register: gives content its version, and puts what points to it.
    """

    look_up: Callable[[Table, Row], Sequence[Mapping[str, Any]]]
    put: Callable[[Table, tuple[str, ...], list[tuple[Any, ...]]], None]
    put_labels: Callable[[Mapping[str, Mapping[str, str]]], None]
    delete: Callable[[Table, Row], None]
    register: Callable[[Row], None]


def write_steps(steps: Sequence[Step], writer: StepWriter) -> None:
    """Do planned steps in their order."""
    for kind, table, *rest in steps:
        if kind == "expect":
            _compare_row(table, rest[0], rest[1], writer.look_up(table, rest[0]))
        elif kind == "put":
            writer.put(table, rest[0], rest[1])
        elif kind == "labels":
            writer.put_labels(rest[0])
        elif kind == "del":
            writer.delete(table, rest[0])
        else:
            writer.register(rest[0])


def _compare_row(
    table: Table, key: Row, allowed: Mapping[str, Sequence[Any]], found: Sequence[Mapping[str, Any]]
) -> None:
    """See that a stored row is as expected.

    Raises:
        RowConflict: it is not; of its values nothing is told.
    """
    row = found[0] if found else {}
    for column, values in allowed.items():
        if row.get(column) not in values:
            place = "/".join(str(v) for v in key.values())
            raise RowConflict(
                f"{table.name} {place!r:.200}: {column!r} is not what the change expected, somebody else was first"
            )


def texts_to_number(
    steps: Sequence[Step], summaries: Sequence[Sequence[Any]]
) -> tuple[set[str], set[str]]:
    """Return the run ids and the keys whose numbers these rows are written with."""
    runs = {str(row[0]) for row in summaries}
    keys = {str(row[1]) for row in summaries}
    for kind, table, *rest in steps:
        if kind == "put" and table in (*KEYED, TAGS):
            runs.update(row[0] for row in rest[1])
            if table in KEYED:
                keys.update(row[1] for row in rest[1])
    return runs, keys


def read_marks(connection: Asking) -> dict[str, Mark]:
    """Return all marks."""
    columns = ", ".join(name(f) for f in Mark._fields)
    return {r[0]: Mark(*r[1:]) for r in connection.rows(f"select writer, {columns} from marks")}


def compare_marks(connection: Asking, expected: Mapping[str, Mark]) -> None:
    """See that the stored marks are those expected.

    Raises:
        MarkConflict: one is not.
    """
    stored = read_marks(connection)
    for writer, mark in expected.items():
        if stored.get(writer, Mark()) != mark:
            raise MarkConflict(
                f"writer {writer}: stored {stored.get(writer, Mark())}, expected {mark}"
            )
