"""What `streamlit run` is given; `mlrun ui` starts it. The pages are in `mlrun.app.board`."""

from __future__ import annotations

from mlrun.app.board.shell import main

main()
