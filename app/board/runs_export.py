"""Taking the runs that are meant elsewhere: as a file, made when it is asked for, or as a line of Python."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import streamlit as st

from . import session
from .runs_frame import as_csv

if TYPE_CHECKING:
    from .runs_question import Question

__all__ = ["export"]


def export(question: Question) -> None:
    """Draw the downloads, and the line to copy."""
    store = session.store()  # the file is made in a thread that has no session
    name = re.sub(r"\W+", "-", question.project).strip("-") or "runs"

    def csv() -> bytes:
        return as_csv(question.everything(store))

    def parquet() -> bytes:
        file = io.BytesIO()
        question.everything(store).write_parquet(file)
        return file.getvalue()

    with st.popover("Export", icon=":material/download:"):
        st.caption("All runs that match, with the columns that are shown.")
        with st.container(horizontal=True):
            st.download_button("CSV", csv, f"{name}.csv", "text/csv", key="_csv", on_click="ignore")
            st.download_button(
                "Parquet", parquet, f"{name}.parquet", "application/vnd.apache.parquet",
                key="_parquet", on_click="ignore",
            )  # fmt: skip
        st.caption("The same in Python:")
        st.code(question.line(), language="python", wrap_lines=True)
