"""Readers never absorb: who may only read a store sees all of it, live runs too, and changes nothing."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.store import close_all

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

READER = """
    import sys, mlrun
    for line in sys.stdin:
        runs = mlrun.runs(order_by="name")
        ids = runs["run_id"].to_list()
        metrics = mlrun.metrics(ids)
        assert mlrun.sql("select count(*) from runs").item() == runs.height
        print("|".join([
            " ".join(f"{n}:{s}" for n, s in runs.select("name", "state").iter_rows()),
            str(metrics.height), str(mlrun.artifacts().height), str(mlrun.params(ids).height),
            str(mlrun.logs(ids).height),
        ]), flush=True)
"""
WRITER = """
    import sys, mlrun
    for name in sys.argv[1:]:
        with mlrun.init(project="p", name=name, config={"a": 1}) as run:
            run.log({"loss": 1.0})
"""


def _without_power() -> tuple[str, ...]:
    """How root starts a process that modes bind as they bind everybody else."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root passes over file modes, and there is no setpriv to hinder it")
    powers = "-dac_override,-dac_read_search"
    return ("setpriv", "--bounding-set", powers, "--inh-caps", powers)


def _modes(folder: Path, *, write: bool) -> None:
    for path in [folder, *folder.rglob("*")]:
        with suppress(FileNotFoundError):  # of who stores, beside us, where the run came from
            mode = stat.S_IMODE(path.lstat().st_mode)
            path.chmod(mode | 0o200 if write else mode & ~0o222)


@pytest.fixture
def store(own_folder: Path) -> Iterator[Path]:
    folder = own_folder / ".mlrun"
    yield folder
    _modes(folder, write=True)


@pytest.fixture
def look(store: Path, start: Any) -> Iterator[Callable[[], str]]:
    """Ask a reader that lives on, for which the store is not writable, what it sees."""
    readers: list[subprocess.Popen[str]] = []

    def ask() -> str:
        _modes(store, write=False)
        if not readers:
            readers.append(start(READER, before=_without_power()))
        reader = readers[0]
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write("\n")
        reader.stdin.flush()
        seen = reader.stdout.readline().strip()
        _modes(store, write=True)
        if not seen:
            pytest.fail(reader.communicate()[1])
        return seen

    yield ask
    if readers:
        assert readers[0].communicate()[1] == ""


def test_a_live_run_in_a_new_store_is_seen(store: Path, look: Callable[[], str]) -> None:
    run = mlrun.init(project="p", name="live", config={"a": 1})
    run.log({"loss": 1.0})
    assert not (store / "mlrun.db").exists()
    assert look() == "live:running|1|0|1|0"
    run.log({"loss": 0.5})
    run.log_artifact("k", body="x")
    assert look() == "live:running|2|1|1|0"
    assert not (store / "mlrun.db").exists()
    run.finish()
    mlrun.compact()
    assert look() == "live:completed|2|1|1|0"


def test_a_reader_follows_a_store_that_others_write(
    store: Path, look: Callable[[], str], python: Any
) -> None:
    """The file lies calm when the reader first looks, then a log grows beside it and the journal is absorbed."""
    python(WRITER, "a")
    assert mlrun.runs().height == 1
    close_all()
    assert look() == "a:completed|1|0|1|0"
    assert (
        mlrun.runs().height == 1
    )  # a connection of ours keeps the log of the next writers in its file
    python(WRITER, "b", "c")
    python("import sys\nfrom mlrun.journal.absorber import main\nmain(sys.argv[1])", str(store))
    assert look() == "a:completed b:completed c:completed|3|0|3|0"
    mlrun.compact()
    assert look() == "a:completed b:completed c:completed|3|0|3|0"


def test_what_a_killed_process_left_is_seen_and_stays(
    store: Path, look: Callable[[], str], start: Any
) -> None:
    writer = start("""
        import time, mlrun
        run = mlrun.init(project="p", name="killed", config={"a": 1})
        run.log({"loss": 1.0})
        mlrun.runs()
        print("ready", flush=True)
        time.sleep(600)
    """)
    assert writer.stdout.readline() == "ready\n"
    assert look() == "killed:running|1|0|1|0"
    writer.kill()
    writer.wait()
    before = {p: p.stat().st_size for p in store.rglob("*") if p.is_file()}
    assert look() == "killed:lost|1|0|1|0"
    assert {p: p.stat().st_size for p in store.rglob("*") if p.is_file()} == before


def test_writing_says_what_is_wrong(store: Path, python: Any) -> None:
    mlrun.init(project="p").finish()
    close_all()
    _modes(store, write=False)
    done = python("import mlrun; mlrun.init(project='p')", before=_without_power(), code=1)
    last = done.stderr.strip().splitlines()[-1]
    assert "StoreError" in last
    assert "MLRUN_DBPATH" in last
