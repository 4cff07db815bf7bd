"""Examine a store: every file that has a checksum or a structure, and what the parts say of each other.

Law. Examining changes nothing. Repairing cuts torn tails, finishes what a dead process left, moves damaged files aside
so that the rest can be read; it never removes what can be read. What was there and cannot be read any more is told as
`lost`, with what it held. Safe beside writers and readers.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from mlrun.contracts import CanCheck, Finding
from mlrun.errors import CorruptStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlrun.store import Store

__all__ = ["examine"]

_LEFTOVERS = (
    ".store.json.",
    ".import.",
)  # beginnings of names in the store's folder that a finished process removes


def examine(
    store: Store,
    *,
    repair: bool = False,
    quick: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Finding]:
    """Check everything; returns what was found, the worst first.

    A check that fails itself is reported as `lost` under its name, and the others go on.

    Args:
        store: a store whose folder is there.
        repair: also mend what can be mended.
        quick: leave out what reads every byte of objects and series files.
        progress: told what is being looked at.
    """
    found: list[Finding] = []
    for name, check in _checks(store, repair, quick).items():
        if (
            any(f.where == "store.json" and f.severity == "repairable" for f in found)
            and name != "journal"
        ):
            continue  # the store does not open: --repair first
        progress(f"examining {name}")
        try:
            found += check()
        except Exception as error:  # noqa: BLE001 - damaged bytes make every library fail in its own way
            found.append(Finding("lost", name, f"cannot be examined: {error}"))
    order = ("lost", "repairable", "repaired", "note")
    return sorted(dict.fromkeys(found), key=lambda f: (order.index(f.severity), f.where))


def _checks(store: Store, repair: bool, quick: bool) -> dict[str, Callable[[], list[Finding]]]:
    """What is looked at, in this order: each part first, then what the parts say of each other."""
    from mlrun.care.crosscheck import compare_artifacts, compare_points
    from mlrun.journal.aside import list_aside
    from mlrun.journal.verify import verify_journal

    checks: dict[str, Callable[[], list[Finding]]] = {
        "store.json": lambda: list(_check_folder(store, repair=repair)),
        "journal": lambda: [
            *verify_journal(store.journal, repair=repair),
            *list_aside(store.journal),
            *_refused(store),
        ],
        _name_of_records(store): lambda: [
            *_open_records(store, repair=repair),
            *_check_part(store, "records", repair),
        ],
        "series": lambda: _check_part(store, "series", repair),
        "objects": lambda: _check_part(store, "objects", repair),
        "points of runs": lambda: compare_points(store, repair=repair),
        "bytes of artifacts": lambda: compare_artifacts(store),
    }
    for name in ("series", "objects") if quick else ():
        del checks[name]
    return checks


def _name_of_records(store: Store) -> str:
    """Return the file of an embedded store, else the URL of the records without credentials."""
    from mlrun.credentials import without_secrets

    url = store.part_url("records")
    return (
        "mlrun.db" if url.startswith(f"sqlite:///{store.folder}/mlrun.db") else without_secrets(url)
    )


def _check_part(store: Store, part: str, repair: bool) -> list[Finding]:
    opened: Any = getattr(store, part)
    return list(opened.check(repair=repair)) if isinstance(opened, CanCheck) else []


def _open_records(store: Store, *, repair: bool) -> Iterator[Finding]:
    """Move a records file aside that is no database any more: the store opens again, and points tell of their runs."""
    try:
        _ = store.records
    except CorruptStore as error:
        path = store.folder / "mlrun.db"
        if not repair or _name_of_records(store) != path.name or not path.exists():
            raise
        aside = path.with_name(f"mlrun.db.damaged-{int(time.time())}")
        os.replace(path, aside)
        for suffix in ("-wal", "-shm"):
            side = path.with_name(path.name + suffix)
            if side.exists():
                os.replace(side, aside.with_name(aside.name + suffix))
        yield Finding("lost", "mlrun.db", f"{error}; it was moved to {aside.name}")


def _check_folder(store: Store, *, repair: bool) -> Iterator[Finding]:
    """Check the version file, the file system, access rights and what dead processes left in the folder."""
    from mlrun.store import FORMAT

    marker = store.folder / "store.json"
    try:
        stored = json.loads(marker.read_text(encoding="utf-8"))["format"]
        if not isinstance(stored, int):
            raise ValueError(f"format {stored!r} is no number")
        if stored > FORMAT:
            yield Finding(
                "note",
                "store.json",
                f"format {stored} is newer than this mlrun ({FORMAT}): upgrade",
            )
    except FileNotFoundError:
        yield _renew_marker(marker, "is missing", repair)
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield _renew_marker(marker, f"is damaged ({error})", repair)
    yield from _check_place(store)
    yield from _leftovers(store.folder, repair=repair)


def _renew_marker(marker: Path, why: str, repair: bool) -> Finding:
    from mlrun.store import FORMAT

    if not repair:
        return Finding("repairable", "store.json", f"{why}; the store cannot be opened")
    fresh = marker.with_name(f".store.json.{os.getpid()}")
    fresh.write_text(json.dumps({"format": FORMAT}) + "\n", encoding="utf-8")
    os.replace(fresh, marker)
    return Finding("repaired", "store.json", f"{why}; it was written anew with format {FORMAT}")


def _check_place(store: Store) -> Iterator[Finding]:
    if store.on_network:
        from mlrun.journal.netfs import filesystem_type

        kind = filesystem_type(store.folder)
        mode = f"SQLite runs journal_mode=TRUNCATE, the journal lies in {store.journal}"
        yield Finding("note", ".", f"on a network file system ({kind}): {mode}")
    if os.name == "posix" and store.folder.stat().st_mode & 0o002:
        yield Finding("note", ".", "every user of this machine may write the store's folder")


def _leftovers(folder: Path, *, repair: bool) -> Iterator[Finding]:
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(_LEFTOVERS) or _is_fresh(path):
            continue
        if repair:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        yield Finding(
            "repaired" if repair else "repairable", path.name, "left by a process that died"
        )


def _is_fresh(path: Path) -> bool:
    """Whether a living process may still be at work on it: changed within a day."""
    return time.time() - path.stat().st_mtime < 86_400


def _refused(store: Store) -> Iterator[Finding]:
    path = store.journal / "rejected.jsonl"
    try:
        count = sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line)
    except FileNotFoundError:
        return  # nothing was ever set aside
    yield Finding(
        "note", "journal/rejected.jsonl", f"{count} records fit no table and were set aside there"
    )
