"""The laws between the parts: what a records store, a series store and an object store promise.

Each law is a Protocol of few verbs; abilities that only some stores have are Protocols of their own. One conformance
suite in `mlrun.testing` checks every implementation, ours and strangers'. All instances pickle (they ride to workers:
URL and options only, credentials by reference), connect lazily, and are safe to use from many threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from mlrun.recordops import Op
from mlrun.storedobject import StoredObject

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

    import polars as pl
    import pyarrow as pa

    from mlrun.tables import Table
    from mlrun.where.ast import Expr, Value

__all__ = [
    "CanAnswer", "CanCheck", "CanCompact", "CanDeletePoints", "CanDeleteRuns", "CanGather", "CanLookup", "CanMigrate",
    "CanPresign", "CanRollUp", "CanSweep", "CanSync", "Finding", "Mark", "Objects", "Op",
    "OrderKey", "PointFilter", "Records", "RecordsView", "RunQuery", "Series", "SeriesView",
    "StoredObject",
]  # fmt: skip


class Mark(NamedTuple):
    """How far the records store has absorbed one journal writer.

    Attributes:
        log: number of the record log, `offset`: bytes of it that are absorbed.
        segment: number of the point segment, `row`: rows of it that are folded into summaries.
        Everything with a lower number is absorbed whole.
    """

    log: int = 0
    offset: int = 0
    segment: int = 0
    row: int = 0


@dataclass(frozen=True)
class OrderKey:
    """One key of an ordering: a run column or dotted name (`metrics.acc`, `params.lr`), as `where` names it."""

    name: Value
    descending: bool = False


@dataclass(frozen=True)
class RunQuery:
    """Which runs, in which order.

    Attributes:
        project: only this project; None for all.
        where: boolean expression, or None for all.
        order_by: keys, most important first; NaN and missing come last both ways. `run_id` descending breaks ties.
        limit, offset: as in SQL; None for all.
        exclude: run ids left out (their newest state is still in the journal).
        children: also runs that have a parent.
        archived, deleted: also runs that are archived, or softly deleted.
        now_us: the instant that `now()` in `where` means.
    """

    project: str | None = None
    where: Expr | None = None
    order_by: tuple[OrderKey, ...] = ()
    limit: int | None = None
    offset: int = 0
    exclude: frozenset[str] = frozenset()
    children: bool = False
    archived: bool = False
    deleted: bool = False
    now_us: int = 0


@dataclass(frozen=True)
class PointFilter:
    """Which rows of a series table; None means all. Bounds are inclusive; times in microseconds."""

    run_ids: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    steps: tuple[int | None, int | None] = (None, None)
    times: tuple[int | None, int | None] = (None, None)
    levels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Finding:
    """What `check()` found.

    Attributes:
        severity: "note" (nothing lost), "repaired", or "lost" (with what, in `what`).
        where: file, table or row, relative to the store.
        what: one sentence for a person.
    """

    severity: Literal["note", "repairable", "repaired", "lost"]
    where: str
    what: str


class RecordsView(Protocol):
    """One consistent snapshot of a records store; valid inside the `with` block that made it."""

    def marks(self) -> dict[str, Mark]:
        """Return the high-water mark of every journal writer, by writer name."""
        ...

    def scan(
        self,
        table: Table,
        *,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Sequence[Any]] | None = None,
    ) -> pa.Table:
        """Return rows of a table; `where` maps columns to the values allowed (`run_id`, `project`, `key`, …).

        Columns have the table's types and order (hidden ones too unless `columns` says otherwise), rows in key order.
        """
        ...

    def find(self, query: RunQuery) -> pa.Table:
        """Return the `run_id` column of the runs that `query` means, in its order."""
        ...


@runtime_checkable
class CanLookup(Protocol):
    """Reads rows and marks without pyarrow or Polars: the tracking path resumes and ends runs with it."""

    def lookup(self, table: Table, key: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rows that match every column of `key`, as plain dicts (timestamps as int microseconds)."""
        ...

    def marks(self) -> dict[str, Mark]:
        """Return the high-water mark of every journal writer, as lightly as `lookup`."""
        ...


