"""Records in PostgreSQL, for a team: written in arrays, loaded by COPY, read in Arrow."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlrun.credentials import with_secrets, without_secrets
from mlrun.errors import ConfigError, SchemaMismatch

from . import postgres_schema as schema
from .postgres_apply import apply, read_marks
from .postgres_connect import SCHEMA, Pool
from .postgres_schema import create, lock, open_version
from .recordplan import plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from mlrun.contracts import Finding, Mark, Op
    from mlrun.tables import Table

    from .postgres_connect import Connection
    from .postgres_read import View

__all__ = ["PostgresRecords"]

if find_spec("adbc_driver_postgresql") is None:  # told when a store is opened, not when a run ends
    raise ModuleNotFoundError(
        "No module named 'adbc_driver_postgresql'", name="adbc_driver_postgresql"
    )


class PostgresRecords:
    """Meets the law of `mlrun.contracts.Records`, and CanLookup, CanCheck, CanMigrate, CanSync.

    Transactions survive a killed process, and a power failure too unless the server was told otherwise. Every call
    needs the network, so that the end of a run leaves its records to an absorber beside it (`remote`). `lookup` and
    `marks` load no pyarrow; everything else does.

    Args:
        url: `postgresql://[user[:password]@][host][:port]/database[?options]`, as libpq takes it. A password may be
            left out here and be given by `PGPASSWORD` or a password file. All tables lie in the schema `mlrun`.

    Attributes:
        url: without the password.
        remote: the end of a run does not wait for it.
    """

    remote = True

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme != "postgresql":
            raise ConfigError(f"postgresql://user@host:port/database, not {without_secrets(url)!r}")
        full = with_secrets(url)
        self.url = without_secrets(full)
        self._pool = Pool(full)

    def __repr__(self) -> str:
        """Show the URL without its password."""
        return f"PostgresRecords({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as URL without its password, see `mlrun.credentials`."""
        return PostgresRecords, (self.url,)

    def create(self) -> None:
        """Make the schema and its tables if they are not there; idempotent.

        Raises:
            StoreVersionError: another version of mlrun made them; older ones wait for `migrate`.
            StoreError: they cannot be made, or are none of ours.
        """
        with self._pool.transaction(write=True) as connection:
            create(connection)

    def versions(self) -> tuple[int, int]:
        """Return the version of the tables, 0 if there are none, and the version that this mlrun writes."""
        with self._pool.transaction() as connection:
            return schema.stored_version(connection), schema.VERSION

    def backup_command(self) -> str:
        """Return the command that writes the tables into a file; without a password, as `PGPASSWORD` may give it."""
        database = urlsplit(self.url).path.strip("/") or "mlrun"
        file = f"mlrun-{database}.dump"
        return shlex.join(
            ["pg_dump", "--format=custom", f"--schema={SCHEMA}", f"--file={file}", self.url]
        )

    def migrate(self) -> None:
        """Bring the tables to this version, in one transaction: whole or not at all."""
        with self._pool.transaction(write=True) as connection:
            schema.migrate(connection)

    def apply(
        self,
        ops: Sequence[Op],
        *,
        summaries: Iterable[Sequence[Any]] = (),
        expected: Mapping[str, Mark] | None = None,
        marks: Mapping[str, Mark] | None = None,
    ) -> None:
        """Apply ops in order, merge partial summaries, move marks, all in one transaction.

        Raises:
            MarkConflict, RowConflict: what is stored is not what was expected.
            SchemaMismatch: an op does not fit its table.
            StoreError: others wrote for more than 30 s, or the server is gone. In all cases nothing is written; only
                where the connection broke during the commit itself it is not known, and the marks tell.
        """
        steps, folded = plan(ops), list(summaries)
        with self._writing() as connection:
            apply(connection, steps, folded, expected, marks)

    @contextmanager
    def read(self) -> Iterator[View]:
        """Open a consistent snapshot of all tables and marks."""
        from .postgres_read import View

        with self._reading() as connection:
            view = View(connection)
            try:
                yield view
            finally:
                view.end()

    def lookup(self, table: Table, key: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rows that match every column of `key`, as plain dicts, without pyarrow."""
        from .postgres_lookup import lookup

        if unknown := set(key) - set(table.names):
            raise SchemaMismatch.of(table.name, unknown=unknown)
        with self._reading() as connection:
            return lookup(connection, table, key)

    def marks(self) -> dict[str, Mark]:
        """Return the high-water mark of every journal writer, without pyarrow."""
        with self._reading() as connection:
            return read_marks(connection)

    def load(self, table: Table, data: pa.Table | Iterable[pa.Table]) -> None:
        """Put many rows at once, in one transaction; as `apply` with puts of whole rows, from Arrow, by COPY.

        Args:
            table: which.
            data: any columns that make up whole rows; what is not null in the table must be there. Of several tables
                one after the other is held in memory.
        """
        from .postgres_load import load

        with self._writing() as connection:
            load(connection, table, data)

    def sync(self) -> None:
        """Do nothing: what was committed is on the server's disk."""

    def check(self, *, repair: bool = False) -> list[Finding]:
        """Look for damage that the server knows of, lost indexes, and rows that belong to nothing.

        Args:
            repair: make lost indexes again. Damaged pages are for a backup to mend.
        """
        from .postgres_check import check

        with self._pool.transaction(write=True) as connection:
            open_version(connection)
            return check(connection, repair=repair)

    def close(self) -> None:
        """Release connections."""
        self._pool.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._pool.transaction() as connection:
            open_version(connection)
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._pool.transaction(write=True) as connection:
            lock(connection)
            open_version(connection)
            yield connection
