"""Which file systems are a network's, and where the journal of a store on one of them lies."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from mlrun.statefolder import state_folder

__all__ = ["filesystem_type", "is_network", "local_journal", "parse_mount", "parse_mountinfo"]

# Shared memory, locks or WAL of these are not to be trusted between two hosts (or between a host and its guest).
_NETWORK = {
    "9p", "acfs", "afpfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fakeowner", "gfs",
    "gfs2", "glusterfs", "gpfs", "lustre", "mfs", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs",
    "osxfs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "virtiofs", "webdav", "wekafs",
}  # fmt: skip
_LOCAL_FUSE = {
    "fuse.bindfs", "fuse.exfat", "fuse.fuse-overlayfs", "fuse.lxcfs", "fuse.mergerfs", "fuse.ntfs",
    "fuse.ntfs-3g", "fuse.zfs",
}  # fmt: skip


def filesystem_type(path: Path) -> str:
    """Return the type of the file system under `path` (or under its nearest parent that exists), lower case.

    Empty where the system does not say.
    """
    real = _existing(path)
    if sys.platform == "win32":
        return "cifs" if str(real).startswith("\\\\") else ""
    return _type_under(real, _mounts())


def _existing(path: Path) -> Path:
    real = path.absolute()
    while not real.exists() and real != real.parent:
        real = real.parent
    return Path(os.path.realpath(real))


def _mounts() -> list[tuple[str, str]]:
    try:
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return parse_mount(_mount_output())  # macOS has no /proc
    return parse_mountinfo(text)


def is_network(path: Path) -> bool:
    """Tell whether `path` lies on a network file system. A FUSE type that is not known to be local counts as one."""
    kind = filesystem_type(path)
    if kind.startswith(("fuse.", "macfuse")):
        return kind not in _LOCAL_FUSE
    return kind in _NETWORK


def local_journal(store: Path) -> Path:
    """Folder on a local disk for the journal of a store that lies on a network.

    `$XDG_STATE_HOME/mlrun/journal/<hash of the store's path>`; where that lies on a network too (a shared home), a
    folder of this user in the place for temporary files that outlive a boot. It is not made.
    """
    import hashlib
    import tempfile

    name = hashlib.sha256(os.fsencode(os.path.realpath(store))).hexdigest()[:16]
    homes = [state_folder()]
    user = f"mlrun-{os.getuid()}" if hasattr(os, "getuid") else "mlrun"
    homes += [Path(base) / user for base in ("/var/tmp", tempfile.gettempdir())]
    for home in homes:
        if not is_network(home) and _ours(home):
            return home / "journal" / name
    return homes[0] / "journal" / name


def _ours(home: Path) -> bool:
    """Whether nobody else can have put the folder there: absent, or ours and no link."""
    try:
        found = home.lstat()
    except OSError:
        return home.parent.is_dir() or "state" in home.parts  # it can be made
    own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return own and not home.is_symlink()


def _type_under(path: Path, mounts: list[tuple[str, str]]) -> str:
    text, best, kind = str(path), -1, ""
    for where, found in mounts:
        inside = text == where or text.startswith(where.rstrip("/") + "/")
        if inside and len(where) >= best:  # of two mounts on one place the later one is seen
            best, kind = len(where), found
    return kind.lower()


def parse_mountinfo(text: str) -> list[tuple[str, str]]:
    """Return (mount point, type) of every line of Linux's mountinfo; its octal escapes are undone."""
    mounts = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if dash and len(fields) >= 5:
            where = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4])
            mounts.append((where, kind[0]))
    return mounts


def parse_mount(text: str) -> list[tuple[str, str]]:
    """Return (mount point, type) of every line that macOS's `mount` prints."""
    found = (re.fullmatch(r".* on (/.*) \(([^,)]+).*\)", line) for line in text.splitlines())
    return [(m[1], m[2]) for m in found if m]


def _mount_output() -> str:
    import subprocess

    try:
        done = subprocess.run(
            ["/sbin/mount"], capture_output=True, text=True, check=False, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # no such program, or a dead server hangs it: the type stays unknown
    return done.stdout
