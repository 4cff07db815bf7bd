"""One look in light and dark: colours of states and of lines, and the few rules that Streamlit's theme lacks."""

from __future__ import annotations

import streamlit as st

__all__ = ["COLORS", "STATE_ICONS", "dress", "state_badge"]

# told apart by people who see no red or no green, and at least 3:1 against both backgrounds
COLORS = [
    "#2f7fd6", "#d9661f", "#1f9a6d", "#b5479e", "#8a7a12", "#7d6bdb",
    "#c2453f", "#1592a5", "#6f8a1e", "#a8632b", "#5f7790", "#cf4f86",
]  # fmt: skip
STATE_ICONS = {
    "created": "○",
    "pending": "◔",
    "running": "●",
    "completed": "✓",
    "error": "✗",
    "aborting": "◑",
    "aborted": "■",
    "lost": "?",
    "skipped": "»",
    "pending_retry": "↻",
}
_TONES = {
    "running": "blue",
    "completed": "green",
    "error": "red",
    "lost": "orange",
    "aborted": "gray",
}
_CSS = """
<style>
.block-container, [data-testid="stMainBlockContainer"] { padding-top: 3.5rem; padding-bottom: 3rem; max-width: 1600px; }
[data-testid="stMetricValue"] { font-variant-numeric: tabular-nums; }
[data-testid="stCode"] pre { max-height: 70vh; }
@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] { padding-left: 0.75rem; padding-right: 0.75rem; }
}
@media (prefers-reduced-motion: reduce) { * { transition: none !important; animation: none !important; } }
</style>
"""


def dress() -> None:
    """Apply the rules that the theme lacks; once a run of the script."""
    st.html(_CSS)


def state_badge(state: str) -> None:
    """Show a run's state: a sign, a word and a colour, so that none of them has to be seen."""
    known = state if state in STATE_ICONS else "created"
    tones: dict[str, str] = _TONES
    st.badge(f"{STATE_ICONS[known]} {state}", color=tones.get(state, "gray"))  # type: ignore[arg-type]
