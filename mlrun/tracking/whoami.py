"""Who runs this process, and where: the columns `user` and `host` of a run."""

from __future__ import annotations

import os

from mlrun.names import clean_text

__all__ = ["host", "user"]


def user() -> str | None:
    """Return the name of the user that this process runs as, or None if nobody knows."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if found := os.environ.get(name):
            return clean_text(found)[0]
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError, AttributeError):
        return None  # Windows, or a user that the container does not know


def host() -> str:
    """Return the name of this host."""
    uname = getattr(os, "uname", None)
    return uname().nodename if uname else os.environ.get("COMPUTERNAME", "")
