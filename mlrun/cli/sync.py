"""`mlrun sync`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, note, print_frame
from mlrun.errors import ConfigError, StoreUnreachable
from mlrun.gatewaystore import GatewayStore

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["sync"]

_LOOK = 0.1  # seconds


@click.command()
@click.argument("url", required=False)
@click.option("--timeout", default=0.0, metavar="SECONDS", help="Give up after so long; 0: never.")
@format_options
@click.pass_context
def sync(ctx: click.Context, url: str | None, timeout: float, form: str | None) -> None:
    """Send a gateway at URL what waits for it on this host: what offline runs wrote, and what dead processes left.

    Without URL, the gateway that MLRUN_DBPATH names. Safe at any time, as often as you like. Exit code 1 if something
    could not be sent; it stays where it is.
    """
    import polars as pl

    from mlrun.advisorylock import FileLock
    from mlrun.journal.spool import waiting_bytes

    if url is not None:
        ctx.obj = url
    store = the_store(ctx)
    if not isinstance(store, GatewayStore):
        raise ConfigError("a store that is a folder has nothing to send: name a gateway, http://…")
    store.offline = False
    store.prepare()
    size = waiting_bytes(store.folder, store.journal)
    note(
        f"about {size / 1e6:,.1f} MB wait in {store.folder}" if size else "nothing waits to be sent"
    )
    lock = FileLock(store.folder / "upload.lock")
    if not size:
        whole = True
    elif lock.acquire(wait=False):
        try:
            whole = _send(store, timeout)
        finally:
            lock.release()
    else:
        whole = _watch(store, timeout)
    left = waiting_bytes(store.folder, store.journal)
    if not whole:
        raise StoreUnreachable(
            f"about {left / 1e6:,.1f} MB still wait in {store.folder}{store.trouble()}"
        )
    if size:
        note("everything has arrived")
    print_frame(
        pl.DataFrame({"what": ["bytes_sent", "bytes_left"], "count": [size - left, left]}), form
    )


def _send(store: GatewayStore, timeout: float) -> bool:
    """Be the uploader until nothing is left."""
    from mlrun.journal.uploader import Uploader

    uploader = Uploader(store)
    shown = _Shown(store)
    try:
        return uploader.run(until_empty=True, told=note, each=shown, seconds=timeout or None)
    finally:
        shown.close()
        uploader.close()


def _watch(store: GatewayStore, timeout: float) -> bool:
    """Another process sends: wait until it has."""
    from mlrun.journal.spool import uploader_lives, waiting_bytes

    shown = _Shown(store)
    begin = time.monotonic()
    try:
        while waiting_bytes(store.folder, store.journal):
            shown()
            if timeout and time.monotonic() - begin > timeout:
                return False
            if not uploader_lives(store.folder):
                return _send(store, timeout)
            time.sleep(_LOOK)
    finally:
        shown.close()
    return True


class _Shown:
    """A bar of what is still waiting, where stderr is a terminal."""

    def __init__(self, store: GatewayStore) -> None:
        from contextlib import ExitStack

        from mlrun.cli.progress import progress
        from mlrun.journal.spool import waiting_bytes

        self._stack = ExitStack()
        self._left: Callable[[], int] = lambda: waiting_bytes(store.folder, store.journal)
        self._before = self._left()
        self._advance = self._stack.enter_context(progress("sending", total=self._before))
        self._looked = 0.0

    def __call__(self) -> None:
        if time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            now = self._left()
            self._advance(self._before - now)
            self._before = now

    def close(self) -> None:
        self._stack.close()
