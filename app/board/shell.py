"""What surrounds every page: who asks, which project, and the way from page to page."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

import mlrun
from mlrun.errors import MlrunError

from . import address, session
from .look import dress
from .memory import kept
from .states import guarded, no_runs, trouble

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PAGES", "main", "open_page"]

# name in the address, title, icon, section; a page is loaded when it is opened
PAGES = (
    ("home", "Home", ":material/home:", ""),
    ("runs", "Runs", ":material/table_rows:", "Track"),
    ("compare", "Compare", ":material/stacked_line_chart:", "Track"),
    ("sweeps", "Sweeps", ":material/tune:", "Track"),
    ("artifacts", "Models and artifacts", ":material/deployed_code:", "Track"),
    ("workflows", "Workflows", ":material/account_tree:", "Execute"),
    ("functions", "Functions", ":material/function:", "Execute"),
    ("cluster", "Cluster", ":material/dns:", "Execute"),
    ("sql", "SQL", ":material/database:", "Ask"),
    ("admin", "Admin", ":material/admin_panel_settings:", "Ask"),
    ("run", "Run", ":material/show_chart:", "hidden"),
)

# a file: the browser would fetch an icon by name from another host
_ICON = Path(__file__).with_name("icon.png")
_ROOT = "start"  # a name that the page at the root has to have, and that nobody sees


def main() -> None:
    """Draw the page that the address names, with everything around it."""
    st.set_page_config(page_title="mlrun", page_icon=str(_ICON), layout="wide")
    dress()
    instead = _instead()
    chosen = _navigation(hidden=instead is not None)
    if instead is not None:
        instead()
        return
    _sidebar()
    chosen.run()


def _instead() -> Callable[[], None] | None:
    """Return what is drawn in place of the page, as long as there is no store that may be asked."""
    try:
        session.store()
    except session.SignInWanted:
        return _sign_in
    except session.NothingYet:
        return no_runs
    except MlrunError as error:
        return partial(trouble, error)
    return None


def _navigation(*, hidden: bool) -> Any:
    """Tell the browser of all pages, and return the one at its address, which it would leave if none were known."""
    known: dict[str, Any] = {}
    sections: dict[str, list[Any]] = {}
    for name, title, icon, section in PAGES:
        unlisted = section == "hidden"
        page = st.Page(
            open_page(name), title=title, icon=icon, url_path=_ROOT if name == "home" else name,
            default=name == "home",
            visibility="hidden" if unlisted else "visible",
        )  # fmt: skip
        known[name] = page
        sections.setdefault("" if unlisted else section, []).append(page)
    # the first page is at the root, and `/home` is where people look for it
    sections[""].append(st.Page(open_page("home"), url_path="home", visibility="hidden"))
    address.pages(known)
    return st.navigation(sections, position="hidden" if hidden else "sidebar")


def open_page(name: str) -> Callable[[], None]:
    """Return what draws a page; its module is loaded by the first who opens it."""

    def draw() -> None:
        import_module(f".page_{name}", __package__).draw()

    draw.__name__ = name
    return guarded(draw)


def _sidebar() -> None:
    with st.sidebar:
        guarded(_choose_project)()
        asked = session.store()
        st.caption(f"mlrun {mlrun.__version__}")
        if session.is_remote():
            st.caption(asked.url)
            if user := session.who()["user"]:
                st.caption(f"Signed in as {user}")
                if st.session_state.get("_store") and st.button("Sign out"):
                    session.sign_out()
                    st.rerun()


def _choose_project() -> None:
    """Let the project be chosen; it stays in the address from page to page."""
    # every rerun of every page comes by here, and projects are counted by reading all runs
    found = kept("projects", (), 60.0, lambda: mlrun.projects(store=session.store()))
    names = found["name"].to_list()
    if address.WANTED in st.session_state:
        st.session_state["project"] = st.session_state.pop(address.WANTED)
    wanted = st.session_state.get("project") or address.text("project")
    if wanted and wanted not in names:
        names.append(wanted)
    st.selectbox(
        "Project", ["", *names], key="project", bind="query-params",
        format_func=lambda name: name or "All projects",
    )  # fmt: skip


def _sign_in() -> None:
    """Ask for a key, or send to the OpenID provider."""
    if session.has_provider():
        st.button("Sign in with your organisation", type="primary", on_click=st.login)
    with st.container(width=420), st.form("sign-in"):
        st.subheader("Sign in", anchor=False)
        st.write(
            "Your key is kept in the memory of this session only. An admin makes one with `mlrun keys create`."
        )
        key = st.text_input("Key", type="password", autocomplete="current-password")
        if st.form_submit_button("Sign in", type="primary"):
            try:
                session.sign_in(key.strip())
            except MlrunError as error:
                trouble(error)
            else:
                st.rerun()
