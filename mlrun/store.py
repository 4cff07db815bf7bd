"""A store: three parts chosen by URL, and the journal in front of them.

The embedded store is a folder: records in SQLite, series in Delta, objects as files, and the journal into which every
process writes. Nothing is loaded or connected before it is asked for.
"""

from __future__ import annotations

import json
import os
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.config import Settings, settings as read_settings
from mlrun.errors import ConfigError, StoreError, StoreVersionError
from mlrun.registry import series_url, storage_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.contracts import Objects, Records, Series
    from mlrun.journal.writer import Writer
    from mlrun.lookup.look import Look

__all__ = ["FORMAT", "Store", "close_all", "open_store"]

FORMAT = 1  # of the folder's layout, kept in store.json


class Store:
    """Records, series, objects and journal of one place.

    It pickles (folder and URLs only) and may be used from many threads; `close()` releases what it opened.

    Attributes:
        folder: the store's folder; the journal lies in it, or on local disk when the folder is on a network.
        url: what `open_store` opens again.
    """

    offline = False  # whether no network is to be talked to: MLRUN_MODE=offline
    look: Look | None = None  # that questions share just now: see `mlrun.lookup.look`
    spools = False  # whether what is written waits here until it has been sent elsewhere

    def __init__(
        self, folder: Path, *, records: str = "", series: str = "", objects: str = ""
    ) -> None:
        self.folder = folder
        self.url = str(folder)
        self._urls = {"records": records, "series": series, "objects": objects}
        self._lock = threading.RLock()
        self._ready = False
        self._marker: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        """Show where it is, without credentials."""
        return f"Store({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as folder and URLs, these without passwords: see `mlrun.credentials`."""
        from mlrun.credentials import without_secrets

        urls = {part: without_secrets(url) for part, url in self._urls.items()}
        return _restore, (str(self.folder), urls)

    @cached_property
    def on_network(self) -> bool:
        """Whether the folder lies on a network file system, where neither mmap nor WAL can be trusted."""
        from mlrun.journal.netfs import is_network

        return is_network(self.folder)

    @cached_property
    def journal(self) -> Path:
        """Folder of the journal; made, like the store's folder, by `prepare()`."""
        if self.on_network:
            from mlrun.journal.netfs import local_journal

            return local_journal(self.folder)
        return self.folder / "journal"

    @cached_property
    def records(self) -> Records:
        """The records store."""
        if not self._urls["records"]:
            self.prepare()
        url = self.part_url("records")
        store: Records = storage_class(url)(url)
        store.create()
        return store

    @cached_property
    def series(self) -> Series:
        """The series store."""
        if self.exists():
            self.prepare()
        url = self.part_url("series")
        store: Series = storage_class(url)(url)
        return store

    @cached_property
    def objects(self) -> Objects:
        """The object store."""
        self.prepare()
        url = self.part_url("objects")
        store: Objects = storage_class(url)(url)
        return store

    def part_url(self, part: str) -> str:
        """Return the URL of `records`, `series` or `objects`, with its credentials: never to be shown."""
        mode = "?journal_mode=truncate" if self.on_network else ""
        own = {
            "records": f"sqlite:///{self.folder}/mlrun.db{mode}",
            "series": f"delta://{self.folder}/series",
            "objects": f"file://{self.folder}/objects",
        }
        given = self._urls[part]
        return (series_url(given) if part == "series" else given) or own[part]

    def variables(self) -> dict[str, str]:
        """Return what a process beside this one needs in its environment to open the same store by its folder."""
        return {f"MLRUN_{part.upper()}_URL": url for part, url in self._urls.items()}

    def prepare(self) -> None:
        """Make the folder if it is not there, and check that this version can read it.

        Raises:
            StoreError: the folder cannot be made or written.
            StoreVersionError: it was made by a newer version.
            ConfigError: a part's URL has a scheme that nobody serves.
        """
        with self._lock:
            if not self._ready:
                for url in filter(None, self._urls.values()):
                    storage_class(
                        url
                    )  # raises now what would otherwise fail in the middle of a run
                _make(self.folder, self.journal)
                self._marker = _marker_of(self.folder)
                self._ready = True

    def exists(self) -> bool:
        """Whether there is a store to ask; a question makes none.

        Raises:
            StoreError: there is one, and this user may not read it.
        """
        if self._ready or self._urls["records"]:
            return True
        try:
            os.stat(self.folder / "store.json")
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StoreError(f"cannot read the store in {self.folder}: {error.strerror}") from error
        if self.journal.is_dir() and not os.access(self.journal, os.R_OK | os.X_OK):
            raise StoreError(
                f"cannot read the store in {self.folder}: its journal is another user's"
            )
        return True

    def is_replaced(self) -> bool:
        """Whether the folder that was opened is gone, or another one stands in its place."""
        return self._ready and _marker_of(self.folder) != self._marker

    def writer(self) -> Writer:
        """Return this process's journal writer."""
        from mlrun.journal.writer import Writer

        self.prepare()
        return Writer.open(self.journal)

    def flush_records(self) -> None:
        """Absorb every pending record, waiting for other absorbers."""
        from mlrun.journal.absorb import absorb_records

        absorb_records(self, wait=True)

    @cached_property
    def remote_records(self) -> bool:
        """Whether records lie behind a network: then the end of a run leaves them to an absorber beside it."""
        url = self._urls["records"]
        return bool(url and getattr(storage_class(url), "remote", False))

    def absorb_records_now(self) -> bool:
        """Absorb pending records if nobody else is at it; else False. Loads nothing heavy, waits for no network."""
        if self.remote_records:
            return False
        from mlrun.journal.absorb import absorb_records

        return absorb_records(self, wait=False)

    def deliver(self, timeout: float, *, progress: Callable[[float], None] | None = None) -> bool:
        """Wait until what this process has written is where it belongs: at once, for a store that is a folder."""
        return True

    def maybe_absorb(self) -> None:
        """Start a detached absorber when enough waits in the journal."""
        from mlrun.journal.waiting import absorb_in_background

        absorb_in_background(self)

    def close(self) -> None:
        """Release connections and handles of the parts that were used; idempotent."""
        with self._lock:
            for part in ("records", "series", "objects"):
                opened = self.__dict__.pop(part, None)
                close = getattr(opened, "close", None)
                if close is not None:
                    close()


