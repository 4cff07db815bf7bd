"""The questions of callers as plain functions of a store, which any process can answer: arguments in, bytes out.

A gateway answers in processes beside its own, so that one caller's frame is built while another's is packed, and
neither holds up the event loop; with `answer_processes=0` it answers in threads.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.errors import NotFound, QueryError
from mlrun.lookup.keyset import page_of
from mlrun.lookup.sight import snapshot
from mlrun.query import run_query, runs_frame
from mlrun.tables import RUNS
from mlrun.view import get_run
from mlrun.wire import ARROW, JSON, NOUNS, PARTS

from .answered import Answered
from .answers import arrow_bytes, json_rows, parts_bytes, plain
from .questions import MODELS, QUESTIONS, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

__all__ = ["ANSWERS", "known_run"]


def ask(store: Any, noun: str, body: bytes) -> Answered:
    """Answer one of `mlrun.wire.NOUNS`, but for `sql`."""
    found = QUESTIONS[noun](store, **parse(MODELS[noun], body))
    form = NOUNS[noun]
    if form == "arrow":
        return Answered(arrow_bytes(found), ARROW)
    if form == "parts":
        return Answered(parts_bytes(found), PARTS)
    return Answered(json.dumps({"value": found}).encode(), JSON)


def page(
    store: Any,
    arrow: bool,
    asked: tuple[Any, ...],
    columns: list[str] | None,
    limit: int,
    token: str | None,
) -> Answered:
    """Return a page of runs; `asked` is project, where, order_by, children, archived and deleted."""
    project, where, order, children, archived, deleted = asked
    query = run_query(project, where, order, None, 0, children, archived, deleted)
    with snapshot(store) as sight:
        ids, following = page_of(sight, query, limit, token, repr(asked))
        frame = runs_frame(sight, ids, columns)
    return framed(frame, arrow, following)


def frame(
    store: Any,
    arrow: bool,
    noun: str,
    arguments: dict[str, Any],
    run_id: str | None = None,
    most: int | None = None,
) -> Answered:
    """Return a question's frame, of a run that must be there if one is named, of `most` rows at most."""
    if run_id is not None:
        known_run(store, run_id)
    found: pl.DataFrame = QUESTIONS[noun](store, **arguments)
    if most is not None and found.height > most:
        raise QueryError(f"{found.height:,} rows: ask with `points=`, or between bounds")
    return framed(found, arrow)


def document(store: Any, run_id: str) -> Answered:
    """Return all of one run but its points and lines, as JSON."""
    view = get_run(store, run_id)
    told = {
        "run": {c: view.record[c] for c in RUNS.visible},
        "params": view.params,
        "results": view.results,
        "summary": view.summary,
        "tags": view.tags,
        "labels": view.labels,
    }
    text = json.dumps(plain(told), ensure_ascii=False, allow_nan=False)
    return Answered(text.encode("utf-8", "replace"), JSON)


def framed(found: pl.DataFrame, arrow: bool, following: str = "") -> Answered:
    """Return a frame as Arrow or JSON, with the token of the next page."""
    headers = {"Mlrun-Next-Page": following} if following else {}
    if arrow:
        return Answered(arrow_bytes(found), ARROW, headers)
    behind = json.dumps(following or None).encode()
    return Answered(b'{"rows":%b,"next":%b}' % (json_rows(found), behind), JSON, headers)


def known_run(store: Any, run_id: str) -> None:
    """Raise NotFound unless there is a run of exactly this id."""
    with snapshot(store) as sight:
        if not sight.knows(run_id):
            raise NotFound(f"no run {run_id!r} in {store.url}")


ANSWERS: dict[str, Callable[..., Answered]] = {
    "ask": ask,
    "document": document,
    "frame": frame,
    "page": page,
}
