"""What may go wrong with disks, processes and hosts: a clear error or a counted warning, and nothing else is lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import threading
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.care.doctor import examine
from mlrun.errors import MlrunError, StoreError
from mlrun.journal import slots
from mlrun.store import close_all, open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POINTS = 200


def fill(name: str, store: Path | None = None) -> str:
    with mlrun.init(project="p", name=name, id=name, config={"lr": 0.1}, store=store) as run:
        for step in range(POINTS):
            run.log({"a": float(step)}, step)
        run.log_artifact(f"of {name}", body=f"bytes of {name}" * 10)
    return run.id


# -- disks ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_is_full_ends_no_training_and_is_counted(python: Callable[..., Any]) -> None:
    """Every file may grow to 100 kB, as on a disk with no more room."""
    done = python("""
        import resource, warnings, mlrun
        warnings.simplefilter("always")
        run = mlrun.init(project="p", id="r", config={"a": 1})
        run.log({"a": 0.0})
        run.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        for step in range(1, 60_000):
            run.log({"a": float(step), "b": 1.0})
        run.log_artifact("big", body=b"x" * 1_000_000)
        run.log_result("text", "x" * 200_000)
        run.flush()
        dropped = run.dropped
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        run.finish()
        print(dropped)
    """)
    view = mlrun.get_run("r")
    assert view.state == "completed"
    dropped = int(done.stdout)
    stored = mlrun.metrics("r").height
    assert dropped + stored == 1 + 2 * 59_999
    assert mlrun.runs()["dropped"].to_list() == [dropped or None]
    assert view.results == {"text": "x" * 200_000}  # a record waits until there is room
    assert "MlrunWarning" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_bound_of_the_spool_drops_points_never_records(
    monkeypatch: pytest.MonkeyPatch, warned: Callable[[], Any]
) -> None:
    monkeypatch.setenv("MLRUN_SPOOL_MAX_BYTES", "200000")
    with warned() as messages:
        run = mlrun.init(project="p")
        for step in range(50_000):
            run.log({"a": float(step)})
        for n in range(100):
            run.log_result(f"r{n}", n)
        run.finish()
    assert run.dropped > 0
    assert run.dropped + mlrun.metrics(run.id).height == 50_000
    assert mlrun.runs()["dropped"].to_list() == [run.dropped]
    assert len(mlrun.get_run(run.id).results) == 100
    assert len([m for m in messages if "MLRUN_SPOOL_MAX_BYTES" in m]) == 1


def test_a_slow_disk_under_an_artifact_holds_up_no_point(monkeypatch: pytest.MonkeyPatch) -> None:
    run = mlrun.init(project="p")
    run.log({"a": 0.0})
    objects: Any = type(open_store().objects)
    begun, go_on = threading.Event(), threading.Event()
    put = objects.put

    def slow(self: Any, *args: Any, **options: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return put(self, *args, **options)

    monkeypatch.setattr(objects, "put", slow)
    thread = threading.Thread(target=run.log_artifact, args=("k", b"x" * 1000))
    thread.start()
    assert begun.wait(60)
    for step in range(1, 5000):
        run.log({"a": float(step)})
    run.log_result("r", 1)
    run.add_tags("t")
    assert mlrun.metrics(run.id).height == 5000
    assert mlrun.runs()["tags"].to_list() == [["t"]]
    assert mlrun.artifacts().height == 0
    go_on.set()
    thread.join()
    assert mlrun.artifacts().height == 1


# -- damage --------------------------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    """Turn some bytes in the middle of what is used; a database has no checksums, so there a whole page is hit."""
    used = [i for i, byte in enumerate(data) if byte]
    at = used[len(used) // 2]
    size = 16384 if data.startswith(b"SQLite") else 32
    turned = bytes(byte ^ 0xFF for byte in data[at : at + size])
    return data[:at] + turned + data[at + size :]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


FILES = {
    "segment": "journal/*/*.seg",
    "dictionary": "journal/*/*.dict",
    "record log": "journal/*/*.rec",
    "owner": "journal/*/owner.json",
    "database": "mlrun.db",
    "delta file": "series/metrics/**/*.parquet",
    "delta log": "series/metrics/_delta_log/*.json",
    "rollups": "series/metrics_rollups/**/*.parquet",
    "object": "objects/*/*",
    "version": "store.json",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a run that is absorbed and one that waits in the journal; tests damage copies of it."""
    folder = tmp_path_factory.mktemp("whole") / ".mlrun"
    fill("old", folder)
    open_store(folder).writer().close()
    mlrun.compact(store=folder)
    fill("new", folder)
    open_store(folder).writer().close()
    close_all()
    return folder


