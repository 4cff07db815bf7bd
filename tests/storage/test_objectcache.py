from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from mlrun.storage.objectcache import ObjectCache

if TYPE_CHECKING:
    from pathlib import Path


def filled(cache: ObjectCache, data: bytes, *, pin: bool = False) -> str:
    name = hashlib.sha256(data).hexdigest()
    with cache.filling() as (fd, path):
        os.write(fd, data)
        cache.keep(fd, path, name, pin=pin)
    return name


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache("s3://b", str(tmp_path), 10_000)


def test_a_copy_is_found_again_and_cannot_be_written(cache: ObjectCache, tmp_path: Path) -> None:
    name = filled(cache, b"abc")
    path = cache.find(name)
    assert path is not None
    assert path.read_bytes() == b"abc"
    assert path.stat().st_mode & 0o777 == 0o400
    assert ObjectCache("s3://b", str(tmp_path), 10).find(name) == path
    assert ObjectCache("s3://other", str(tmp_path), 10).find(name) is None
    cache.forget(name)
    assert cache.find(name) is None


def test_what_was_not_wanted_for_longest_goes_first(cache: ObjectCache) -> None:
    names = [filled(cache, b"%d" % n * 4000) for n in range(2)]
    path = cache.find(names[1], pin=False)
    assert path is not None
    os.utime(path, (1, 1))
    third = filled(cache, b"3" * 4000)
    found = [n for n in (*names, third) if cache.find(n, pin=False)]
    assert found == [names[0], third]


def test_a_path_that_was_given_stays_while_its_process_lives(
    cache: ObjectCache, tmp_path: Path
) -> None:
    name = filled(cache, b"1" * 9000)
    code = """
import sys
from mlrun.storage.objectcache import ObjectCache
cache = ObjectCache("s3://b", sys.argv[1], 10_000)
print(cache.find(sys.argv[2]), flush=True)
sys.stdin.read()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert name in child.stdout.readline()
    for number in range(3):
        filled(cache, b"%d" % (5 + number) * 9000)
    assert cache.find(name, pin=False)
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    for number in range(2):
        filled(cache, b"%d" % (8 + number) * 9000)
    assert cache.find(name, pin=False) is None
    assert os.listdir(cache.folder / "pins") == []


def test_a_copy_that_was_not_finished_is_removed(cache: ObjectCache) -> None:
    with cache.filling() as (fd, path):
        os.write(fd, b"half")
    assert not path.exists()
    left = cache.folder / "tmp" / "of-a-dead-process"
    left.write_bytes(b"x")
    os.utime(left, (1, 1))
    cache.trim()
    assert not left.exists()


def test_threads_that_fill_find_and_trim_never_lose_a_path_they_were_given(tmp_path: Path) -> None:
    failures: list[str] = []

    def work(number: int) -> None:
        cache = ObjectCache("s3://b", str(tmp_path), 5_000)
        for turn in range(40):
            data = b"%d-%d" % (number % 2, turn % 5) * 500
            name = filled(cache, data, pin=True)
            path = cache.find(name)
            if path is None or path.read_bytes() != data:
                failures.append(name)
        cache.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