def _restore(folder: str, urls: dict[str, str]) -> Store:
    from mlrun.credentials import with_secrets

    return _cached(Path(folder), {part: with_secrets(url) for part, url in urls.items()})


_open: dict[tuple[int, str, tuple[str, ...]], Store] = {}
_open_lock = threading.Lock()


def open_store(url: str | Path | Store | None = None, *, given: Settings | None = None) -> Store:
    """Return the store at a folder (default: the settings' `dbpath`); one instance per process and place.

    Raises:
        ConfigError: the URL's scheme is not known.
    """
    if isinstance(url, Store):
        return url
    known = given or read_settings(dbpath=None if url is None else str(url))
    urls = {"records": known.records_url, "series": known.series_url, "objects": known.objects_url}
    if "://" in known.dbpath:
        scheme = known.dbpath.split("://", 1)[0]
        if scheme in ("http", "https"):
            found = _gateway(known.dbpath)
            found.offline |= known.mode == "offline"
            return found
        if scheme != "file":
            storage_class(known.dbpath)  # raises with what is known, or names the extra
            raise ConfigError(f"a whole store cannot be opened at {scheme}://")
        return _cached(Path(known.dbpath.removeprefix("file://")).absolute(), urls)
    return _cached(known.store_folder(), urls)


def close_all() -> None:
    """Close every store that this process has opened; opening one again makes it anew."""
    with _open_lock:
        stores = list(_open.values())
        _open.clear()
    for store in stores:
        store.close()


def _cached(folder: Path, urls: dict[str, str]) -> Store:
    key = (os.getpid(), str(folder), tuple(urls.values()))
    with _open_lock:
        store = _open.get(key)
        if store is None or store.is_replaced():
            # whoever still works with the old one keeps it, and with it files that are unlinked
            store = _open[key] = Store(folder, **urls)
        return store


def _gateway(url: str) -> Store:
    from mlrun.gatewaystore import GatewayStore

    key = (os.getpid(), url, ())
    with _open_lock:
        store = _open.get(key)
        if store is None:
            store = _open[key] = GatewayStore(url)
        return store


def _marker_of(folder: Path) -> tuple[int, ...] | None:
    """Tell folders of the same name apart; the inode alone is soon given out again."""
    try:
        found = os.stat(folder / "store.json")
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _make(folder: Path, journal: Path) -> None:
    hint = "choose another with MLRUN_DBPATH"
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file, not the folder of a store; {hint}")
    marker = folder / "store.json"
    try:
        for path in (folder, journal):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not marker.exists():
            fresh = marker.with_name(f".store.json.{os.getpid()}")
            fresh.write_text(json.dumps({"format": FORMAT}) + "\n", encoding="utf-8")
            os.replace(fresh, marker)
        stored = int(json.loads(marker.read_text(encoding="utf-8"))["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "store.json is damaged"
        if not isinstance(error, OSError):
            hint = "`mlrun doctor --repair` writes it anew"
        raise StoreError(f"cannot use the store in {folder}: {reason}; {hint}") from error
    if stored > FORMAT:
        raise StoreVersionError(
            f"the store in {folder} has format {stored}, this mlrun reads up to {FORMAT}: upgrade mlrun-arrow"
        )


def _renew_after_fork() -> None:
    global _open_lock  # the parent's lock may have been held at the fork
    _open_lock = threading.Lock()
    _open.clear()  # a child never uses its parent's connections


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
