"""What a gateway does once a day: `python -m mlrun.care.daily FOLDER` compacts a store, in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mlrun.journal.detached import stand_back

__all__ = ["main"]


def main(folder: str) -> int:
    """Compact, at low priority, in a session of its own; returns 0."""
    stand_back(10)
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # the other cores are the gateway's
    from mlrun.care.compaction import compact
    from mlrun.store import open_store

    store = open_store(Path(folder))
    if store.exists():
        compact(store)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
