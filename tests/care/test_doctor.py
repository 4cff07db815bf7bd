from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.care.arrival import import_runs
from mlrun.care.doctor import examine
from mlrun.care.transfer import export_runs
from mlrun.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mlrun.contracts import Finding

QUIET: dict[str, Any] = {"quiet": True, "console": False, "system_metrics": False, "git": False}


def fill(store: Store, name: str = "one", points: int = 100) -> str:
    with mlrun.init(project="p", name=name, config={"lr": 0.1}, store=store, **QUIET) as run:
        for step in range(points):
            run.log({"x": float(step), "y": 1.0}, step=step)
        run.log_artifact("note", body=f"bytes of {name}")
        store.writer().text("p", run.id, [(1, "stdout", "a line")])
    return run.id


def release(store: Store) -> Store:
    """Let the store go as if its process had ended, and open it anew."""
    store.writer().close()
    store.close()
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two runs: one in the stores, one still in the journal."""
    store = open_store(tmp_path / "store")
    fill(store, "old")
    store.writer().close()
    mlrun.compact(store=store)
    fill(store, "new")
    return release(store)


def flip(path: Path, at: int, size: int = 1) -> None:
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[at : at + size] = bytes(b ^ 0x55 for b in data[at : at + size])
    path.write_bytes(data)


def cut(path: Path, share: float = 0.5) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def one(paths: Iterable[Path]) -> Path:
    return max(paths, key=lambda p: p.stat().st_size)


def worst(found: list[Finding]) -> str:
    return found[0].severity if found else "clean"


def places(found: list[Finding], severity: str) -> set[str]:
    return {f.where for f in found if f.severity == severity}


def tree(folder: Path) -> dict[str, bytes]:
    skip = ("-shm", "-wal", ".lock")
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.endswith(skip)
    }


def test_sound_store_is_clean_and_is_not_changed(store: Store) -> None:
    before = tree(store.folder)
    stages: list[str] = []
    assert examine(store, progress=stages.append) == []
    assert len(stages) == 7
    store.close()
    assert tree(store.folder) == before
    assert examine(store, quick=True) == []
    assert examine(store, repair=True) == []


def test_empty_store_is_clean(tmp_path: Path) -> None:
    store = open_store(tmp_path / "empty")
    store.prepare()
    assert [f for f in examine(store) if f.severity != "note"] == []


def test_live_writer_is_no_damage(tmp_path: Path) -> None:
    store = open_store(tmp_path / "live")
    run = mlrun.init(project="p", name="live", store=store, **QUIET)
    try:
        run.log({"x": 1.0})
        assert examine(store) == []
    finally:
        run.finish()


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damaged_segment(store: Store, damage: str) -> None:
    segment = one(store.journal.rglob("*.seg"))
    if damage == "flip":
        flip(segment, 4096 + 100)
    else:
        cut(segment, 0.3)
    found = examine(store)
    assert worst(found) == "lost"
    assert any(segment.name in f.where for f in found)
    assert mlrun.metrics(mlrun.get_run("old", store=store), store=store).height == 200
    assert mlrun.get_run("new", store=store).params == {"lr": 0.1}


def test_damaged_record_log(store: Store) -> None:
    log = one(store.journal.rglob("*.rec"))
    flip(log, log.stat().st_size // 2)
    found = examine(store)
    assert any(log.name in f.where and f.severity == "lost" for f in found)
    assert mlrun.get_run("old", store=store).params == {"lr": 0.1}


def test_torn_tail_of_a_killed_process(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    code = f"""
import os, signal, mlrun
run = mlrun.init(project="p", name="killed", store={str(store.folder)!r}, quiet=True, console=False,
    system_metrics=False, git=False)
for step in range(50):
    run.log({{"x": 1.0}}, step=step)
run.log_result("a", 1)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGKILL
    log = one(store.journal.rglob("*.rec"))
    with log.open("ab") as file:
        file.write(b"\xa5\x1e\x00D\x10")
    found = examine(store)
    assert places(found, "repairable") == {f"journal/{log.parent.name}/{log.name}"}
    assert any(f.severity == "note" and "is lost: its process died" in f.what for f in found)
    repaired = examine(store, repair=True)
    assert places(repaired, "repaired") == {f"journal/{log.parent.name}/{log.name}"}
    assert places(examine(store), "repairable") == set()
    view = mlrun.get_run("killed", store=store)
    assert (view.state, view.results) == ("lost", {"a": 1})
    assert mlrun.metrics(view, store=store).height == 50


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_series_file(store: Store, damage: str) -> None:
    file = one(
        p
        for p in (store.folder / "series" / "metrics").rglob("*.parquet")
        if "_delta" not in str(p)
    )
    if damage == "flip":
        flip(
            file, file.stat().st_size // 3, 256
        )  # one byte may hit a page's header, which has no checksum
    elif damage == "cut":
        cut(file)
    else:
        file.unlink()
    found = examine(store)
    assert any(f.severity == "lost" and file.name in f.where for f in found)
    repaired = examine(store, repair=True)
    assert {"lost", "repaired"} <= {f.severity for f in repaired}
    # the rest is readable, and what was counted is still told
    assert mlrun.metrics(mlrun.get_run("new", store=store), store=store).height == 200
    assert mlrun.metrics(mlrun.get_run("old", store=store), store=store).height == 0
    lost = [f.what for f in examine(store) if f.severity == "lost"]
    assert lost == ["100 of 100 points that were counted are not stored"] * 2


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_damaged_object(store: Store, damage: str) -> None:
    note = mlrun.get_artifact("p/note:v1", store=store)
    path = store.objects.path(note.sha256)
    if damage == "flip":
        flip(path, 3)
    else:
        path.unlink()
    assert f"objects/{note.sha256[:2]}/{note.sha256}" in places(examine(store), "lost")
    examine(store, repair=True)
    missing = [f.what for f in examine(store) if f.severity == "lost"]
    assert missing == ["missing: the bytes of artifact p/note:v1"]
    assert mlrun.get_artifact("p/note:v2", store=store).get() == b"bytes of new"
    fill(store, "old")  # the same bytes again
    assert examine(release(store)) == []


