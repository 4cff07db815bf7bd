"""What a name in `where`, `order_by` and `columns` may be, and what to say when it is none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from mlrun.errors import WhereError, did_you_mean
from mlrun.tables import RUNS
from mlrun.where.ast import AGGREGATES, Name, Scope

if TYPE_CHECKING:
    from mlrun.where.parse_tokens import Token

__all__ = ["RUN_COLUMNS", "SCOPES", "Kind", "kind_of_name", "name_of", "plain_key"]

Kind = Literal["number", "text", "bool", "time", "duration", "any"]

SCOPES: tuple[Scope, ...] = ("params", "results", "metrics", "labels")
_KINDS: dict[str, Kind] = {
    "string": "text", "json": "text", "int64": "number", "float64": "number", "bool": "bool", "timestamp": "time",
}  # fmt: skip
RUN_COLUMNS: dict[str, Kind] = {
    **{name: _KINDS[RUNS.column(name).type] for name in RUNS.visible},
    "duration": "duration",
}
# What other trackers, or haste, call our columns and scopes.
_ALSO_CALLED = {
    "id": "run_id", "status": "state", "tag": "tags", "created_at": "started_at", "start_time": "started_at",
    "end_time": "finished_at", "ended_at": "finished_at", "experiment": "project", "run_name": "name",
    "config": "params", "param": "params", "parameters": "params", "summary": "metrics", "metric": "metrics",
    "result": "results", "label": "labels", "runtime": "duration",
}  # fmt: skip
_PLAIN = re.compile(r"\w+(?:\.\w+)*")


def kind_of_name(name: Name) -> Kind:
    """Return the kind of a name's values; `any` where each run may have another."""
    if name.scope == "run":
        return RUN_COLUMNS.get(name.key, "text")
    return "number" if name.scope == "metrics" else "any"


def plain_key(key: str) -> bool:
    """Whether a key can be written without quotes."""
    return _PLAIN.fullmatch(key) is not None


def name_of(token: Token, text: str, *, tags: bool = False) -> Name:
    """Return the name that a token says.

    Args:
        token: a `name` token.
        text: the whole expression, for errors.
        tags: whether `tags` is a column here.

    Raises:
        WhereError: there is no such column or scope; suggests one.
    """
    head, quoted = token.parts[0]
    if len(token.parts) == 1:
        if head in RUN_COLUMNS or (tags and head == "tags"):
            return Name("run", head, position=token.start)
        raise WhereError(_unknown_column(head, quoted), text, token.start)
    if head not in SCOPES or quoted:
        raise WhereError(_unknown_scope(head, quoted, token), text, token.start)
    keys, aggregate = token.parts[1:], "last"
    if head == "metrics" and len(keys) > 1 and not keys[-1][1] and keys[-1][0] in AGGREGATES:
        keys, aggregate = keys[:-1], keys[-1][0]
    return Name(head, ".".join(k for k, _ in keys), aggregate, token.start)


def _unknown_column(name: str, quoted: bool) -> str:
    if name == "tags":
        return "`tags` is a set: write 'baseline' in tags"
    if name in SCOPES:
        return f"`{name}` holds many values: write {name}.<key>"
    if quoted and "." in name and name.partition(".")[0] in SCOPES:
        scope, _, key = name.partition(".")
        return f"no column {name!r}: only the key is quoted, {scope}.{_quote(key)}"
    if other := _ALSO_CALLED.get(name.lower()):
        return f"no column {name!r} (did you mean {other!r}?)"
    if near := did_you_mean(name, (*RUN_COLUMNS, *SCOPES, "tags")):
        return f"no column {name!r}{near}"
    if quoted:
        return f"no column {name!r}: names are quoted with \", text with '"
    key = _quote(name)
    return (
        f"no column {name!r}: a param is params.{key}, a metric metrics.{key}; text stands in '…'"
    )


def _unknown_scope(head: str, quoted: bool, token: Token) -> str:
    if quoted and head in SCOPES:
        return f"`{head}` stands without quotes before its key"
    if head in RUN_COLUMNS:
        return f"{head!r} is a column and has no {token.parts[1][0]!r}"
    rest = "".join(f".{_quote(k)}" for k, _ in token.parts[1:])
    other = _ALSO_CALLED.get(head.lower(), "")
    if other in SCOPES:
        return f"no scope {head!r} (did you mean {other}{rest}?)"
    hint = did_you_mean(head, SCOPES) or f"; scopes are {', '.join(SCOPES)}"
    return f"no scope {head!r}{hint}"


def _quote(key: str) -> str:
    return key if plain_key(key) else '"' + key.replace('"', '""') + '"'
