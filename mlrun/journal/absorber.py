"""The absorber process: `python -m mlrun.journal.absorber FOLDER`, started by `mlrun.journal.waiting`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mlrun.journal.detached import stand_back

__all__ = ["main"]


def main(folder: str) -> int:
    """Absorb what is sealed, at low priority, in a session of its own.

    Returns:
        0, also when another absorber is at work, or when the store was deleted meanwhile.
    """
    stand_back(10)
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # the other cores are the training's
    from mlrun.journal.absorb import absorb
    from mlrun.store import open_store

    store = open_store(Path(folder))
    if store.exists():  # it may have been deleted since we were started
        absorb(store, wait=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
