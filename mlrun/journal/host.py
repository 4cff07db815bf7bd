"""Which machine, and which boot of it, this is."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

__all__ = ["boot_id", "host_name", "machine_id"]


def _first_line(*paths: str) -> str:
    for path in paths:
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue  # not on this system, or not readable here: the next one
        if text:
            return text
    return ""


@cache
def host_name() -> str:
    """Name of the host, as people know it."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    return os.environ.get("COMPUTERNAME", "")


@cache
def machine_id() -> str:
    """Id of the installation; its host name where the system keeps none."""
    return _first_line("/etc/machine-id", "/var/lib/dbus/machine-id") or f"name:{host_name()}"


@cache
def boot_id() -> str:
    """Id of this boot of the kernel, shared by all its containers; empty where the system has none."""
    if found := _first_line("/proc/sys/kernel/random/boot_id"):
        return found
    if os.name == "posix" and Path("/usr/sbin/sysctl").exists():  # macOS
        import subprocess

        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()
    return ""
