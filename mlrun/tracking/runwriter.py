"""The journal writer of a store, with the settings of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlrun.config import Settings
    from mlrun.journal.writer import Writer
    from mlrun.store import Store

__all__ = ["open_writer"]


def open_writer(store: Store, settings: Settings) -> Writer:
    """Return this process's writer, which outlives forks and `close()`; the store's folder is made if absent.

    Raises:
        StoreError: the folder cannot be used.
        OSError: the journal in it cannot be written.
    """
    from mlrun.journal.writer import Writer

    store.prepare()
    writer = Writer.open(store.journal, settings=settings)
    if not (store.journal / writer.name).is_dir():
        writer.close()  # somebody removed the store: nobody would ever see what is written there
        writer = Writer.open(store.journal, settings=settings)
    return writer