class Records(CanLookup, Protocol):
    """Mutable rows: runs, params, results, tags, summaries, artifacts.

    Law. `apply` is one transaction: all of its ops, folded summaries and marks, or nothing. It is a compare-and-set:
    when `expected` marks are given and the stored ones differ, it raises `MarkConflict` and writes nothing; so two
    absorbers never apply the same bytes twice. "expect" ops are one too, with `RowConflict`: of two clients that expect
    and change the same, one wins. What `apply` returned from survives a killed process; `read` begun after
    it, in any process, sees it. A killed process leaves a store that the next one opens without repair. Many threads
    and processes may call everything at once; a writer that waits longer than 30 s for others gets `StoreError`.
    A file from a newer version is refused with `StoreVersionError`; an older one is backed up and migrated.
    """

    def create(self) -> None:
        """Make the tables if they are not there; idempotent."""
        ...

    def apply(
        self,
        ops: Sequence[Op],
        *,
        summaries: Iterable[Sequence[Any]] = (),
        expected: Mapping[str, Mark] | None = None,
        marks: Mapping[str, Mark] | None = None,
    ) -> None:
        """Apply ops in order, merge partial summaries, move marks, all in one transaction.

        Args:
            ops: changes, see `Op`.
            summaries: rows in the column order of SUMMARIES, each the aggregate of points not folded before.
            expected: marks that must be stored now (a writer without a row has `Mark()`).
            marks: marks to store; `Mark()` takes a writer's row away.
        """
        ...

    def read(self) -> AbstractContextManager[RecordsView]:
        """Open a consistent snapshot of all tables and marks."""
        ...

    def close(self) -> None:
        """Release connections; later calls raise `StoreClosed`; idempotent."""
        ...


