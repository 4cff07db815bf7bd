"""The store and the runs that a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlrun
from mlrun.errors import NotFound

if TYPE_CHECKING:
    import click

    from mlrun.store import Store
    from mlrun.view import RunView

__all__ = ["find_runs", "the_store"]


def the_store(ctx: click.Context, *, create: bool = False) -> Store:
    """Return the store of `--store`; asking questions does not make one where there is none.

    Raises:
        NotFound: there is no store in the folder.
    """
    store = mlrun.open_store(ctx.obj)
    if not create and not store.folder.is_dir():
        raise NotFound(f"no store in {store.folder}: give --store PATH or set MLRUN_DBPATH")
    return store


def find_runs(store: Store, names: tuple[str, ...]) -> list[RunView]:
    """Return the runs that were named by id, by the beginning or end of one, or by name (the newest)."""
    return [mlrun.get_run(name, store=store) for name in names]
