"""Artifacts through the public face: a real store, other processes, and a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import mlrun
from mlrun.contracts import CanCheck

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WRITER = """
import os, signal, sys
import mlrun
run = mlrun.init(project="live", name=sys.argv[1], console=False, system_metrics=False)
for number in range(5):
    run.log_artifact("shared", body=f"{sys.argv[1]} {number}")
    run.log_artifact(f"own/{sys.argv[1]}", body=str(number), aliases=["newest"])
print(run.id, flush=True)
if sys.argv[2] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MLRUN_DBPATH", str(tmp_path / "100% mine"))
    monkeypatch.setenv("MLRUN_QUIET", "1")
    yield tmp_path / "100% mine"
    mlrun.open_store().close()


def start(name: str, end: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, name, end], stdin=pipe, stdout=pipe, text=True
    )


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_a_killed_run_keeps_every_artifact_that_was_logged() -> None:
    with start("a", "die") as child:
        run_id = said(child)
    assert child.returncode == -signal.SIGKILL
    assert mlrun.get_artifact("live/own/a:newest").load() == "4"
    assert mlrun.get_artifact("live/own/a:v2").load() == "1"
    made = mlrun.artifacts(run_id)
    assert (made.height, made["version"].max()) == (10, 5)
    assert mlrun.get_run(run_id).artifact("shared").load() == "a 4"
    objects = mlrun.open_store().objects
    assert isinstance(objects, CanCheck)
    assert objects.check() == []


def test_a_live_run_is_read_from_another_process_and_versions_are_never_shared() -> None:
    with start("a", "stay") as one, start("b", "stay") as two:
        ids = [said(one), said(two)]
        assert mlrun.get_artifact("live/own/b").load() == "4"
        made = mlrun.artifacts("live")
        for child in (one, two):
            assert child.stdin is not None
            child.stdin.close()
    shared = made.filter(made["key"] == "shared")
    assert sorted(shared["version"]) == list(range(1, 11))
    assert set(shared["run_id"]) == set(ids)


def test_hostile_names_all_the_way(tmp_path: Path) -> None:
    project, key = "../a/b:v1", "../../x:latest"
    with mlrun.init(project=project, console=False, system_metrics=False) as run:
        item = run.log_artifact(key, body="content")
        assert run.use_artifact(item.uri).load() == "content"
    view = mlrun.get_run(run.id)
    assert view.artifact(key).load() == "content"
    assert mlrun.get_artifact(str(view.output(key))).load() == "content"
    assert sorted(os.listdir(tmp_path)) == ["100% mine"]


def test_a_store_that_was_moved(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with mlrun.init(project="p", console=False, system_metrics=False) as run:
        run.log_artifact("x", body="content")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a").write_text("in a folder")
        run.log_artifact(tmp_path / "out")
    mlrun.open_store().close()
    folder.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("MLRUN_DBPATH", str(tmp_path / "elsewhere"))
    assert mlrun.get_artifact("p/x").load() == "content"
    assert (mlrun.get_artifact("p/out").path() / "a").read_text() == "in a folder"


def test_compact_frees_what_nothing_references(folder: Path) -> None:
    from mlrun.care.compaction import compact

    with mlrun.init(project="p", console=False, system_metrics=False, git=False) as run:
        kept = run.log_artifact("x", body="kept")
    store = mlrun.open_store()
    orphan = store.objects.put(b"nobody knows me")
    for sha256 in (kept.sha256, orphan.sha256):
        os.utime(store.objects.path(sha256), (1, 1))
    compact(store)
    assert mlrun.get_artifact("p/x").load() == "kept"
    assert orphan.sha256 not in {o.sha256 for o in store.objects.list()}