class SeriesView(Protocol):
    """One pinned snapshot of a series table: marks and rows belong together."""

    def marks(self) -> dict[str, int]:
        """Return, for every journal writer, the highest segment number whose rows are in the snapshot."""
        ...

    def scan(
        self, where: PointFilter = ..., *, columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """Stream the rows that match, in no promised order."""
        ...

    def lazy(self) -> pl.LazyFrame:
        """Return the snapshot as a lazy frame with all columns; filters on it are pushed down."""
        ...


class Series(Protocol):
    """Append-only rows: metrics, rollups, system metrics, console lines.

    Law. `append` is one atomic commit of its rows and its marks: a reader sees all of them or none. It is exactly-once:
    rows come with the segment numbers that they are the whole content of; when the stored mark of any of these writers
    is already at or past the given number, nothing is written and it returns False; of two processes that append the
    same segments at once, one wins. Acknowledged means durable against a killed process. A snapshot never changes.
    """

    def create(self, *tables: Table) -> None:
        """Make the tables if they are not there; idempotent, safe in a race."""
        ...

    def append(
        self, table: Table, data: pa.Table, *, marks: Mapping[str, int] | None = None
    ) -> bool:
        """Commit rows and marks (writer name -> highest segment number contained) at once.

        Returns:
            False if the marks say that these segments are already in the table.
        """
        ...

    def snapshot(self, table: Table) -> SeriesView:
        """Pin the newest version; an absent table gives an empty view."""
        ...

    def close(self) -> None:
        """Release handles; later calls raise `StoreClosed`; idempotent."""
        ...


@runtime_checkable
class CanAnswer(Protocol):
    """A whole store that answers questions itself, because its parts are elsewhere: a gateway.

    Law. An answer is what the question's function returns of the store behind it: the same frame, the same error class
    with the same message. What this process has written before it asks is seen, if that can be had within two seconds.
    """

    def ask(self, noun: str, /, **arguments: Any) -> Any:
        """Return the answer to one of `mlrun.wire.NOUNS`; arguments are those of its function, as JSON can say them."""
        ...


@runtime_checkable
class CanCompact(Protocol):
    """Can merge small files and free what no version needs."""

    def compact(self, table: Table, *, keep_hours: float = 1.0) -> dict[str, int]:
        """Rewrite small files sorted, then free files older than `keep_hours`; rows do not change. Returns counts."""
        ...


@runtime_checkable
class CanGather(Protocol):
    """Can keep its files few while it grows, at a cost that follows what was appended."""

    def gather(self, table: Table) -> dict[str, int]:
        """Merge small files once many have gathered; rows and marks do not change. Returns counts as `compact` does."""
        ...


@runtime_checkable
class CanRollUp(Protocol):
    """Can make rollups of points that came without, as they do where rows are appended as they arrive.

    Its views of METRICS have `waiting(marks, where, columns=, known=)`: the points that rollups with these marks do not
    tell of, those of the writers `known` left out.
    """

    def roll_up(self, *, least: int = ...) -> int:
        """Make rollups of what waits, once at least so many points do; returns how many it was."""
        ...


@runtime_checkable
class CanDeleteRuns(Protocol):
    """Can free the rows of runs for good."""

    def delete_runs(self, table: Table, run_ids: Sequence[str]) -> int:
        """Delete all rows of these runs; returns how many."""
        ...


@runtime_checkable
class CanDeletePoints(Protocol):
    """Can free some series of runs for good, and not only whole runs."""

    def delete_points(self, table: Table, where: PointFilter) -> int:
        """Delete all rows that match; returns how many."""
        ...


@runtime_checkable
class CanMigrate(Protocol):
    """Has a schema with a version, and knows the way from every older version to this one; there is no way back.

    Law. A part that makes a backup itself may be migrated when it is opened. One that does not refuses to open with an
    older schema (StoreVersionError), so that nobody migrates what others use by asking it something.
    """

    def versions(self) -> tuple[int, int]:
        """Return the version of what is stored, 0 if nothing is made yet, and the version that this mlrun writes."""
        ...

    def backup_command(self) -> str:
        """Return the shell command that backs up what `migrate` changes; empty if `migrate` does that itself."""
        ...

    def migrate(self) -> None:
        """Bring what is stored to this version, step by step, each whole or not at all; safe in a race."""
        ...


@runtime_checkable
class CanPresign(Protocol):
    """Can hand out URLs by which others read or store the bytes without credentials of their own."""

    def presign(self, sha256: str, *, put: bool = False, expires_s: float = 300.0) -> str:
        """Return a URL for one GET, or with `put` one PUT, of these bytes, good for `expires_s` seconds.

        It is a credential: whoever has it needs no other. Nothing is asked: the object may be absent, and nobody checks
        the hash of what is stored by it but `check` and whoever reads with `verify`.
        """
        ...


@runtime_checkable
class CanSweep(Protocol):
    """Can free objects that nothing references."""

    def sweep(self, keep: Collection[str], *, older_s: float = 86_400.0) -> tuple[int, int]:
        """Free what is not in `keep` and was last put more than `older_s` seconds ago; returns objects and bytes freed.

        Safe beside a `put` of the same bytes: it keeps them, or finds them gone and stores them again.
        """
        ...


@runtime_checkable
class CanSync(Protocol):
    """Can make what it acknowledged survive a power failure, not only a killed process."""

    def sync(self) -> None:
        """Return when everything written before is on the disk; the journal may then forget it."""
        ...


@runtime_checkable
class CanCheck(Protocol):
    """Can look for damage, and mend what can be mended."""

    def check(self, *, repair: bool = False) -> list[Finding]:
        """Read everything that has a checksum or a structure; report what is wrong, mend it if `repair`."""
        ...


class Objects(Protocol):
    """Immutable bytes, addressed by their SHA-256.

    Law. `put` returns when the bytes are durable (fsynced); the same bytes are stored once however often and wherever
    they are put; a killed `put` leaves no object under a final name. `open` and `path` verify the size; `verify=True`
    the hash too (`ObjectError`).
    """

    def put(self, source: Path | bytes | BinaryIO) -> StoredObject:
        """Store a file's, a stream's or given bytes."""
        ...

    def open(self, sha256: str, *, verify: bool = False) -> BinaryIO:
        """Open stored bytes for reading; NotFound if there are none."""
        ...

    def path(self, sha256: str) -> Path:
        """Return a local read-only path of the bytes (fetched first if they are remote)."""
        ...

    def delete(self, sha256: str) -> bool:
        """Free the bytes; False if there are none."""
        ...

    def list(self) -> Iterable[StoredObject]:
        """Iterate over everything stored."""
        ...
