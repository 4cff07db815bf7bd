"""The dashboard: pages that show what a store holds, in Streamlit.

One page is one module, `page_<noun>.py`, with one function `draw()`; where a page has rooms of its own they are
`<noun>_<room>.py` beside it. Pages read through the verbs of `mlrun` alone, and the address in the browser holds
everything that a page shows: see `address`.
"""

from __future__ import annotations
