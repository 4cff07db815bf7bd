"""What every object store promises.

Subclass in a test module and give the fixture `url`:

```python
class TestMine(ObjectsConformance):
    @pytest.fixture
    def url(self, tmp_path):
        return f"file://{tmp_path}/objects"
```
"""

# ruff: noqa: D102 - the name of a test is its sentence
from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.errors import NotFound, ObjectError, StoreClosed
from mlrun.registry import storage_class

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ObjectsConformance"]

_CHILD = """
import sys
from mlrun.registry import storage_class
store = storage_class(sys.argv[1])(sys.argv[1])
for number in range(20):
    store.put(b"shared %d" % number * 1000)
    store.put(b"own %d" % number + sys.argv[2].encode())
"""


def sha(data: bytes) -> str:
    """Return the SHA-256 of `data`, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class ObjectsConformance:
    """The law of `mlrun.contracts.Objects`, as tests over the fixture `url`."""

    @pytest.fixture
    def objects(self, url: str) -> Iterator[Any]:
        """Open the store, and close it after the test."""
        store = storage_class(url)(url)
        yield store
        store.close()

    def test_bytes_round_trip(self, objects: Any) -> None:
        stored = objects.put(b"abc")
        assert (stored.sha256, stored.size) == (sha(b"abc"), 3)
        with objects.open(stored.sha256) as file:
            assert file.read() == b"abc"

    def test_empty_bytes(self, objects: Any) -> None:
        stored = objects.put(b"")
        assert stored.size == 0
        assert objects.path(stored.sha256).read_bytes() == b""

    def test_file_round_trip(self, objects: Any, tmp_path: Path) -> None:
        data = os.urandom(3 * (1 << 20) + 17)
        source = tmp_path / "name with 'quote' ☃"
        source.write_bytes(data)
        stored = objects.put(source)
        assert (stored.sha256, stored.size) == (sha(data), len(data))
        assert objects.path(stored.sha256).read_bytes() == data
        assert source.read_bytes() == data

    def test_stream_round_trip(self, objects: Any) -> None:
        data = os.urandom(2_500_000)
        stored = objects.put(io.BytesIO(data))
        assert (stored.sha256, stored.size) == (sha(data), len(data))
        with objects.open(stored.sha256, verify=True) as file:
            assert file.read() == data

    def test_source_may_change_afterwards(self, objects: Any, tmp_path: Path) -> None:
        source = tmp_path / "a"
        source.write_bytes(b"x" * 2_000_000)
        stored = objects.put(source)
        with source.open("r+b") as file:
            file.write(b"changed")
        with objects.open(stored.sha256, verify=True) as file:
            assert file.read(7) == b"xxxxxxx"

    def test_same_bytes_are_stored_once(self, objects: Any, tmp_path: Path) -> None:
        (tmp_path / "same").write_bytes(b"same")
        ids = {
            objects.put(b"same").sha256,
            objects.put(io.BytesIO(b"same")).sha256,
            objects.put(tmp_path / "same").sha256,
        }
        assert [o.sha256 for o in objects.list()] == [*ids]

    def test_list_tells_sizes(self, objects: Any) -> None:
        assert list(objects.list()) == []
        objects.put(b"a")
        objects.put(b"bcd")
        assert {(o.sha256, o.size) for o in objects.list()} == {(sha(b"a"), 1), (sha(b"bcd"), 3)}

    def test_what_is_not_there(self, objects: Any) -> None:
        for call in (objects.open, objects.path):
            with pytest.raises(NotFound):
                call(sha(b"never stored"))
        assert objects.delete(sha(b"never stored")) is False

    @pytest.mark.parametrize(
        "name", ["", "..", "../../etc/passwd", "a" * 63, "A" * 64, "/", "ab/cd"]
    )
    def test_what_is_no_hash_is_not_found(self, objects: Any, name: str) -> None:
        with pytest.raises(NotFound):
            objects.open(name)
        assert objects.delete(name) is False

    def test_missing_file(self, objects: Any, tmp_path: Path) -> None:
        with pytest.raises(ObjectError):
            objects.put(tmp_path / "absent")
        with pytest.raises(ObjectError):
            objects.put(tmp_path)
        assert list(objects.list()) == []

    def test_delete(self, objects: Any) -> None:
        stored = objects.put(b"gone")
        assert objects.delete(stored.sha256) is True
        with pytest.raises(NotFound):
            objects.open(stored.sha256)
        assert objects.put(b"gone") == stored

    def test_failing_stream_leaves_nothing(self, objects: Any) -> None:
        class Broken(io.RawIOBase):
            def read(self, size: int = -1) -> bytes:
                raise OSError("the wire is cut")

        with pytest.raises(ObjectError, match="wire is cut"):
            objects.put(Broken())
        assert list(objects.list()) == []

    def test_another_instance_sees_it(self, objects: Any, url: str) -> None:
        stored = objects.put(b"seen")
        with storage_class(url)(url).open(stored.sha256) as file:
            assert file.read() == b"seen"

    def test_pickles(self, objects: Any) -> None:
        stored = objects.put(b"rides")
        again = pickle.loads(pickle.dumps(objects))
        with again.open(stored.sha256) as file:
            assert file.read() == b"rides"
        again.close()

    def test_threads(self, objects: Any) -> None:
        barrier = threading.Barrier(8)
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                barrier.wait()
                for i in range(20):
                    objects.put(b"shared %d" % i)
                    objects.put(b"%d of thread %d" % (i, number))
            except BaseException as error:  # noqa: BLE001 - told by the assertion below
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(list(objects.list())) == 20 + 8 * 20

    def test_processes(self, objects: Any, url: str) -> None:
        command = [sys.executable, "-c", _CHILD, url]
        children = [subprocess.Popen([*command, str(n)]) for n in range(3)]
        assert [child.wait(60) for child in children] == [0, 0, 0]
        stored = list(objects.list())
        assert len(stored) == 20 + 3 * 20
        for found in stored:
            objects.open(found.sha256, verify=True).close()

    def test_closed(self, url: str) -> None:
        store = storage_class(url)(url)
        stored = store.put(b"x")
        store.close()
        store.close()
        with pytest.raises(StoreClosed):
            store.put(b"y")
        with pytest.raises(StoreClosed):
            store.open(stored.sha256)
