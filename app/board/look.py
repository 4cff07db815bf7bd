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
[data-testid="stCode"] .token { color: light-dark(#0b131b, #e8edf2) !important; }
[data-testid="stCode"] .token:is(.keyword, .function, .builtin) { color: light-dark(#1a5fab, #6cb2f5) !important; }
[data-testid="stCode"] .token.string { color: light-dark(#0b6b2b, #5fce86) !important; }
[data-testid="stCode"] .token:is(.number, .boolean) { color: light-dark(#0a6b5f, #4fd0bd) !important; }
[data-testid="stCode"] .token.comment { color: light-dark(#5b6470, #a3acb8) !important; }
[data-testid="stCaptionContainer"] code { color: inherit !important; }
[data-testid="stMultiSelect"] span[data-tag] > * { color: light-dark(#ffffff, #0b131b); }
:is(button[kind="primary"], button[kind="primaryFormSubmit"]) * { color: light-dark(#ffffff, #0b131b); }
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
