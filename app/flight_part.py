"""Arrow Flight (gRPC) beside HTTP: the same uploads, the same answers, the same callers.

`DoPut` to the path `ingest` takes uploads (`mlrun.journal.upload`), each as one row of one binary column; every one is
answered by a metadata message, the JSON that HTTP answers, once it is durable. `DoGet` of a ticket
`{"noun": "metrics", "arguments": {…}}` streams the answer to any question of `mlrun.wire.NOUNS` that is a frame;
`GetFlightInfo` of such a command gives the ticket. Callers send `authorization: Bearer KEY`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import flight

from mlrun.errors import AccessDenied, MlrunError, NotSignedIn, QueryError, StoreBusy, UploadRefused
from mlrun.wire import NOUNS

from .ingest_part import IngestPart
from .logs import log
from .problems import told_problem
from .questions import MODELS, QUESTIONS, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastapi import APIRouter

    from mlrun.store import Store

    from .auth import Caller
    from .gateway import Gateway

__all__ = ["FlightPart"]

_SECONDS = 120.0  # that an upload may wait for its commit


class FlightPart:
    """The Flight server of a gateway, in threads of its own.

    Args:
        gateway: whose store is served.
    """

    router: APIRouter | None = None

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Listen, if the gateway's options give a port."""
        if self._gateway.options.flight_port is not None:
            await asyncio.to_thread(self._begin)

    def _begin(self) -> None:
        options = self._gateway.options
        certificates: list[tuple[bytes, bytes]] = []
        if options.tls_cert:
            with open(options.tls_cert, "rb") as cert, open(options.tls_key, "rb") as key:
                certificates = [(cert.read(), key.read())]
        host = f"[{options.host}]" if ":" in options.host else options.host
        place = f"{'grpc+tls' if certificates else 'grpc'}://{host}:{options.flight_port}"
        try:
            _need_free(options.host, options.flight_port or 0)
            self._server = _Server(self._gateway, place, certificates)
        except (OSError, pa.ArrowException) as error:
            # a second gateway on this host: HTTP does the same, and clients are told which port there is
            log.warning("Arrow Flight cannot listen", extra={"fields": {"why": str(error)[:200]}})
            return
        self._gateway.ports["flight"] = self._server.port
        self._thread = threading.Thread(target=self._server.serve, name="mlrun-flight", daemon=True)
        self._thread.start()

    async def drain(self) -> None:
        """Finish the calls that have begun, and take no more."""
        if self._server is not None:
            await asyncio.to_thread(self._server.shutdown)

    def close(self) -> None:
        """Wait for the server's thread."""
        if self._thread is not None:
            self._thread.join(5.0)

    def ready(self) -> str:
        """Return an empty text: without Flight, HTTP does everything."""
        return ""


def _need_free(host: str, port: int) -> None:
    """Raise OSError if somebody listens there: gRPC would share the port with them, and half of the calls go astray."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


class _Who(flight.ServerMiddleware):  # type: ignore[misc]  # pyarrow has no types
    """Carries the caller of one call."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller


class _Door(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Asks every call who it is."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def start_call(self, info: Any, headers: Mapping[str, list[Any]]) -> _Who:
        given = next((v for k, v in headers.items() if k.lower() == "authorization"), [""])[0]
        text = given.decode("latin-1") if isinstance(given, bytes) else str(given)
        kind, _, token = text.partition(" ")
        known = token.strip() if kind.lower() == "bearer" else ""
        try:
            gateway = self._gateway
            caller = gateway.auth.caller(known or None, "flight")
            gateway.limits.take("requests", caller.name, 1, gateway.options.requests_per_second)
            return _Who(caller)
        except MlrunError as error:
            raise _as_flight(self._gateway.store, error) from None


class _Server(flight.FlightServerBase):  # type: ignore[misc]
    """Answers calls."""

    def __init__(
        self, gateway: Gateway, place: str, certificates: list[tuple[bytes, bytes]]
    ) -> None:
        super().__init__(
            place, tls_certificates=certificates or None, middleware={"who": _Door(gateway)}
        )
        self._gateway = gateway

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Take uploads; each is answered when it is durable."""
        caller = context.get_middleware("who").caller
        try:
            if list(descriptor.path or ()) != [b"ingest"]:
                raise QueryError("what is put goes to the path 'ingest'")
            ingest = self._ingest_part().ingest
            for chunk in reader:
                for body in _uploads(chunk.data):
                    answer = ingest.offer(caller, body).result(_SECONDS)
                    writer.write(pa.py_buffer(json.dumps(answer).encode()))
        except MlrunError as error:
            raise _as_flight(self._gateway.store, error) from None
        except TimeoutError:
            raise _as_flight(
                self._gateway.store, StoreBusy("the upload waited too long: send it again")
            ) from None

    def do_get(self, context: Any, ticket: Any) -> Any:
        """Stream the answer to a question."""
        caller = context.get_middleware("who").caller
        try:
            table = self._answer(caller, bytes(ticket.ticket))
        except MlrunError as error:
            raise _as_flight(self._gateway.store, error) from None
        return flight.RecordBatchStream(table)

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """Return the ticket of a question; the schema is told with the answer."""
        caller = context.get_middleware("who").caller
        command = bytes(descriptor.command or b"")
        try:
            table = self._answer(caller, command)
        except MlrunError as error:
            raise _as_flight(self._gateway.store, error) from None
        endpoint = flight.FlightEndpoint(command, [])
        return flight.FlightInfo(table.schema, descriptor, [endpoint], table.num_rows, -1)

    def _ingest_part(self) -> IngestPart:
        parts: list[Any] = list(self._gateway.parts)
        for part in parts:
            if isinstance(part, IngestPart):
                return part
        raise StoreBusy("this gateway takes no uploads")

    def _answer(self, caller: Caller, command: bytes) -> pa.Table:
        try:
            asked = json.loads(command)
            noun, arguments = asked["noun"], asked.get("arguments", {})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise QueryError('a ticket is {"noun": …, "arguments": {…}}') from None
        if NOUNS.get(noun) != "arrow":
            known = ", ".join(sorted(n for n, form in NOUNS.items() if form == "arrow"))
            raise QueryError(f"no frame is called {str(noun)[:80]!r}; known: {known}")
        body = json.dumps(arguments).encode()
        given = parse(MODELS[noun], body)
        if noun == "sql":
            audits = caller.may("admin")
            packed = self._gateway.sql.run(given["query"], caller.projects("read"), audits=audits)
            return pa.ipc.open_stream(packed).read_all()
        frame = QUESTIONS[noun](caller.seen(self._gateway.store), **given)
        return frame.to_arrow()


def _uploads(batch: Any) -> Iterator[memoryview]:
    """Iterate over the uploads in a batch, without a copy."""
    if batch is None:
        return
    if batch.num_columns != 1 or batch.schema.types[0] not in (pa.binary(), pa.large_binary()):
        raise UploadRefused("an upload is one value of one binary column")
    for value in batch.column(0):
        yield memoryview(value.as_buffer() or b"")


def _as_flight(store: Store, error: MlrunError) -> Exception:
    """Return the Flight error that a client raises; the problem document rides along."""
    kinds = (
        (NotSignedIn, flight.FlightUnauthenticatedError),
        (AccessDenied, flight.FlightUnauthorizedError),
        (StoreBusy, flight.FlightUnavailableError),
    )
    kind = next((f for ours, f in kinds if isinstance(error, ours)), flight.FlightServerError)
    document = told_problem(store, error)
    found: Exception = kind(document["detail"], json.dumps(document).encode())
    return found
