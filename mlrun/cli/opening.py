"""The store and the runs that a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlrun
from mlrun.asking import answering
from mlrun.config import settings
from mlrun.errors import ConfigError, NotFound
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    import click

    from mlrun.store import Store
    from mlrun.view import RunView

__all__ = ["find_runs", "the_store"]


def the_store(
    ctx: click.Context,
    *,
    create: bool = False,
    here: bool = False,
    dbpath: str | None = None,
    urls: Mapping[str, str | None] | None = None,
) -> Store:
    """Return the store of `--store`; asking questions does not make one where there is none.

    Args:
        ctx: of the command.
        create: whether there need not be one yet.
        here: whether the command works on the store's files, and not through a gateway.
        dbpath: what the command itself says instead of `--store`.
        urls: other places of its parts, by `records`, `series` and `objects`.

    Raises:
        NotFound: there is no store in the folder.
        ConfigError: the command needs the store itself, and this is a gateway.
    """
    chosen = {f"{part}_url": url for part, url in (urls or {}).items()}
    store = open_store(given=settings(dbpath=dbpath or ctx.obj, **chosen))
    if here and answering(store) is not None:
        raise ConfigError(
            f"{ctx.info_name} works on the store itself: run it where the gateway {store.url} runs"
        )
    if not create and not store.exists():
        raise NotFound(f"no store in {store.folder}: give --store PATH or set MLRUN_DBPATH")
    return store


def find_runs(store: Store, names: tuple[str, ...]) -> list[RunView]:
    """Return the runs that were named by id, by the beginning or end of one, or by name (the newest)."""
    return [mlrun.get_run(name, store=store) for name in names]
