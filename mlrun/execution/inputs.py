"""Inputs: what a function is given to read, as `DataItem`s: files, URLs, stored artifacts, values in memory."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.content.bodies import from_file, from_plain
from mlrun.content.dataitem import DataItem, find_artifact
from mlrun.content.references import Reference, is_url, local_path, open_url
from mlrun.errors import ConfigError, NotFound, ObjectError, QueryError
from mlrun.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from mlrun.store import Store

__all__ = ["FileItem", "MemoryItem", "UrlItem", "check_inputs", "input_item", "split_hints"]

_HINTED = re.compile(r"\s*(\w+)\s*:\s*([A-Za-z_]\w*(?:\.\w+)*)\s*")


class FileItem(DataItem):
    """A file or folder of this host that is no artifact: read where it lies."""

    def __init__(self, path: Path, key: str = "") -> None:
        self._path = path
        body = from_file(path)
        size = path.stat().st_size if path.is_file() else None
        row = {
            "project": "", "key": key or path.name, "type": "file", "size": size, "uri": path.as_uri(),
            "meta": {"format": body.format, "name": path.name},
        }  # fmt: skip
        super().__init__(None, row)  # type: ignore[arg-type]  # nothing of it is in a store

    @property
    def uri(self) -> str:
        """Its `file://` URL."""
        return self.url

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self._path.is_dir()

    def path(self) -> Path:
        """Return its path; it is the caller's own file, so nothing keeps you from changing it."""
        return self._path

    def _open(self) -> BinaryIO:
        return self._path.open("rb")


class UrlItem(DataItem):
    """What lies behind a URL: fetched when it is first read, never recorded with its password or signature."""

    def __init__(self, url: str, key: str = "") -> None:
        self._secret_url = url
        shown = Reference(url)
        name = Path(shown.key)
        row = {
            "project": "", "key": key or shown.key, "type": "url", "uri": shown.url, "sha256": shown.sha256,
            "meta": {"format": from_file(name).format, "name": shown.key},
        }  # fmt: skip
        super().__init__(None, row)  # type: ignore[arg-type]  # nothing of it is in a store

    @property
    def uri(self) -> str:
        """Its URL, without credentials."""
        return self.url

    def _open(self) -> BinaryIO:
        return open_url(self._secret_url)


class MemoryItem(DataItem):
    """A value that was handed over as it is: a frame, an array, any object."""

    def __init__(self, value: Any, key: str) -> None:
        self.value = value
        row = {"project": "", "key": key, "type": type(value).__name__, "uri": f"memory://{key}"}
        super().__init__(None, row)  # type: ignore[arg-type]  # nothing of it is in a store

    @property
    def uri(self) -> str:
        """`memory://` and its name."""
        return self.url

    def load(self, trust: bool = False) -> Any:
        """Return the value; nothing is read, so `trust` makes no difference."""
        return self.value

    def as_df(self, pandas: bool = False) -> Any:
        """Return it as a Polars frame, or a pandas one."""
        from mlrun.content.frames import is_frame, rows_to_frame

        if not is_frame(self.value):
            raise TypeError(f"input {self.key!r} is a {type(self.value).__name__}, not a frame")
        frame = rows_to_frame(self.value)
        return frame.to_pandas() if pandas else frame

    def path(self) -> Path:
        """Raise: it is in no file."""
        raise ObjectError(
            f"input {self.key!r} is a value in memory, not a file: use load() or as_df()"
        )

    def _open(self) -> BinaryIO:
        body = from_plain(self.value)
        if body is None or not isinstance(body.source, bytes):
            raise ObjectError(
                f"input {self.key!r} is a {type(self.value).__name__} in memory, it has no bytes: use load()"
            )
        return io.BytesIO(body.source)


def check_inputs(inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return inputs by name.

    Raises:
        ConfigError: it is no mapping, or an input is None.
    """
    if inputs is None:
        return {}
    if not hasattr(inputs, "items"):
        raise ConfigError(
            f"inputs is a dict of names and files, URLs, artifacts or values, not {type(inputs).__name__}"
        )
    for key, value in inputs.items():
        if value is None:
            raise ConfigError(
                f"inputs[{key!r}] is None: leave it out, or give a path, URL or value"
            )
    return {str(key): value for key, value in inputs.items()}


def split_hints(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return inputs by their bare names, and what they are to become, of names such as `data : polars.DataFrame`.

    Example:
        >>> split_hints({"data : polars.DataFrame": "a.csv", "more": "b.csv"})
        ({'data': 'a.csv', 'more': 'b.csv'}, {'data': 'polars.DataFrame'})
    """
    bare: dict[str, Any] = {}
    hints: dict[str, str] = {}
    for key, value in inputs.items():
        match = _HINTED.fullmatch(key)
        if match:
            hints[match[1]] = match[2]
        bare[match[1] if match else key] = value
    return bare, hints


def input_item(
    value: Any, store: Store | None = None, project: str | None = None, key: str = ""
) -> DataItem:
    """Return what an input means.

    Args:
        value: a `DataItem`; text: `store://project/key:v2`, a URL (http, https, s3, gs, az), a path, or, where there is
            no such file, the name of an artifact (`project/key:alias`); a path object; any other value as it is.
        store: where artifacts are looked up.
        project: the one of names that say none.
        key: the input's name.

    Raises:
        NotFound: neither a file nor an artifact.
    """
    if isinstance(value, DataItem):
        return value
    if isinstance(value, os.PathLike):
        return _file(Path(os.fspath(value)), key)
    if not isinstance(value, str):
        return MemoryItem(value, key)
    if value.startswith("store://"):
        return find_artifact(_need(store, value), value, project)
    if is_url(value):
        return UrlItem(value, key)
    path = Path(local_path(value)).expanduser()
    if path.exists() or value.startswith(("/", ".", "~", "file:")) or store is None:
        return _file(path, key)
    try:
        return find_artifact(store, value, project)
    except (NotFound, QueryError) as error:
        raise NotFound(
            f"input {key or value!r}: there is no file {redact_url(value)!r} here, and {error}"
        ) from error


def _file(path: Path, key: str) -> FileItem:
    path = path.absolute()
    if not path.exists():
        raise NotFound(f"input {key or path.name!r}: there is no file {str(path)!r}")
    return FileItem(path, key)


def _need(store: Store | None, value: str) -> Store:
    if store is None:
        raise NotFound(f"{value!r} is an artifact of a store, and there is none here")
    return store