@pytest.mark.parametrize("damage", [flipped, cut])
@pytest.mark.parametrize("pattern", FILES.values(), ids=FILES)
def test_damage_is_found_and_the_rest_is_read(
    whole: Path, own_folder: Path, pattern: str, damage: Callable[[bytes], bytes]
) -> None:
    """One damaged file never costs both runs."""
    folder = own_folder / ".mlrun"
    shutil.copytree(whole, folder)
    path = max(folder.glob(pattern), key=lambda p: p.stat().st_size)
    path.chmod(0o600)
    path.write_bytes(damage(path.read_bytes()))
    for ask in (mlrun.runs, mlrun.artifacts, partial(mlrun.metrics, ["old", "new"])):
        with suppress(MlrunError):  # a clear error, or an answer without what is damaged
            ask()
    found = examine(open_store())
    close_all()
    if not pattern.endswith("owner.json"):
        assert {f.severity for f in found} & {"lost", "repairable"}
    for _ in range(2):
        found = examine(open_store(), repair=True)
        close_all()
    assert not [f for f in found if f.severity == "repairable"]
    read = [r for r in ("old", "new") if mlrun.metrics(r).height == POINTS]
    assert read
    assert set(read) <= set(mlrun.runs()["run_id"])
    fill("later")
    mlrun.compact()
    assert mlrun.get_run("later").state == "completed"
    assert mlrun.metrics("later").height == POINTS


