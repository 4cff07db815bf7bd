"""One version of an artifact: what it is, where its bytes are, and how to have them back."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.content import folders
from mlrun.content.index import ArtifactIndex
from mlrun.content.naming import artifact_uri, check_alias
from mlrun.content.references import is_url, open_url
from mlrun.errors import NotFound, ObjectError, QueryError
from mlrun.ids import now_us

if TYPE_CHECKING:
    from datetime import datetime
    from typing import BinaryIO

    import polars as pl

    from mlrun.store import Store

__all__ = ["DataItem", "find_artifact"]

_CHUNK = 1 << 20
_NAME_BYTES = 200


class DataItem:
    """An artifact, as `log_artifact`, `use_artifact` and `get_artifact` return it.

    Attributes:
        project, key, type: where it belongs and what it is.
        size: bytes; of a folder, of all its files; None for a URL.
        sha256: hash of the bytes; of a folder, of its manifest; of a URL, of the URL.
        meta: format, name of the file, schema, preview, stats, labels, metadata, …: what was known when it was logged.
        error: why it could not be stored; empty when it was.
    """

    def __init__(self, store: Store, row: dict[str, Any], *, error: str = "") -> None:
        self._store = store
        self.project: str = row["project"]
        self.key: str = row["key"]
        self.type: str = row["type"]
        self.size: int | None = row.get("size")
        self.sha256: str = row.get("sha256") or ""
        self.meta: dict[str, Any] = _meta(row.get("meta"))
        self.error = error
        self._uri: str = row.get("uri") or ""
        self._created_at = int(row.get("created_at") or 0)
        self._version: int | None = row.get("version")

    def __repr__(self) -> str:
        tag = f":v{self._version}" if self._version else ""
        return (
            f"DataItem({f'{self.project}/{self.key}{tag}'!r}, type={self.type!r}, size={self.size})"
        )

    def _repr_html_(self) -> str:
        from mlrun.content.preview import item_html

        return item_html(self)

    @property
    def version(self) -> int:
        """The number of this content under its key, from 1; logging the same content again keeps it.

        Numbers are given when records are absorbed, so the first question may wait for that.

        Raises:
            NotFound: it was not stored.
        """
        if self._version is None and not self.error:
            index = ArtifactIndex(self._store)
            self._version = index.version_of(self.project, self.key, self.sha256, self.type)
        if self._version is None:
            raise NotFound(
                f"artifact {self.key!r} has no version: {self.error or 'it was not recorded'}"
            )
        return self._version

    @property
    def uri(self) -> str:
        """Its exact name, `store://project/key:v2`; `get_artifact` takes it."""
        return artifact_uri(self.project, self.key, self.version)

    @property
    def url(self) -> str:
        """Where the bytes are: the URL that was recorded, else a path relative to the store's folder."""
        return self._uri

    @property
    def aliases(self) -> list[str]:
        """Names that point at this version now, `latest` among them."""
        return ArtifactIndex(self._store).aliases_of(self.project, self.key, self.version)

    @property
    def created_at(self) -> datetime:
        """When this content was first logged (UTC)."""
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self._created_at / 1e6, UTC)

    def lineage(self) -> pl.DataFrame:
        """Return the runs that made and used this version: `role` (output or input), `run_id, step, time`."""
        from mlrun.lookup.lineage import runs_of

        return runs_of(self._store, self.project, self.key, self.version)

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder of files."""
        return self.meta.get("format") == folders.FORMAT

    def open(self) -> BinaryIO:
        """Open the bytes for reading; a URL is fetched now.

        Raises:
            ObjectError: they are missing, damaged, out of reach, or a folder.
        """
        if self.is_folder:
            raise ObjectError(f"artifact {self.key!r} is a folder: use path() or download()")
        return self._open()

    def get(self, size: int | None = None, offset: int = 0, encoding: str | None = None) -> Any:
        """Return bytes, or text when an `encoding` is given; `size` and `offset` are in bytes."""
        with self.open() as file:
            if offset:
                file.seek(offset) if file.seekable() else file.read(offset)
            data = file.read() if size is None else file.read(size)
        return data.decode(encoding) if encoding else data

    def path(self) -> Path:
        """Return a local path of the file or folder: for reading only, `download()` makes a copy of your own.

        A file in the store is named by its hash; `meta["name"]` has the name that it was logged under.
        """
        if self.is_folder:
            return self._folder()
        if is_url(self._uri):
            return self._fetched()
        self._check_stored()
        return self._store.objects.path(self.sha256)

    def download(self, target: str | os.PathLike[str] = ".") -> Path:
        """Copy the file or folder; into `target` if that is a folder, else to `target`, which must not be there.

        Returns:
            The path of the copy.
        """
        wanted = Path(target)
        if wanted.is_dir():
            wanted = wanted / self.file_name
        if self.is_folder:
            with self._open() as manifest:
                return folders.materialise(self._store.objects, manifest, wanted)
        with self.open() as source:
            _copy_new(source, wanted)
        return wanted

    def unpack(self, target: str | os.PathLike[str]) -> Path:
        """Unpack a zip or tar archive into the new folder `target`; links and climbing paths are refused."""
        from mlrun.content.archives import unpack

        return unpack(self.path(), Path(target))

    def as_df(self, pandas: bool = False) -> Any:
        """Return a Polars frame, or a pandas one with the index it had.

        Raises:
            TypeError: the artifact's format holds no frame.
        """
        from mlrun.content.frames import read_frame

        return read_frame(self.path(), str(self.meta.get("format", "")), pandas=pandas)

    def load(self, trust: bool = False) -> Any:
        """Return what was logged: a frame, an array, a figure, a model, a dict, text; a folder's path.

        Args:
            trust: also load what runs code when it is read (pickles). Only for what you know the maker of.

        Raises:
            UntrustedPickle: it is such a file and `trust` is off.
        """
        if self.is_folder:
            return self.path()
        from mlrun.content.loaders import load_file

        return load_file(self.path(), self.meta, trust=trust)

    def set_alias(self, alias: str) -> None:
        """Let a name point at this version; it leaves the version that had it.

        Raises:
            ConfigError: the name is `latest`, looks like a version, or holds `:` or `/`.
        """
        from mlrun.change import apply_now

        named = {"project": self.project, "key": self.key, "alias": check_alias(alias)}
        row = {**named, "version": self.version, "updated_at": now_us()}
        apply_now(self._store, [("put", "aliases", row)])

    def remove_alias(self, alias: str) -> None:
        """Take a name away from whichever version has it; nothing happens if none has."""
        from mlrun.change import apply_now

        named = {"project": self.project, "key": self.key, "alias": check_alias(alias)}
        apply_now(self._store, [("del", "aliases", named)])

    @property
    def file_name(self) -> str:
        """A safe name for a copy: that of the logged file, else the end of the key."""
        name = str(self.meta.get("name") or "") or self.key.rpartition("/")[2]
        name = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in name).strip(". ")
        name = name.encode("utf-8", "surrogateescape")[:_NAME_BYTES].decode("utf-8", "ignore")
        return name or "artifact"

    # -- how -------------------------------------------------------------------------------------

    def _check_stored(self) -> None:
        if self.error:
            raise ObjectError(f"artifact {self.key!r} was not stored: {self.error}")

    def _open(self) -> BinaryIO:
        self._check_stored()
        if is_url(self._uri):
            return open_url(self._uri)
        file = self._store.objects.open(self.sha256)
        try:
            found = file.seek(0, os.SEEK_END)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        if not self.is_folder and self.size is not None and found != self.size:
            file.close()
            raise ObjectError(f"artifact {self.key!r} is damaged: {found} bytes of {self.size}")
        return file

    def _folder(self) -> Path:
        for place in (self._store.folder / "cache", _scratch()):
            target = place / self.sha256
            if target.is_dir():
                return target
            if os.access(place if place.exists() else place.parent, os.W_OK):
                with self._open() as manifest:
                    return folders.materialise(self._store.objects, manifest, target, link=True)
        raise ObjectError("neither the store nor the temporary folder can be written")

    def _fetched(self) -> Path:
        target = _scratch() / self.sha256
        if not target.exists():
            with self._open() as source:
                _copy_new(source, target)
        return target


def find_artifact(store: Store, name: str, project: str | None = None) -> DataItem:
    """Return the artifact of a name: `key`, `project/key`, with `:v2` or `:alias`, or `store://…`.

    Args:
        store: where to look.
        name: see `mlrun.content.naming`.
        project: the current one, for names that say none; the settings' when left out.

    Raises:
        NotFound: there is none; suggests what may have been meant.
        QueryError: the name is no text.
    """
    if not isinstance(name, str):
        raise QueryError(f"an artifact is named by text, not by {type(name).__name__}")
    if project is None:
        from mlrun.config import settings

        project = settings().project
    return DataItem(store, ArtifactIndex(store).find(name, project))


def _meta(stored: Any) -> dict[str, Any]:
    if isinstance(stored, str):
        try:
            stored = json.loads(stored)
        except ValueError:  # the bytes can still be had
            return {}
    return dict(stored) if isinstance(stored, dict) else {}


@cache
def _scratch() -> Path:
    # removed when the process ends
    keep = tempfile.TemporaryDirectory(prefix="mlrun-", ignore_cleanup_errors=True)
    _kept.append(keep)
    return Path(keep.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


def _copy_new(source: BinaryIO, target: Path) -> None:
    """Copy into a file that appears whole or not at all, and replaces none."""
    partial = target.with_name(f".{target.name[:100]}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as out:
            shutil.copyfileobj(source, out, _CHUNK)
        os.link(partial, target)  # fails if somebody has that name, unlike a rename
    except FileExistsError as error:
        raise ObjectError(f"{target} exists already") from error
    except OSError as error:
        raise ObjectError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
