from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.content import catalog, folders
from mlrun.content.dataitem import find_artifact
from mlrun.errors import NotFound, ObjectError

if TYPE_CHECKING:
    from pathlib import Path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    (made / "deep" / "deeper").mkdir(parents=True)
    (made / "a.txt").write_text("a")
    (made / "deep" / "b ☃.bin").write_bytes(b"b" * 1000)
    (made / "deep" / "deeper" / "same.txt").write_text("a")
    script = made / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    return made


def test_a_folder_round_trip(run: Any, folder: Path, tmp_path: Path) -> None:
    item = catalog.log_artifact(run, folder)
    assert (item.key, item.type, item.size) == ("out", "dir", 1012)
    assert (item.meta["format"], item.meta["files"], item.meta["name"]) == ("folder", 4, "out")
    copy = item.download(tmp_path / "copy")
    assert tree(copy) == tree(folder)
    assert stat.S_IMODE((copy / "run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((copy / "a.txt").stat().st_mode) == 0o644
    (copy / "a.txt").write_text("mine")
    assert (item.path() / "a.txt").read_text() == "a"
    assert tree(item.load()) == tree(folder)
    assert item.path() == find_artifact(run.store, item.uri).path()


def test_the_same_files_are_the_same_version(run: Any, folder: Path) -> None:
    first = catalog.log_artifact(run, folder)
    os.utime(folder / "a.txt", (1, 1))
    assert catalog.log_artifact(run, str(folder) + "/").version == first.version
    (folder / "a.txt").write_text("new")
    assert catalog.log_artifact(run, folder).version == 2


def test_a_folder_is_not_opened_as_bytes(run: Any, folder: Path) -> None:
    item = catalog.log_artifact(run, folder)
    for call in (item.open, item.get):
        with pytest.raises(ObjectError, match="is a folder"):
            call()


def test_no_link_leaves_the_folder(run: Any, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    (folder / "leaves").symlink_to(secret)
    (folder / "climbs").symlink_to("../secret")
    (folder / "dangles").symlink_to("nowhere")
    (folder / "circle").symlink_to(".")
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "out-of-it").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    (folder / "inside").symlink_to("deep/deeper/same.txt")
    (folder / "latest").symlink_to("deep/deeper")
    item = catalog.log_artifact(run, folder)
    assert "left out 7" in run.warnings.pop("left_out:out")
    assert len(item.meta["left_out"]) == 7
    files = tree(item.download(tmp_path / "copy"))
    assert files["inside"] == files["latest/same.txt"] == b"a"
    assert set(files) == {
        "a.txt",
        "deep/b ☃.bin",
        "deep/deeper/same.txt",
        "run.sh",
        "inside",
        "latest/same.txt",
    }
    assert not any(p.is_symlink() for p in (tmp_path / "copy").rglob("*"))


def test_the_store_inside_the_folder_is_passed_over(run: Any, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("x")
    item = catalog.log_artifact(run, tmp_path)
    assert set(tree(item.download(tmp_path / "copy"))) == {"script.py"}


def test_an_empty_folder(run: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    item = catalog.log_artifact(run, tmp_path / "empty")
    assert (item.size, item.meta["files"]) == (0, 0)
    assert list(item.download(tmp_path / "copy").iterdir()) == []


def test_names_that_are_no_unicode(run: Any, tmp_path: Path) -> None:
    made = tmp_path / "odd"
    made.mkdir()
    with open(os.fsencode(made) + b"/\xff\xfe.bin", "wb") as file:
        file.write(b"odd")
    item = catalog.log_artifact(run, made)
    assert os.listdir(os.fsencode(item.download(tmp_path / "copy"))) == [b"\xff\xfe.bin"]


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "", ".", "a//b", "a/./b", "..", "a/..", "x\0y"]
)
def test_a_hostile_manifest_writes_nothing(run: Any, tmp_path: Path, name: str) -> None:
    objects = run.store.objects
    stored = objects.put(b"evil")
    entries = [
        {"path": n, "sha256": stored.sha256, "size": 4, "mode": 0o644} for n in ("good", name)
    ]
    manifest = json.dumps({"mlrun": "folder/1", "files": entries}).encode()
    with pytest.raises(ObjectError, match="refused"):
        folders.materialise(objects, io.BytesIO(manifest), tmp_path / "target")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".mlrun"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"mlrun": "folder/9", "files": []}', b"\xff", b'{"mlrun": 1}']
)
def test_what_is_no_manifest(content: bytes) -> None:
    with pytest.raises(ObjectError):
        folders.members(io.BytesIO(content))


def test_a_missing_file_is_told_and_nothing_is_left(run: Any, folder: Path, tmp_path: Path) -> None:
    item = catalog.log_artifact(run, folder)
    with run.store.objects.open(item.sha256) as manifest:
        (entry, *_) = folders.members(manifest)
    run.store.objects.delete(entry["sha256"])
    with pytest.raises(NotFound, match="no object"):
        item.download(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def pack(path: Path, members: list[tuple[str, Any]]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members:
                info = zipfile.ZipInfo(name)
                if isinstance(data, str):
                    info.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, data)
        return path
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            if isinstance(data, str):
                member.type, member.linkname = tarfile.SYMTYPE, data
                tar.addfile(member)
            else:
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_archives_unpack(run: Any, tmp_path: Path, kind: str) -> None:
    made = pack(tmp_path / kind, [("a.txt", b"a"), ("deep/b.txt", b"b")])
    found = catalog.log_artifact(run, made).unpack(tmp_path / "target")
    assert tree(found) == {"a.txt": b"a", "deep/b.txt": b"b"}


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize(
    "member",
    [("../x", b"x"), ("/abs", b"x"), ("a/../../x", b"x"), ("link", "/etc/passwd"), ("good", b"x")],
)
def test_hostile_archives_write_nothing(tmp_path: Path, kind: str, member: tuple[str, Any]) -> None:
    from mlrun.content.archives import unpack

    made = (
        pack(tmp_path / kind, [("good", b"fine"), member])
        if member[0] != "good"
        else tmp_path / kind
    )
    if member[0] == "good":
        made.write_bytes(b"no archive")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ObjectError):
        unpack(made, tmp_path / "target")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_an_archive_may_not_grow_beyond_the_bound(tmp_path: Path, kind: str) -> None:
    from mlrun.content.archives import unpack

    made = pack(tmp_path / kind, [(f"f{i}", b"0" * 1000) for i in range(5)])
    with pytest.raises(ObjectError, match="bigger than allowed"):
        unpack(made, tmp_path / "target", max_bytes=4999)
    assert not (tmp_path / "target").exists()
    unpack(made, tmp_path / "target", max_bytes=5000)
