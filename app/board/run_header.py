"""The head of the Run page: what it is, how it stands, and what may be done to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

from mlrun.errors import MlrunError

from . import session
from .look import state_badge
from .run_live import goes_on
from .states import trouble
from .words import ago, lasting, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlit.delta_generator import DeltaGenerator

    from mlrun.view import RunView

__all__ = ["badge_text", "facts", "header", "parsed_labels"]

_TAGS = 30  # shown beside the state

_SAID = {
    "lost": "Its process died, or has not been heard of. What it had logged is here; the run goes on here by itself "
    "when it is heard again.",
    "aborting": "It was asked to end, and has not ended yet.",
    "pending": "It waits for its turn.",
    "pending_retry": "It failed, and waits for another attempt.",
}  # fmt: skip


def header(view: RunView) -> DeltaGenerator:
    """Draw it; returns where `facts` are drawn, which keep up with the run."""
    st.title(plain(view.name) or "Unnamed run", anchor=False)
    place = st.container()
    record = view.record
    if record["deleted_at"]:
        st.warning(
            "This run was deleted. It is freed after 30 days; until then it can be restored."
        )
    elif record["archived_at"]:
        st.info("This run is archived: lists leave it out.")
    if view.state in _SAID:
        st.caption(_SAID[view.state])
    if session.may("editor", view.project):
        _controls(view)
    return place


def facts(view: RunView) -> None:
    """One line about the run: how it stands, its tags, since when and for how long."""
    with st.container(horizontal=True, vertical_alignment="center"):
        state_badge(view.state)
        for tag in view.tags[:_TAGS]:
            st.badge(badge_text(tag), color="gray")
    st.caption(" · ".join(_words(view)))


def badge_text(value: str) -> str:
    """Return stored text for a badge, which escapes brackets itself."""
    return plain(value).replace("\\[", "[").replace("\\]", "]")


def _words(view: RunView) -> list[str]:
    begun = view.started_at
    ended = view.finished_at or (datetime.now(UTC) if goes_on(view) else None)
    words = [plain(view.project), f"id {plain(view.id)}"]
    if user := view.record["user"]:
        words.append(f"by {plain(user)}")
    if begun:
        words.append(f"started {plain(ago(begun))} ({begun:%Y-%m-%d %H:%M:%S} UTC)")
    if begun and ended:
        length = ended - begun
        if goes_on(view):  # tenths would only flicker
            length -= type(length)(microseconds=length.microseconds)
        words.append(f"took {lasting(length)}" if view.finished_at else f"for {lasting(length)}")
    if dropped := view.record["dropped"]:
        words.append(f"{dropped} points were dropped for want of space")
    return words


def _controls(view: RunView) -> None:
    with st.container(horizontal=True, key="_run_controls"):
        with st.popover("Edit", icon=":material/edit:"):
            _edit(view)
        record = view.record
        if record["deleted_at"] or record["archived_at"]:
            _does("Restore", ":material/unarchive:", view.restore)
        else:
            _does("Archive", ":material/archive:", view.archive)
        if goes_on(view):
            with st.popover("Abort", icon=":material/stop_circle:"):
                _abort(view)
        else:
            if view.state in ("error", "aborted", "lost") and "task" in view.provenance:
                _does("Retry", ":material/replay:", lambda: _retry(view))
            if not record["deleted_at"]:
                with st.popover("Delete", icon=":material/delete:"):
                    st.write("It can be restored for 30 days.")
                    _does("Delete this run", None, view.delete)
        st.button(
            "Refresh", icon=":material/refresh:", key="_run_refresh", type="tertiary",
            help="Read the run anew",
        )  # fmt: skip


def _does(label: str, icon: str | None, change: Callable[[], Any]) -> None:
    """A button that changes the run; what goes wrong is shown in its place."""
    if st.button(label, icon=icon, key=f"_do_{label}"):
        try:
            change()
        except (MlrunError, TimeoutError) as error:
            trouble(error)
        else:
            st.rerun()


def _abort(view: RunView) -> None:
    reason = st.text_input("Reason", key="_reason", placeholder="optional")
    _does("Abort this run", None, lambda: view.abort(reason=reason or None, timeout=0))


def _retry(view: RunView) -> None:
    with st.spinner("It runs once more."):
        view.retry()


def _edit(view: RunView) -> None:
    with st.form("_edit", border=False):
        name = st.text_input("Name", view.name)
        notes = st.text_area("Notes", view.notes)
        tags = st.multiselect("Tags", view.tags, default=view.tags, accept_new_options=True)
        labels = st.text_area(
            "Labels",
            "\n".join(f"{k}={v}" for k, v in view.labels.items()),
            help="One `name=value` a line",
        )
        if not st.form_submit_button("Save", type="primary"):
            return
    try:
        wanted = parsed_labels(labels, view.labels)
        view.update(
            name=name if name != view.name else None,
            notes=notes if notes != view.notes else None,
            add_tags=[t for t in tags if t not in view.tags],
            remove_tags=[t for t in view.tags if t not in tags],
            labels=wanted or None,
        )
    except (MlrunError, ValueError) as error:
        st.error(plain(error))
    else:
        st.rerun()


def parsed_labels(text: str, known: dict[str, Any]) -> dict[str, Any]:
    """Return what changes: new and other values by name, None for names that are gone.

    Raises:
        ValueError: a line is no `name=value`.

    Example:
        >>> parsed_labels("team=cv", {"team": "nlp", "old": 1})
        {'team': 'cv', 'old': None}
    """
    given: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals or not name.strip():
            raise ValueError(f"a label is name=value, not {line.strip()!r}")
        given[name.strip()] = value.strip()
    changed: dict[str, Any] = {
        n: v for n, v in given.items() if str(known.get(n, "")) != v or n not in known
    }
    return {**changed, **{n: None for n in known if n not in given}}
