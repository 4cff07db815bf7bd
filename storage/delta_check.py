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

from .delta_log import DeltaLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlrun.tables import Table

    from .delta_files import DataFile

__all__ = ["check"]

_COMMIT = re.compile(r"\d{20}\.json")


def check(folder: Path, *, repair: bool) -> list[Finding]:
    """Check every table in the folder."""
    found: list[Finding] = []
    for table in TABLES.values():
        if table.kind == "series" and (folder / table.name / "_delta_log").is_dir():
            log = DeltaLog(folder / table.name, table)
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
    logs = log.folder / "_delta_log"
    for path in sorted(logs.glob("[0-9]*.checkpoint*.parquet")):
        try:
            with pq.ParquetFile(path) as checkpoint:
                checkpoint.read()
        except (OSError, pa.ArrowException) as error:
            yield _aside(log, path, f"a checkpoint is damaged ({error})", repair, lost=False)
    pointer = logs / "_last_checkpoint"
    if pointer.exists() and not _points_somewhere(pointer):
        what = "the pointer to the last checkpoint is damaged or leads nowhere"
        yield _aside(log, pointer, what, repair, lost=False)
    commits = sorted(p for p in logs.iterdir() if _COMMIT.fullmatch(p.name))
    checkpoints = [int(p.name[:20]) for p in logs.glob("[0-9]*.checkpoint*.parquet")]
    newest = max(checkpoints, default=-1)
    for path in commits:
        if _is_json(path):
            continue
        if int(path.stem) <= newest:
            yield _aside(
                log, path, "an old commit is damaged; a checkpoint holds it too", repair, lost=False
            )
        elif path == commits[-1]:
            what = (
                "the newest commit is damaged: its rows are no longer in the table; "
                "those that the journal still has will be taken again"
            )
            yield _aside(log, path, what, repair, lost=True)
        else:
            what = (
                "a commit in the middle of the log is damaged: the table cannot be opened past it"
            )
            yield Finding("lost", _where(log.table, f"_delta_log/{path.name}"), what)


def _aside(log: DeltaLog, path: Path, what: str, repair: bool, *, lost: bool) -> Finding:
    where = _where(log.table, f"_delta_log/{path.name}")
    if not repair:
        return Finding("lost" if lost else "repairable", where, what)
    path.rename(path.with_name(f"_damaged_{path.name}"))
    return Finding("lost" if lost else "repaired", where, f"{what}; moved aside")


def _points_somewhere(pointer: Path) -> bool:
    try:
        version = int(json.loads(pointer.read_text(encoding="utf-8"))["version"])
    except (ValueError, KeyError, TypeError, OSError):
        return False
    return any(pointer.parent.glob(f"{version:020}.checkpoint*.parquet"))


def _is_json(path: Path) -> bool:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return bool(lines) and all(isinstance(json.loads(line), dict) for line in lines if line)
    except (ValueError, OSError):
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
            path = log.folder / file.path
            if path.exists():
                path.rename(path.with_name(f"_damaged_{file.path}"))
        what = f"{len(damaged)} damaged files left out: the rest is readable"
        yield Finding("repaired", _where(log.table), what)


def _wrong(folder: Path, file: DataFile) -> str:
    """Say what is wrong with a file, or nothing."""
    path = folder / file.path
    try:
        size = path.stat().st_size
        if size != file.size:
            return f"has {size:,} bytes of {file.size:,}"
        with pq.ParquetFile(path, page_checksum_verification=True) as reader:
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