def test_bytes_that_nothing_refers_to_are_a_note(store: Store) -> None:
    store.objects.put(b"spare")
    [found] = examine(store)
    assert (found.severity, found.where) == ("note", "objects")
    assert "1 objects (5 bytes)" in found.what


def test_database_that_is_none_any_more(store: Store) -> None:
    old = mlrun.get_run("old", store=store).id
    store.close()
    for path in store.folder.glob("mlrun.db*"):
        path.unlink()
    (store.folder / "mlrun.db").write_bytes(b"garbage" * 1000)
    found = examine(store)
    assert "mlrun.db" in places(found, "lost")
    repaired = examine(store, repair=True)
    assert {"lost", "repaired"} <= {f.severity for f in repaired}
    assert list(store.folder.glob("mlrun.db.damaged-*"))
    # what had been absorbed has only its points left; what was in the journal is whole
    view = mlrun.get_run(old, store=store)
    assert (view.state, view.name) == ("lost", f"recovered-{old[-8:]}")
    assert view.summaries["count"].to_list() == [100, 100]
    assert mlrun.metrics(old, store=store).height == 200
    assert mlrun.get_run("new", store=store).params == {"lr": 0.1}
    assert places(examine(store), "repairable") == set()


def test_page_of_the_database_is_damaged(store: Store) -> None:
    store.close()
    path = store.folder / "mlrun.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("pragma wal_checkpoint(truncate)")
        [(size,)] = database.execute("pragma page_size")
        [(root,)] = database.execute("select rootpage from sqlite_master where name = 'tags'")
    flip(path, (root - 1) * size)
    assert worst(examine(store)) in {"lost", "repairable"}
    store.close()
    repaired = examine(store, repair=True)
    assert "repaired" in {f.severity for f in repaired}
    store.close()
    assert mlrun.get_run("new", store=store).params == {"lr": 0.1}


def test_points_without_a_record_are_told_and_listed_again(store: Store, tmp_path: Path) -> None:
    view = mlrun.get_run("old", store=store)
    export_runs(store, tmp_path / "out")
    store.records.apply(
        [("del", "runs", {"run_id": view.id}), ("del", "summaries", {"run_id": view.id})]
    )
    found = examine(store)
    assert [f.severity for f in found if "200 points of 1 runs that have no record" in f.what] == [
        "repairable"
    ]
    examine(store, repair=True)
    assert mlrun.get_run(view.id, store=store).summary == {"x": 99.0, "y": 1.0}
    # an import brings all of it back
    assert import_runs(store, tmp_path / "out")["runs"] == 1
    again = mlrun.get_run("old", store=store)
    assert (again.id, again.state, again.summaries["count"].to_list()) == (
        view.id,
        "completed",
        [100, 100],
    )
    assert mlrun.metrics(again, store=store).height == 200
    assert [f for f in examine(store) if f.severity != "note"] == []


@pytest.mark.parametrize("content", ["", "{}", '{"format": "x"}', None])
def test_version_file(store: Store, content: str | None) -> None:
    marker = store.folder / "store.json"
    marker.unlink()
    if content is not None:
        marker.write_text(content)
    fresh = Store(store.folder)
    found = examine(fresh)
    assert places(found, "repairable") == {"store.json"}
    assert places(examine(fresh, repair=True), "repaired") == {"store.json"}
    assert mlrun.get_run("old", store=Store(store.folder)).params == {"lr": 0.1}


def test_leftovers_of_dead_processes(store: Store) -> None:
    old, young = store.folder / ".import.abc", store.folder / ".import.def"
    for folder in (old, young):
        folder.mkdir()
        (folder / "x").write_text("x")
    day = time.time() - 90_000
    os.utime(old, (day, day))
    assert places(examine(store), "repairable") == {".import.abc"}
    examine(store, repair=True)
    assert not old.exists()
    assert young.exists()


def test_network_file_system_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlrun.journal.netfs.is_network", lambda path: True)
    fresh = Store(store.folder)
    told = [f.what for f in examine(fresh) if f.where == "."]
    assert told
    assert "TRUNCATE" in told[0]


def test_a_check_that_fails_does_not_stop_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr("mlrun.journal.verify.verify_journal", fail)
    store.objects.put(b"spare")
    found = examine(store)
    assert places(found, "lost") == {"journal"}
    assert places(found, "note") == {"objects"}
