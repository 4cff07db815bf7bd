from __future__ import annotations

import hashlib
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from mlrun.errors import ConfigError, NotFound, ObjectError
from mlrun.storage.files import FileObjects
from mlrun.testing.objects import ObjectsConformance

if TYPE_CHECKING:
    from pathlib import Path


class TestFiles(ObjectsConformance):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"file://{tmp_path}/a folder, 100%20 ours?/objects"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def objects(folder: Path) -> FileObjects:
    return FileObjects(f"file://{folder}")


def temporary(folder: Path) -> list[str]:
    return os.listdir(folder / "tmp")


def test_the_layout_is_that_of_the_store_folder(objects: FileObjects, folder: Path) -> None:
    stored = objects.put(b"abc")
    file = folder / stored.sha256[:2] / stored.sha256
    assert stored.uri == f"objects/{stored.sha256[:2]}/{stored.sha256}"
    assert objects.path(stored.sha256) == file
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert temporary(folder) == []


@pytest.mark.parametrize("url", ["file://relative/folder", "/no/scheme", "s3://bucket"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        FileObjects(url)


def test_reading_makes_no_folder(objects: FileObjects, folder: Path) -> None:
    assert list(objects.list()) == []
    assert objects.check() == []
    assert not folder.exists()


def test_a_pipe_is_refused_and_does_not_block(objects: FileObjects, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ObjectError, match="regular file"):
        objects.put(tmp_path / "pipe")


def test_put_all(objects: FileObjects, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).write_text(f"text {number % 3}")
    stored = objects.put_all([tmp_path / str(n) for n in range(5)])
    assert [s.sha256 for s in stored[:3]] == [
        hashlib.sha256(b"text %d" % n).hexdigest() for n in range(3)
    ]
    assert stored[3:] == stored[:2]
    assert len(list(objects.list())) == 3


def test_a_full_disk_is_an_error_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 5_000_000)
    code = """
import resource, sys
from pathlib import Path
from mlrun.errors import ObjectError
from mlrun.storage.files import FileObjects
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
store = FileObjects("file://" + sys.argv[1])
for source in (Path(sys.argv[2]), b"y" * 2_000_000):
    try:
        store.put(source)
    except ObjectError as error:
        print("refused")
print(store.put(b"small").size)
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "big")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.split() == ["refused", "refused", "5"]
    assert temporary(folder) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1_000_000


def dead_put(folder: Path) -> None:
    """Kill a process in the middle of a put."""
    code = """
import sys
from pathlib import Path
from mlrun.storage.files import FileObjects
class Slow:
    first = True
    def read(self, size):
        if self.first:
            self.first = False
            return b"half of it"
        print("half", flush=True)
        sys.stdin.read()
FileObjects("file://" + sys.argv[1]).put(Slow())
"""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=pipe, stdout=pipe
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half\n"
        assert (
            FileObjects(f"file://{folder}").check(repair=True) == []
        )  # it lives: its file is spared
        child.send_signal(signal.SIGKILL)


def test_a_killed_put_leaves_only_a_temporary_file(objects: FileObjects, folder: Path) -> None:
    dead_put(folder)
    assert list(objects.list()) == []
    assert len(temporary(folder)) == 1
    assert [f.severity for f in objects.check()] == ["repairable"]
    assert len(temporary(folder)) == 1
    assert [f.severity for f in objects.check(repair=True)] == ["repaired"]
    assert temporary(folder) == []
    assert objects.check() == []


def flip(path: Path, at: int) -> None:
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_found_and_healed_by_putting_again(objects: FileObjects) -> None:
    good, bad = objects.put(b"good"), objects.put(b"bad" * 1000)
    flip(objects.path(bad.sha256), 1234)
    with pytest.raises(ObjectError, match="another hash"):
        objects.open(bad.sha256, verify=True)
    (finding,) = objects.check()
    assert (finding.severity, finding.where) == ("lost", bad.uri)
    (finding,) = objects.check(repair=True)
    assert finding.severity == "lost"
    assert objects.check() == []
    with pytest.raises(NotFound, match="damaged"):
        objects.open(bad.sha256)
    objects.put(b"bad" * 1000)
    objects.open(bad.sha256, verify=True).close()
    objects.open(good.sha256, verify=True).close()


@pytest.mark.parametrize("size", [0, 10])
def test_a_truncated_object_is_found_and_healed(objects: FileObjects, size: int) -> None:
    stored = objects.put(b"z" * 100)
    objects.path(stored.sha256).chmod(0o600)
    os.truncate(objects.path(stored.sha256), size)
    with pytest.raises(ObjectError):
        objects.open(stored.sha256, verify=True)
    assert [f.where for f in objects.check()] == [stored.uri]
    objects.put(b"z" * 100)
    objects.open(stored.sha256, verify=True).close()
    assert objects.check() == []


def age(objects: FileObjects, sha256: str) -> None:
    old = time.time() - 1_000_000
    os.utime(objects.path(sha256), (old, old))


def test_sweep_frees_what_nobody_keeps(objects: FileObjects) -> None:
    kept, old, young = objects.put(b"kept"), objects.put(b"old"), objects.put(b"young")
    age(objects, kept.sha256)
    age(objects, old.sha256)
    assert objects.sweep({kept.sha256}) == (1, 3)
    assert {o.sha256 for o in objects.list()} == {kept.sha256, young.sha256}


def test_sweep_spares_what_was_put_again(objects: FileObjects) -> None:
    stored = objects.put(b"again")
    age(objects, stored.sha256)
    objects.put(b"again")
    assert objects.sweep(set()) == (0, 0)


def test_a_killed_sweep_loses_nothing(objects: FileObjects, folder: Path) -> None:
    stored = objects.put(b"half swept")
    objects.path(stored.sha256).rename(folder / "tmp" / f"sweep-{stored.sha256}")
    assert [f.severity for f in objects.check(repair=True)] == ["repaired"]
    objects.open(stored.sha256, verify=True).close()


def test_a_store_folder_can_be_moved(objects: FileObjects, folder: Path) -> None:
    stored = objects.put(b"moved")
    moved = folder.parent / "elsewhere" / "objects"
    moved.parent.mkdir()
    folder.rename(moved)
    assert (moved.parent / stored.uri).read_bytes() == b"moved"
    assert FileObjects(f"file://{moved}").path(stored.sha256).read_bytes() == b"moved"
