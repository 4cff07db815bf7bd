"""What a gateway and its clients say to one another: paths, headers, nouns, errors. Both sides import it.

One question is one request: `POST /api/v1/ask/<noun>` with its arguments as a JSON object, answered as an Arrow IPC
stream, as several of them (`pack_parts`), or as JSON (`NOUNS` says which). Asking changes nothing, so it may be sent
again. People and other programs use the REST routes of the same nouns (`GET /api/v1/runs`, …).

An error is a problem document (RFC 9457) that names the class, so that the client raises what the embedded store would:

```json
{"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "metrics.acc: …", "error": "WhereError",
 "text": "metrics.acc >", "position": 12, "request_id": "…"}
```

Nothing here loads a frame, Arrow or a web framework: trackers import it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mlrun import errors
from mlrun.errors import (
    AccessDenied,
    CorruptStore,
    ExecutorError,
    MarkConflict,
    MlrunError,
    NotFound,
    NotSignedIn,
    ObjectError,
    QueryError,
    RateLimited,
    RowConflict,
    RunExists,
    StoreBusy,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "API",
    "APPLY",
    "ARROW",
    "ASK",
    "DELETE_SECRET",
    "EVENTS",
    "EVENT_STREAM",
    "HEADER_IDEMPOTENCY",
    "HEADER_PROTOCOL",
    "HEADER_REQUEST",
    "INFO",
    "INGEST",
    "JSON",
    "LOOKUP",
    "MARKS",
    "NOUNS",
    "OBJECT",
    "OBJECTS",
    "PARTS",
    "POLICY",
    "PROBLEM",
    "PROTOCOL",
    "RUN_SECRETS",
    "SECRETS",
    "UPLOAD",
    "encode_arguments",
    "error_of",
    "pack_parts",
    "path_of",
    "problem_of",
    "status_of",
    "unpack_parts",
]

PROTOCOL = 1  # raised when an older side would misunderstand; the gateway tells its own in `INFO`
API = "/api/v1"

# -- paths of the asking half; {…} stands for one quoted segment, see `path_of` --------------------
INFO = f"{API}/info"  # version, protocol, limits, Flight's port
ASK = f"{API}/ask/{{noun}}"
LOOKUP = (
    f"{API}/records/lookup"  # {"table", "key"} -> {"rows": […]}, timestamps as int microseconds
)
MARKS = (
    f"{API}/records/marks"  # {"writers": […]} -> {"marks": {writer: [log, offset, segment, row]}}
)
APPLY = f"{API}/records/apply"  # {"ops": [["put", table, row], …]}: one transaction
EVENTS = f"{API}/runs/{{run_id}}/events"
SECRETS = f"{API}/secrets"  # GET ?project= -> names; PUT {"project", "secrets"}
DELETE_SECRET = f"{API}/secrets/delete"  # {"project", "name"}
POLICY = f"{API}/policies"  # GET -> {"policies": […]}; PUT {"project", "raw_days", …}
RUN_SECRETS = f"{API}/secrets/read"  # {"run_id", "names"} -> {"secrets": {name: text}}

# -- paths of the writing half; the law of uploads is in `mlrun.journal.upload` --------------------
INGEST = f"{API}/ingest"  # POST an upload -> {"positions": {writer: …}, "refused": {writer: why}}
OBJECTS = f"{API}/objects"
OBJECT = f"{API}/objects/{{sha256}}"  # GET bytes (ranges too), HEAD, PUT pieces

# -- what can be asked: noun -> form of the answer -------------------------------------------------
NOUNS: Mapping[str, str] = {
    "artifacts": "arrow",
    "find": "json",
    "iterations": "arrow",
    "logs": "arrow",
    "metrics": "arrow",
    "params": "arrow",
    "projects": "arrow",
    "resolve": "json",
    "rows": "parts",
    "runs": "arrow",
    "shared": "arrow",
    "sql": "arrow",
}

# -- headers and media types -----------------------------------------------------------------------
HEADER_REQUEST = "X-Request-Id"
HEADER_PROTOCOL = "Mlrun-Protocol"
HEADER_IDEMPOTENCY = "Idempotency-Key"
ARROW = "application/vnd.apache.arrow.stream"
PARTS = "application/vnd.mlrun.parts"
UPLOAD = "application/vnd.mlrun.upload"
JSON = "application/json"
PROBLEM = "application/problem+json"
EVENT_STREAM = "text/event-stream"

# the first class that an error is an instance of says its status
_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (NotSignedIn, 401),
    (AccessDenied, 403),
    (NotFound, 404),
    (RunExists, 409),
    (MarkConflict, 409),
    (RowConflict, 409),
    (QueryError, 400),
    (RateLimited, 429),
    (StoreBusy, 503),
    (CorruptStore, 500),
    (ExecutorError, 503),
    (ObjectError, 422),
    (StoreError, 500),
    (MlrunError, 400),
)


def path_of(template: str, **segments: str) -> str:
    """Return a path with its segments quoted, `/` and `..` included.

    Example:
        >>> path_of(EVENTS, run_id="a/b")
        '/api/v1/runs/a%2Fb/events'
    """
    return template.format(**{k: quote(v, safe="") for k, v in segments.items()})


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an error: that of its class, else 500."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem_of(error: BaseException, request_id: str = "") -> dict[str, Any]:
    """Return the problem document of an error; of one that is not ours, only that it happened."""
    status = status_of(error)
    ours = isinstance(error, MlrunError)
    told = str(error.args[0]) if ours and error.args else str(error)
    found: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": told if ours else "the gateway failed; its log says why",
        "error": type(error).__name__ if ours else "StoreError",
    }
    if isinstance(error, QueryError) and error.position is not None:
        found |= {"text": error.text, "position": error.position}
    return found | ({"request_id": request_id} if request_id else {})


def error_of(problem: Mapping[str, Any], status: int = 500) -> MlrunError:
    """Return the error that a problem document tells of; what names none of our classes is a StoreError."""
    detail = str(problem.get("detail") or problem.get("title") or f"the gateway says {status}")
    kind = getattr(errors, str(problem.get("error")), None)
    if not (isinstance(kind, type) and issubclass(kind, MlrunError)):
        kind = NotSignedIn if status == 401 else AccessDenied if status == 403 else StoreError
    error = kind.__new__(kind)
    error.args = (detail,)  # the message is whole: no constructor shall add to it
    if isinstance(error, QueryError):
        error.text, error.position = str(problem.get("text") or ""), problem.get("position")
    elif isinstance(error, errors.RunError):
        error.run = None
    return error


def encode_arguments(arguments: Mapping[str, Any]) -> bytes:
    """Return a question's arguments as JSON; a time is ISO 8601, any other collection a list.

    Raises:
        QueryError: JSON cannot say one of them.
    """
    try:
        text = json.dumps(dict(arguments), default=_plain, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise QueryError(f"this cannot be asked with: {error}") from None
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate is replaced, as it is when text is stored
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if hasattr(value, "item"):  # a number of numpy's
        return value.item()
    if hasattr(value, "__iter__"):
        return list(value)
    raise TypeError(f"a {type(value).__name__}")


def pack_parts(parts: Mapping[str, bytes]) -> bytes:
    """Return several bodies as one: a line of JSON with names and sizes, then the bytes one after the other."""
    head = json.dumps([[name, len(body)] for name, body in parts.items()])
    return b"".join([head.encode(), b"\n", *parts.values()])


def unpack_parts(body: bytes) -> dict[str, bytes]:
    """Undo `pack_parts`; StoreError when the body was cut."""
    head, _, rest = body.partition(b"\n")
    found, at = {}, 0
    try:
        for name, size in json.loads(head):
            found[str(name)] = rest[at : at + size]
            at += size
    except (ValueError, TypeError) as error:
        raise StoreError("the gateway's answer cannot be read") from error
    if at != len(rest):
        raise StoreError("the gateway's answer was cut")
    return found
