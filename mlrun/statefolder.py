"""The user's state folder: tokens of local gateways, keys of remote ones, spools, journals of network stores."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = [
    "keys_file",
    "read_private",
    "state_folder",
    "state_home",
    "token_file",
    "write_private",
]


def state_home() -> Path:
    """Return where programs of this user keep their state; it need not be there."""
    if found := os.environ.get("XDG_STATE_HOME"):
        return Path(found)
    if sys.platform == "win32":
        return Path(os.environ["LOCALAPPDATA"])
    return Path("~/.local/state").expanduser()


def state_folder() -> Path:
    """Return ours in it."""
    return state_home() / "mlrun"


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read; whoever reads meanwhile sees the old text or the new one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def read_private(path: Path) -> str | None:
    """Return the text of such a file; None if there is none, or if others own it or may read it."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    with os.fdopen(handle, encoding="utf-8") as file:
        about = os.fstat(file.fileno())
        if hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o077):
            return None
        try:
            return file.read()
        except (OSError, UnicodeDecodeError):
            return None


def token_file(port: int) -> Path:
    """Return where a gateway without keys that listens on this port of this host leaves its token."""
    return state_folder() / "gateways" / f"{port}.token"


def keys_file() -> Path:
    """Return where `mlrun login` keeps keys: a JSON object, from a gateway's origin to the key for it."""
    return state_folder() / "keys.json"
