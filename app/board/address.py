"""The address in the browser: it holds everything that a page shows, so that it can be shared and opened again.

Most widgets bind themselves (`key="where", bind="query-params"`). What no widget holds (the run that a page is about,
the range that a chart was zoomed to) is read and written here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import streamlit as st

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WANTED", "go", "number", "pages", "put", "shared", "text", "texts"]

_PAGES = "_pages"
WANTED = "_project_wanted"  # the project that the next page shall have


def text(name: str) -> str:
    """Return a parameter of the address; empty if it is not there."""
    return str(st.query_params.get(name, ""))


def texts(name: str) -> list[str]:
    """Return a parameter that may come several times."""
    return list(st.query_params.get_all(name))


def number(name: str) -> float | None:
    """Return a finite number of the address; None if it is not there, or is none."""
    try:
        found = float(st.query_params[name])
    except (KeyError, ValueError):
        return None
    return found if math.isfinite(found) else None


def put(**given: Any) -> None:
    """Write parameters into the address: lists several times, None and empty ones not at all."""
    for name, value in given.items():
        wanted = [str(v) for v in value] if isinstance(value, list | tuple) else value
        if wanted is None or wanted in ("", []):
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = wanted if isinstance(wanted, list) else str(wanted)


def pages(known: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """Return the pages by name, which the shell tells once a run of the script."""
    if known is not None:
        st.session_state[_PAGES] = dict(known)
    found: Mapping[str, Any] = st.session_state.get(_PAGES, {})
    return found


def go(page: str, **parameters: Any) -> None:
    """Open another page of the dashboard with these parameters, and end this one.

    The project stays as it is, unless another one is given.
    """
    told = _plain(parameters)
    if "project" in parameters:  # a widget of the shell holds it, which the shell alone can set
        st.session_state[WANTED] = str(told.pop("project", ""))
    st.switch_page(pages()[page], query_params=told)


def shared(page: str, **parameters: Any) -> str:
    """Return the relative address of a page with these parameters, for a link."""
    told = urlencode(_plain(parameters), doseq=True)
    return f"{page}?{told}" if told else page


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [str(v) for v in value] if isinstance(value, list) else str(value)
        for name, value in parameters.items()
        if value not in (None, "", [])
    }
