"""Pages of runs, cut by what the last run was ordered by: others that come and go meanwhile make none repeat or skip.

A token holds the place (the values of the order's keys and the id of the last run), the instant that `now()` meant on
the first page, and a fingerprint of the question. It is no secret and gives no right: a forged one is another place.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from mlrun.errors import QueryError
from mlrun.tables import PARAMS, RESULTS, RUNS, SUMMARIES, TAGS
from mlrun.where.ast import Compare, Literal_, Logic, Name, Not
from mlrun.where.frames import RunFrames, sort_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlrun.contracts import OrderKey, RunQuery
    from mlrun.lookup.sight import Snapshot
    from mlrun.where.ast import Expr, Value

__all__ = ["page_of"]

_Sorted = Any  # number, text, [microseconds], or None: as `sort_values` tells, and JSON keeps
_LEAST = -(1 << 62)


def page_of(
    sight: Snapshot, query: RunQuery, size: int, token: str | None, question: str
) -> tuple[list[str], str]:
    """Return the ids of one page, and the token of the next; empty if there is none.

    Args:
        sight: what is looked at.
        query: without limit and offset.
        size: runs on the page.
        token: what the page before gave; None for the first.
        question: the words of the question: a token of another one is refused.

    Raises:
        QueryError: the token is none, or belongs to another question.
    """
    mark = hashlib.blake2b(question.encode("utf-8", "replace"), digest_size=8).hexdigest()
    if token:
        at, values, run_id = _read(token, mark, len(query.order_by))
        behind = _after(query.order_by, values, run_id)
        where = behind if query.where is None else Logic("and", (query.where, behind))
        query = replace(query, where=where, now_us=at or query.now_us)
    ids = sight.find(replace(query, limit=size + 1, offset=0))
    if len(ids) <= size:
        return ids, ""
    last = ids[size - 1]
    frames = RunFrames(*(sight.rows(t, [last]) for t in (RUNS, TAGS, PARAMS, RESULTS, SUMMARIES)))
    values = sort_values(frames, query.order_by, query.now_us)
    at = query.now_us if "now" in question else 0  # the same page has the same token
    place = json.dumps([mark, at, values, last], ensure_ascii=False)
    text = base64.urlsafe_b64encode(place.encode("utf-8", "surrogatepass")).decode().rstrip("=")
    return ids[:size], text


def _read(token: str, mark: str, keys: int) -> tuple[int, list[_Sorted], str]:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        found, at, values, run_id = json.loads(text)
    except (ValueError, TypeError):
        raise QueryError("this is no token of a page") from None
    fits = (
        isinstance(at, int)
        and 0 <= at < 1 << 62
        and isinstance(run_id, str)
        and isinstance(values, list)
        and len(values) == keys
        and all(_is_sorted(v) for v in values)
    )
    if not fits or found != mark:
        raise QueryError("the token is of a page of another question")
    return at, values, run_id


def _is_sorted(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) == 1 and type(value[0]) is int and abs(value[0]) < 1 << 63
    return value is None or isinstance(value, str) or type(value) in (int, float)


def _after(order: Sequence[OrderKey], values: Sequence[_Sorted], run_id: str) -> Expr:
    """Return the condition that a run comes behind the place, as `mlrun.where.ast` orders."""
    ties = Compare("<", Name("run", "run_id"), Literal_(run_id, "text"))
    condition: Expr = ties
    for key, value in reversed(list(zip(order, values, strict=True))):
        same = Logic("and", (_same(key.name, value), condition))
        later = _later(key, value)
        condition = same if later is None else Logic("or", (later, same))
    return condition


def _same(name: Value, value: _Sorted) -> Expr:
    return _last(name) if value is None else Compare("=", name, _literal(value))


def _later(key: OrderKey, value: _Sorted) -> Expr | None:
    """Return the condition that a value comes behind another; None if nothing does."""
    if value is None:
        return None
    op = "<" if key.descending else ">"
    parts: list[Expr] = [Compare(cast("Any", op), key.name, _literal(value)), _last(key.name)]
    if isinstance(value, str) and key.descending:
        parts.append(_is_number(key.name))
    elif not isinstance(value, (str, list)) and not key.descending:
        parts.append(_is_text(key.name))
    return Logic("or", tuple(parts))


def _last(name: Value) -> Expr:
    """NaN, missing, a list or a dict: what no comparison is true of."""
    time = Compare(">=", name, Literal_(_LEAST, "time"))
    return Not(Logic("or", (_is_number(name), _is_text(name), time)))


def _is_number(name: Value) -> Expr:
    return Compare(">=", name, Literal_(-math.inf, "number"))


def _is_text(name: Value) -> Expr:
    return Compare(">=", name, Literal_("", "text"))


def _literal(value: _Sorted) -> Literal_:
    if isinstance(value, list):
        return Literal_(value[0], "time")
    return Literal_(value, "text" if isinstance(value, str) else "number")
