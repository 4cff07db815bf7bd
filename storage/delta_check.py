"""Look for damage in Delta tables: files gone, cut short or with flipped bits, and logs that cannot be read."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from mlrun.contracts import Finding
from mlrun.errors import StoreError
from mlrun.tables import TABLES

from .delta_folder import LOG
from .delta_log import DeltaLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.tables import Table

    from .delta_files import DataFile
    from .delta_folder import TableFolder

__all__ = ["check"]

_COMMIT = re.compile(r"\d{20}\.json")
_CHECKPOINT = re.compile(r"\d{20}\.checkpoint.*\.parquet")
_POINTER = "_last_checkpoint"


def check(folder_of: Callable[[str], TableFolder], *, repair: bool) -> list[Finding]:
    """Check every table; `folder_of` gives the folder of a table's name."""
    found: list[Finding] = []
    for table in TABLES.values():
        if table.kind != "series":
            continue
        folder = folder_of(table.name)
        if folder.has_table():
            log = DeltaLog(folder, table)
            found += _check_log(log, repair=repair)
            try:
                found += _check_files(log, repair=repair)
            except StoreError as error:
                found.append(Finding("lost", _where(table), f"the table cannot be opened: {error}"))
            log.close()
    return found


def _where(table: Table, name: str = "") -> str:
    return "/".join(filter(None, ("series", table.name, name)))


def _check_log(log: DeltaLog, *, repair: bool) -> Iterator[Finding]:
    """Parse checkpoints and commits; move damaged ones aside, so that the table opens without them."""
    names = [name for name, _ in log.folder.names(LOG)]
    checkpoints = sorted(name for name in names if _CHECKPOINT.fullmatch(name))
    for name in list(checkpoints):
        try:
            with pq.ParquetFile(pa.BufferReader(_read(log, name))) as checkpoint:
                checkpoint.read()
        except (OSError, pa.ArrowException) as error:
            if repair:  # else it is still there
                checkpoints.remove(name)
            yield _aside(log, name, f"a checkpoint is damaged ({error})", repair, lost=False)
    if _POINTER in names and not _points_somewhere(_read(log, _POINTER), checkpoints):
        what = "the pointer to the last checkpoint is damaged or leads nowhere"
        yield _aside(log, _POINTER, what, repair, lost=False)
    commits = sorted(name for name in names if _COMMIT.fullmatch(name))
    newest = max((int(name[:20]) for name in checkpoints), default=-1)
    for name in commits:
        if _is_json(_read(log, name)):
            continue
        if int(name[:20]) <= newest:
            what = "an old commit is damaged; a checkpoint holds it too"
            yield _aside(log, name, what, repair, lost=False)
        elif name == commits[-1]:
            what = (
                "the newest commit is damaged: its rows are no longer in the table; "
                "those that the journal still has will be taken again"
            )
            yield _aside(log, name, what, repair, lost=True)
        else:
            what = (
                "a commit in the middle of the log is damaged: the table cannot be opened past it"
            )
            yield Finding("lost", _where(log.table, f"{LOG}/{name}"), what)


def _read(log: DeltaLog, name: str) -> bytes:
    try:
        return log.folder.read([f"{LOG}/{name}"])[0]
    except FileNotFoundError:
        return b""


def _aside(log: DeltaLog, name: str, what: str, repair: bool, *, lost: bool) -> Finding:
    where = _where(log.table, f"{LOG}/{name}")
    if not repair:
        return Finding("lost" if lost else "repairable", where, what)
    log.folder.set_aside(f"{LOG}/{name}")
    return Finding("lost" if lost else "repaired", where, f"{what}; moved aside")


def _points_somewhere(pointer: bytes, checkpoints: list[str]) -> bool:
    try:
        version = int(json.loads(pointer)["version"])
    except (ValueError, KeyError, TypeError):
        return False
    return any(name.startswith(f"{version:020}.checkpoint") for name in checkpoints)


def _is_json(commit: bytes) -> bool:
    try:
        lines = commit.decode("utf-8").splitlines()
        return bool(lines) and all(isinstance(json.loads(line), dict) for line in lines if line)
    except ValueError:
        return False


def _check_files(log: DeltaLog, *, repair: bool) -> Iterator[Finding]:
    damaged: list[tuple[DataFile, str]] = []
    for file in log.state().files:
        if wrong := _wrong(log.folder, file):
            damaged.append((file, wrong))
    for file, wrong in damaged:
        yield Finding("lost", _where(log.table, file.path), f"{wrong}: {_held(file)}")
    if damaged and repair:
        log.commit([], removes=[file for file, _ in damaged])
        for file, _ in damaged:
            log.folder.set_aside(file.path)
        what = f"{len(damaged)} damaged files left out: the rest is readable"
        yield Finding("repaired", _where(log.table), what)


def _wrong(folder: TableFolder, file: DataFile) -> str:
    """Say what is wrong with a file, or nothing."""
    try:
        size = folder.size(file.path)
        if size != file.size:
            return f"has {size:,} bytes of {file.size:,}"
        source = folder.parquet(file.path, size)
        with pq.ParquetFile(source, page_checksum_verification=True) as reader:
            if reader.metadata.num_rows != file.rows:
                return f"has {reader.metadata.num_rows:,} rows of {file.rows:,}"
            for group in range(reader.metadata.num_row_groups):
                reader.read_row_group(group)
    except FileNotFoundError:
        return "is gone"
    except (OSError, pa.ArrowException) as error:
        return f"cannot be read ({error})"
    return ""


def _held(file: DataFile) -> str:
    """Say what a file held, from what the log tells of it."""
    parts = [f"{file.rows:,} rows"]
    for column, noun in (("run_id", "runs"), ("key", "keys"), ("step", "steps")):
        if column in file.bounds:
            low, high = (v.decode() if isinstance(v, bytes) else v for v in file.bounds[column])
            parts.append(f"{noun} {low} to {high}" if low != high else f"{noun.rstrip('s')} {low}")
    return ", ".join(parts)
