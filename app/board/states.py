"""What a page shows when it has nothing to show, or cannot: never an exception, always the next step."""

from __future__ import annotations

import logging
import secrets
from functools import wraps
from typing import TYPE_CHECKING

import streamlit as st

from mlrun.errors import ConfigError, MlrunError, NotFound, StoreUnreachable
from mlrun.redact import redact_text

from .session import NothingYet, SignInWanted

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["empty", "guarded", "no_runs", "trouble"]

_FIRST = """import mlrun

with mlrun.init(project="first") as run:
    run.log({"loss": 0.5})"""

_log = logging.getLogger("mlrun.board")


def empty(what: str, next_step: str, code: str = "") -> None:
    """Say that there is nothing yet, and what would change that; `code` is a line to copy."""
    with st.container(border=True):
        st.subheader(_plain(what), anchor=False)
        st.write(_plain(next_step))
        if code:
            st.code(code, language="python")


def no_runs() -> None:
    """Say how a first run is logged."""
    empty("No runs yet", "Log one, and it appears here:", _FIRST)


def trouble(error: Exception) -> None:
    """Say what went wrong in the words of the error, and what can be done."""
    said = redact_text(str(error)) or type(error).__name__
    with st.container(border=True):
        st.subheader(_headline(error), anchor=False)
        st.code(said, language=None, wrap_lines=True)
        if isinstance(error, StoreUnreachable):
            st.write("The page tries again when you reload it.")


def guarded(draw: Callable[[], None]) -> Callable[[], None]:
    """Return the page with its errors shown as a state of the page."""

    @wraps(draw)
    def page() -> None:
        try:
            draw()
        except SignInWanted:
            raise
        except NothingYet:
            no_runs()
        except MlrunError as error:
            trouble(error)
        except Exception:  # noqa: BLE001  whatever it is, the page says so and the others go on
            name = secrets.token_hex(4)
            _log.exception("page failed", extra={"page": draw.__module__, "failure": name})
            with st.container(border=True):
                st.subheader("This page could not be drawn", anchor=False)
                st.write(
                    f"The failure is in the log of the dashboard under the name {name}. Your data are as they were; "
                    "reloading the page tries again."
                )

    return page


def _headline(error: Exception) -> str:
    if isinstance(error, NotFound):
        return "Nothing of that name is here"
    if isinstance(error, StoreUnreachable):
        return "The store does not answer"
    if isinstance(error, ConfigError):
        return "This is not set up yet"
    return "That could not be answered"


def _plain(said: str) -> str:
    """Return text in which nothing is markup."""
    from .words import plain

    return plain(said)
