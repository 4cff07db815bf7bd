"""A long soak: `python -m bench.soak [--minutes N]`; SOAK_SECONDS says it too.

Rounds of writers that are killed at random moments, absorbers that are killed as well, readers that look all the time,
on a store that lives on from round to round; now and then `doctor`, and a disk that becomes full. It ends with 1 if
anything was lost, doubled or torn.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.children import ChildFailed, call, environment
from bench.footprint import folder_bytes
from bench.rounds import say
from bench.trackers.ours import QUIET
from mlrun.testing.crash import run_crash

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main"]

_STORE_BYTES = 4 << 30  # then a fresh store
_DISK_MB = 24


@dataclass
class Soak:
    """What has happened so far."""

    rounds: int = 0
    killed_writers: int = 0
    acknowledged: int = 0
    rows: int = 0
    absorbers_killed: int = 0
    reads: int = 0
    full_disks: int = 0
    dropped: int = 0
    violations: list[str] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    """Soak, say every minute how it goes, print the sums as JSON; 1 if anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))
    parser.add_argument("--minutes", type=float, default=seconds / 60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", help="where stores are made; default the temporary folder")
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=given.folder))
    say(f"seed {given.seed}, {given.minutes:g} minutes")
    soak = Soak()
    try:
        _soak(soak, folder, given.seed, time.monotonic() + 60 * given.minutes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        print(json.dumps(soak.__dict__, indent=1))
    return 1 if soak.violations else 0


def _soak(soak: Soak, folder: Path, seed: int, until: float) -> None:
    chance = random.Random(seed)
    store = folder / "store-0"
    told = time.monotonic()
    while time.monotonic() < until:
        if soak.rounds % 25 == 24:
            _fill_a_disk(soak, chance)
        elif soak.rounds % 25 == 12:
            _examine(soak, store)
        _crash(soak, store, chance)
        soak.rounds += 1
        if folder_bytes(folder) > _STORE_BYTES:
            _examine(soak, store)
            shutil.rmtree(store)
            store = folder / f"store-{soak.rounds}"
        if time.monotonic() - told > 60:
            told = time.monotonic()
            say(
                f"{soak.rounds} rounds, {soak.acknowledged:,} calls, {len(soak.violations)} violations"
            )


def _crash(soak: Soak, store: Path, chance: random.Random) -> None:
    writers = chance.choice((1, 1, 2, 4, 8))
    seed = chance.getrandbits(40)
    report = run_crash(store, writers=writers, seconds=chance.choice((0.05, 0.5, 3.0)), seed=seed)
    soak.killed_writers += writers
    soak.acknowledged += report.acknowledged
    soak.rows += report.rows
    soak.absorbers_killed += report.absorbers_killed
    soak.reads += report.reads
    _note(soak, [f"seed {seed}, {writers} writers: {v}" for v in report.violations])


def _examine(soak: Soak, store: Path) -> None:
    """Ask `doctor`, which reads every file: nothing but a torn tail may have been left by a kill."""
    command = [sys.executable, "-P", "-m", "mlrun.cli", "doctor", "--json"]
    done = subprocess.run(
        command, env={**environment(), "MLRUN_DBPATH": str(store)}, capture_output=True, text=True
    )
    try:
        findings = json.loads(done.stdout)
    except ValueError:
        _note(soak, [f"doctor ended with {done.returncode}: {done.stderr.strip()[-300:]}"])
        return
    lost = [f for f in findings if f.get("severity") == "lost"]
    _note(soak, [f"doctor: {f.get('where')}: {f.get('what')}" for f in lost])


def _fill_a_disk(soak: Soak, chance: random.Random) -> None:
    """Log until the disk is full, and on; what is not stored must be counted, and everything else be there."""
    with _small_disk() as disk:
        if disk is None:
            return
        calls = chance.randrange(300_000, 900_000)
        try:
            kept = call("bench.soak:overfill", folder=str(disk / "store"), calls=calls)
            found = call("bench.soak:look", folder=str(disk / "store"))
        except ChildFailed as error:
            _note(soak, [f"full disk, {calls} calls: {error}"])
            return
    soak.full_disks += 1
    soak.dropped += kept["dropped"]
    expected = 3 * calls - kept["dropped"]
    if found["rows"] != expected:
        _note(soak, [f"full disk: {expected:,} rows should be stored, {found['rows']:,} are"])
    if not kept["dropped"]:
        _note(soak, [f"full disk: {3 * calls:,} points fitted on {_DISK_MB} MB"])


@contextmanager
def _small_disk() -> Iterator[Path | None]:
    """Mount a small file system of our own in memory; None where we may not."""
    place = Path(tempfile.mkdtemp(prefix="soak-disk-"))
    options = f"size={_DISK_MB}m,mode=700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "mlrun-soak", str(place)], capture_output=True
    )
    try:
        yield place if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.rmdir()


def overfill(folder: str, calls: int) -> dict[str, int]:
    """Log more than the disk takes, in the child."""
    import mlrun

    run_ = mlrun.init("soak", id="full", store=folder, **QUIET)
    for step in range(calls):
        run_.log({"a": float(step), "b": -float(step), "c/d": 0.5}, step)
    run_.finish()
    return {"dropped": run_.dropped}


def look(folder: str) -> dict[str, int]:
    """Read what was stored, in the child; each call is there whole or not at all."""
    import mlrun

    rows = mlrun.metrics("full", store=folder)
    whole = rows.group_by("step").len()
    torn = int((whole["len"] != 3).sum())
    if torn:
        raise ChildFailed(f"{torn} calls are there in part")
    return {"rows": rows.height}


def _note(soak: Soak, violations: list[str]) -> None:
    for violation in violations:
        say(f"VIOLATION {violation}")
    soak.violations += violations


if __name__ == "__main__":
    raise SystemExit(main())