@pytest.mark.parametrize("damage", [flipped, cut])
@pytest.mark.parametrize("kind", ["segment", "dictionary", "record log"])
def test_absorbing_never_buries_damage(
    own_folder: Path, kind: str, damage: Callable[[bytes], bytes]
) -> None:
    """What is damaged does not become the truth of the store, is kept for salvage, and is told for ever after."""
    fill("new")
    open_store().writer().close()
    close_all()
    journal = own_folder / ".mlrun" / "journal"
    path = max(own_folder.glob(f".mlrun/{FILES[kind]}"), key=lambda p: p.stat().st_size)
    bad = damage(path.read_bytes())
    path.write_bytes(bad)
    assert "lost" in {f.severity for f in examine(open_store())}
    mlrun.compact()
    mlrun.compact()
    assert not list(journal.glob("w-*/*.seg")) + list(journal.glob("w-*/*.rec"))
    [kept] = [p for p in journal.glob("damaged/*") if p.name.endswith(path.name)]
    assert kept.read_bytes()[-len(bad) // 2 :] == bad[-len(bad) // 2 :]
    assert "lost" in {f.severity for f in examine(open_store())}
    points = mlrun.metrics("new")
    assert points["value"].to_list() == points["step"].cast(float).to_list()
    fill("later")
    mlrun.compact()
    assert mlrun.metrics("later").height == POINTS


# -- many --------------------------------------------------------------------------------------------------


def test_hundreds_of_runs_leave_tens_of_files(own_folder: Path, python: Callable[..., Any]) -> None:
    script = """
        import sys, mlrun
        for n in range(100):
            with mlrun.init(project="p", name=str(n), config={"n": n}) as run:
                run.log({"a": float(n)})
    """
    for _ in range(3):
        python(script)
    files = [p for p in (own_folder / ".mlrun").rglob("*") if p.is_file()]
    assert len(files) < 40
    assert mlrun.runs().height == 300
    mlrun.compact()
    files = [p for p in (own_folder / ".mlrun").rglob("*") if p.is_file()]
    assert len(files) < 60
    assert mlrun.metrics(mlrun.runs()).height == 300


def test_ten_thousand_keys_are_the_most_of_a_run(warned: Callable[[], Any]) -> None:
    with warned() as messages, mlrun.init(project="p") as run:
        run.log({f"k{n}": 1.0 for n in range(7_999)})
        assert messages == []
        run.log({f"k{n}": 1.0 for n in range(10_007)})
        run.log({"k3": 2.0, "one more": 1.0})
    assert run.dropped == 8
    assert len(messages) == 2
    assert mlrun.metrics(run.id)["key"].n_unique() == 10_000
    assert mlrun.get_run(run.id).summary["k3"] == 2.0


def test_a_file_for_every_limit_is_not_needed_to_ask(python: Callable[..., Any]) -> None:
    """A reader of many runs holds few descriptors."""
    python("""
        import resource, mlrun
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        for n in range(30):
            with mlrun.init(project="p", name=str(n)) as run:
                run.log({"a": 1.0})
        assert mlrun.runs().height == 30
        mlrun.compact()
        assert mlrun.metrics(mlrun.runs()).height == 30
    """)


@pytest.mark.parametrize("text", ['{"format": "x"}', "{}", "[]", "", '{"format": null}'])
def test_a_damaged_version_file_says_what_mends_it(own_folder: Path, text: str) -> None:
    fill("one")
    close_all()
    (own_folder / ".mlrun" / "store.json").write_text(text)
    with pytest.raises(StoreError, match=r"damaged.*mlrun doctor --repair"):
        mlrun.runs()
    close_all()
    examine(open_store(), repair=True)
    assert mlrun.runs().height == 1


# -- hosts ---------------------------------------------------------------------------------------------------


@pytest.fixture
def network(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store lies on a network file system, the state folder on a local disk."""
    shared = own_folder / "share"

    def is_network(path: Path) -> bool:
        return str(path.absolute()).startswith(str(shared))

    for module in ("netfs", "slots", "keeper"):
        monkeypatch.setattr(f"mlrun.journal.{module}.is_network", is_network)
    monkeypatch.setenv("XDG_STATE_HOME", str(own_folder / "state"))
    monkeypatch.setenv("MLRUN_DBPATH", str(shared / "store"))
    return shared / "store"


def test_on_a_network_the_journal_is_local_and_the_database_truncates(
    network: Path, own_folder: Path
) -> None:
    run = mlrun.init(project="p", config={"a": 1})
    run.log({"a": 1.0})
    assert mlrun.metrics(run.id).height == 1
    run.finish()
    store = open_store()
    assert store.journal.is_relative_to(own_folder / "state")
    assert not list(network.rglob("*.seg")) + list(network.rglob("*.rec"))
    close_all()
    with closing(sqlite3.connect(network / "mlrun.db")) as db:
        assert db.execute("pragma journal_mode").fetchone() != ("wal",)
    mlrun.compact()
    assert not (network / "mlrun.db-wal").exists()
    assert mlrun.metrics(run.id).height == 1
    [note] = [f for f in examine(open_store()) if "network" in f.what]
    assert "TRUNCATE" in note.what


def test_a_run_of_another_host_is_lost_only_after_five_minutes_of_silence(
    network: Path, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = mlrun.init(project="p", id="far")
    run.log({"a": 1.0})
    open_store().flush_records()
    here = open_store().journal
    there = own_folder / "their disk"
    close_all()
    shutil.copytree(network, own_folder / "kept")  # what the other host has brought into the share
    run.finish()
    open_store().writer().close()
    close_all()
    shutil.rmtree(network)
    shutil.move(own_folder / "kept", network)
    shutil.move(here, there)
    assert mlrun.get_run("far").state == "running"
    mlrun.compact()
    assert mlrun.get_run("far").state == "running"
    joined = mlrun.init(project="p", id="far", resume="allow")
    assert joined.attached  # it is the other host's to end
    joined.finish()
    assert mlrun.get_run("far").state == "running"
    from mlrun import ids

    later = ids.now_us() + 301_000_000
    monkeypatch.setattr("mlrun.lookup.liveness.now_us", lambda: later)
    assert mlrun.get_run("far").state == "lost"
    mlrun.compact()
    assert mlrun.get_run("far").state == "lost"


def test_an_unreadable_owner_retires_a_slot_and_costs_nothing(own_folder: Path) -> None:
    fill("one")
    open_store().writer().close()
    close_all()
    [owner] = (own_folder / ".mlrun" / "journal").glob("*/owner.json")
    owner.write_text(json.dumps({"claim": "x"}))
    fill("two")
    assert slots.read_owner(owner.parent) is None
    assert mlrun.runs()["state"].to_list() == ["completed", "completed"]
    assert mlrun.metrics(["one", "two"]).height == 2 * POINTS
    assert os.listdir(own_folder / ".mlrun" / "journal")
