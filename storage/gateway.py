"""A store behind a gateway: questions, rows by key, and changes of records, over HTTP.

Looking up rows loads neither pyarrow nor Polars, because trackers resume and end runs with it; answers to questions
are frames.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.contracts import Mark
from mlrun.errors import ConfigError, StoreError
from mlrun.ids import uuid7
from mlrun.wire import (
    API,
    APPLY,
    ARROW,
    ASK,
    HEADER_IDEMPOTENCY,
    INFO,
    JSON,
    LOOKUP,
    MARKS,
    NOUNS,
    PARTS,
    PROTOCOL,
    encode_arguments,
    path_of,
    unpack_parts,
)

from .gateway_http import Http, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from mlrun.contracts import Op
    from mlrun.tables import Table

    from .gateway_objects import GatewayObjects

__all__ = ["Gateway"]

_ACCEPT = {"arrow": ARROW, "parts": PARTS, "json": JSON}


class Gateway:
    """Answers questions as `mlrun.contracts.CanAnswer` says, and looks up rows as `CanLookup` does.

    Args:
        url: `http(s)://host:port`.
        key: whose key to show; default as `Http` finds it.

    Attributes:
        http: requests to it.
        url: the same URL, always with its port.
        remote: the end of a run does not wait for it.
    """

    remote = True

    def __init__(self, url: str, key: str = "") -> None:
        self.http = Http(url, key)
        self.url = self.http.url

    def __repr__(self) -> str:
        """Show the URL; it holds no key."""
        return f"Gateway({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as URL: the other side finds its own key."""
        return Gateway, (self.url,)

    def info(self) -> dict[str, Any]:
        """Return what the gateway tells of itself.

        Raises:
            StoreError: it speaks an older protocol than this client.
        """
        found: dict[str, Any] = json.loads(self.http.send("GET", INFO, again=True).body)
        if int(found.get("protocol", 0)) < PROTOCOL:
            raise StoreError(f"the gateway {self.url} is older than this mlrun: upgrade it first")
        return found

    def whoami(self) -> dict[str, Any]:
        """Return whom it takes this process for: `user`, `roles` by project ("" for all) and `scopes`."""
        me = json.loads(self.http.send("GET", f"{API}/me", again=True).body)
        return {
            "user": me["name"],
            "roles": {"": me["server"], **me["roles"]},
            "scopes": me["scopes"],
        }

    def ask(self, noun: str, /, **arguments: Any) -> Any:
        """Return the answer to a question: a frame, several by name, or what JSON can say."""
        form = NOUNS[noun]
        reply = self.http.send(
            "POST",
            path_of(ASK, noun=noun),
            encode_arguments(arguments),
            {"Content-Type": JSON, "Accept": _ACCEPT[form]},
            again=True,
        )
        if form == "json":
            return json.loads(reply.body)["value"]
        if form == "arrow":
            return _frame(reply.body)
        return {name: _frame(body) for name, body in unpack_parts(reply.body).items()}

    def objects(self, spool: Path, *, offline: bool = False) -> GatewayObjects:
        """Return the bytes of artifacts; those that are put wait in a spool."""
        from .gateway_objects import GatewayObjects

        return GatewayObjects(self.http, spool, offline=offline)

    # -- records ---------------------------------------------------------------------------------

    def create(self) -> None:
        """Do nothing: the tables are the gateway's."""

    def lookup(self, table: Table, key: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rows that match every column of `key`, as plain dicts (timestamps as int microseconds)."""
        reply = self._post(LOOKUP, {"table": table.name, "key": dict(key)}, again=True)
        rows: list[dict[str, Any]] = json.loads(reply.body)["rows"]
        return rows

    def marks(self) -> dict[str, Mark]:
        """Return the high-water mark of every writer that this caller may know of."""
        found = json.loads(self._post(MARKS, {}, again=True).body)["marks"]
        return {writer: Mark(*mark) for writer, mark in found.items()}

    def apply(
        self,
        ops: Sequence[Op],
        *,
        summaries: Iterable[Sequence[Any]] = (),
        expected: Mapping[str, Mark] | None = None,
        marks: Mapping[str, Mark] | None = None,
    ) -> None:
        """Apply changes in order, in one transaction there; they are idempotent, so a lost answer is asked for again.

        Raises:
            AccessDenied: the caller may not write to a project that they touch.
            ConfigError: marks and summaries are the gateway's own.
        """
        if expected or marks or tuple(summaries):
            raise ConfigError("marks and summaries are written by the gateway itself")
        headers = {HEADER_IDEMPOTENCY: uuid7()}
        self._post(APPLY, {"ops": [list(op) for op in ops]}, headers, again=True)

    def read(self) -> Iterator[Any]:
        """Refuse: questions go to the gateway whole."""
        raise StoreError(
            "this needs the store itself, and not a gateway: do it where the gateway runs"
        )

    def close(self) -> None:
        """Close the connections; idempotent, and a later question opens them anew."""
        self.http.close()

    def _post(
        self, path: str, body: Any, headers: Mapping[str, str] | None = None, *, again: bool
    ) -> Reply:
        text = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return self.http.send(
            "POST", path, text, {"Content-Type": JSON, **(headers or {})}, again=again
        )


def _frame(body: bytes) -> pl.DataFrame:
    import polars as pl

    return pl.read_ipc_stream(body)
