"""Every error that mlrun raises on purpose, in one tree.

```
MlrunError
├── ConfigError            a setting, argument or alias is unknown or has no meaning
├── NotFound               a run, artifact, project or alias that is not there
├── RunExists              an id is taken and resume="never"
├── AccessDenied           a gateway does not let this caller do that
│   └── NotSignedIn        … it knows no such key: `mlrun login`
├── RunError               a run ended in error; `.run` is its view
├── JobError               a call that an executor ran raised; says what and where
│   ├── JobAborted         … was cancelled
│   └── JobLost            … died with the process that ran it
├── ExecutorError          an executor cannot do what it was asked, or cannot be reached
├── SchemaMismatch         a table lacks, or has, the wrong columns
├── UploadRefused          a gateway cannot make sense of what it was sent
├── QueryError             a question cannot be understood
│   ├── WhereError         … in `where`, `order_by` or `columns`; points at the place
│   └── SQLError           … in `sql()`
├── StoreError             a store cannot do what it was asked
│   ├── StoreBusy          too much is asked of it just now: try again
│   │   └── RateLimited    … by this caller, who sends more than their share
│   ├── StoreClosed        used after close()
│   ├── StoreUnreachable   a gateway does not answer
│   ├── StoreVersionError  written by another version; says the command to run
│   ├── MarkConflict       somebody else moved the high-water marks first
│   ├── RowConflict        somebody else changed the row first
│   ├── SnapshotExpired    files of an old snapshot have been freed: take a new one
│   └── CorruptStore       bytes are not what was written; says where
├── ObjectError            bytes of an artifact are missing or differ from their hash
│   └── ObjectsUnreachable … or cannot be had just now: the bucket does not answer, or refuses
├── UntrustedPickle        a pickle is loaded only with trust=True
└── MissingExtra           a driver is not installed; says which extra brings it
```
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AccessDenied",
    "ConfigError",
    "CorruptStore",
    "ExecutorError",
    "JobAborted",
    "JobError",
    "JobLost",
    "MarkConflict",
    "MissingExtra",
    "MlrunError",
    "NotFound",
    "NotSignedIn",
    "ObjectError",
    "ObjectsUnreachable",
    "QueryError",
    "RateLimited",
    "RowConflict",
    "RunError",
    "RunExists",
    "SQLError",
    "SchemaMismatch",
    "SnapshotExpired",
    "StoreBusy",
    "StoreClosed",
    "StoreError",
    "StoreUnreachable",
    "StoreVersionError",
    "UntrustedPickle",
    "UploadRefused",
    "WhereError",
    "did_you_mean",
]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the nearest known name, or an empty string."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


class MlrunError(Exception):
    """Base of all errors that mlrun raises on purpose."""


class ConfigError(MlrunError, ValueError):
    """A setting, an argument or an alias is unknown or has a value without meaning."""


class NotFound(MlrunError, LookupError):
    """What was asked for by name or id is not in the store."""


class RunExists(MlrunError):
    """A run with this id is in the store and `resume` forbids to continue it."""


class AccessDenied(MlrunError):
    """A gateway does not let this caller do what was asked."""


class NotSignedIn(AccessDenied):
    """A gateway asks who is calling: no key was given, or it is unknown, expired or revoked."""


class RunError(MlrunError):
    """A run ended in error.

    Attributes:
        run: the `RunView` of the failed run, or None when it could not be read.
    """

    def __init__(self, message: str, run: object | None = None) -> None:
        super().__init__(message)
        self.run = run


class JobError(MlrunError):
    """A call that an executor ran raised; `__cause__` is its exception where that could be carried."""


class JobAborted(JobError):
    """The call was cancelled before it ended."""


class JobLost(JobError):
    """The process that ran the call died: killed, out of memory, or its node is gone."""


class ExecutorError(MlrunError):
    """An executor cannot do what it was asked, or cannot be reached."""


class SchemaMismatch(MlrunError, ValueError):
    """Data does not have the columns or types of the table that it was given to."""

    @classmethod
    def of(
        cls, table: str, *, missing: Iterable[str] = (), unknown: Iterable[str] = (), why: str = ""
    ) -> SchemaMismatch:
        """Name the columns that do not fit `table`."""
        parts = [why] if why else []
        if lacking := sorted(missing):
            parts.append(f"missing columns: {', '.join(lacking)}")
        if extra := sorted(unknown):
            parts.append(f"unknown columns: {', '.join(extra)}")
        return cls(f"table {table!r}: " + "; ".join(parts))


class UploadRefused(MlrunError, ValueError):
    """What was uploaded is torn, out of bounds or not allowed: nothing was taken."""


class QueryError(MlrunError, ValueError):
    """A question to the store cannot be understood or is not allowed.

    Attributes:
        text: the whole question, if it is text.
        position: 0-based offset of the place that is wrong, or None.
    """

    def __init__(self, message: str, text: str = "", position: int | None = None) -> None:
        if position is not None:
            message = f"{message}\n{_pointer(text, position)}"
        super().__init__(message)
        self.text = text
        self.position = position


def _pointer(text: str, position: int) -> str:
    """Show the line of the place, at most about 100 characters of it, and an arrow below the place."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line, at = text[start : end if end >= 0 else len(text)], position - start
    cut = max(0, at - 60)
    head, tail = "…" if cut else "", "…" if len(line) > cut + 100 else ""
    shown = head + line[cut : cut + 100].replace("\t", " ") + tail
    return f"  {shown}\n  {' ' * (at - cut + len(head))}^"


class WhereError(QueryError):
    """`where`, `order_by` or `columns` cannot be understood."""


class SQLError(QueryError):
    """A query given to `sql()` is not one read-only SELECT over known tables."""


class StoreError(MlrunError):
    """A store cannot do what it was asked."""


class StoreBusy(StoreError):
    """More is asked of a store than it can answer just now; the same question may be asked again."""


class RateLimited(StoreBusy):
    """A caller sends more than their share just now; the same may be sent again a little later.

    Attributes:
        seconds: when.
    """

    seconds: float = 1.0

    def __init__(self, message: str, seconds: float = 1.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class StoreUnreachable(StoreError):
    """A gateway does not answer: it is down, or the network between is."""


class StoreClosed(StoreError):
    """The store was used after `close()`."""


class StoreVersionError(StoreError):
    """The store was written by a version that this one cannot read or must migrate."""


class MarkConflict(StoreError):
    """High-water marks are not what the writer expected: nothing was written."""


class RowConflict(StoreError):
    """A row is not what the change expected, because somebody else was first: nothing was written."""


class SnapshotExpired(StoreError):
    """Files of a pinned snapshot have been freed since; a new snapshot has the same rows and more."""


class CorruptStore(StoreError):
    """Stored bytes are not what was written."""


class ObjectError(MlrunError):
    """The bytes of an artifact are missing or differ from their recorded hash."""


class ObjectsUnreachable(ObjectError):
    """An object store does not answer, or refuses: it is not known what it holds."""


class UntrustedPickle(MlrunError):
    """Loading would run code from the artifact; pass `trust=True` to allow it."""


class MissingExtra(MlrunError, ImportError):
    """A driver is not installed."""

    @classmethod
    def of(cls, what: str, extra: str) -> MissingExtra:
        """Say which extra brings `what`."""
        return cls(f"{what} is not installed: pip install 'mlrun-arrow[{extra}]'")
