from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.contracts import CanCheck, CanPresign, CanSweep
from mlrun.errors import ConfigError, NotFound, ObjectError, ObjectsUnreachable, StoreError
from mlrun.registry import storage_class
from mlrun.testing.objects import ObjectsConformance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlrun.testing.s3 import S3Server

pytestmark = pytest.mark.s3
_BIG = os.urandom(20 << 20)


class TestS3(ObjectsConformance):
    @pytest.fixture
    def url(self, s3_url: str) -> str:
        return s3_url


@pytest.fixture
def objects(s3_url: str) -> Iterator[Any]:
    with closing(storage_class(s3_url)(s3_url)) as store:
        yield store


@pytest.fixture
def hasty(s3_url: str) -> Iterator[Any]:
    """Give up after two tries."""
    with closing(storage_class(s3_url)(f"{s3_url}&retries=1")) as store:
        yield store


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def key(data: bytes) -> str:
    return f"some/folder/{sha(data)[:2]}/{sha(data)}"


def test_the_layout_is_that_of_a_folder_of_objects(objects: Any, s3: S3Server, bucket: str) -> None:
    stored = objects.put(b"abc")
    assert s3.keys(bucket) == [key(b"abc")]
    assert stored.uri == f"objects/{stored.sha256[:2]}/{stored.sha256}"
    assert isinstance(objects, CanSweep)
    assert isinstance(objects, CanCheck)
    assert isinstance(objects, CanPresign)


def test_the_environment_says_where_and_who(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    with closing(storage_class("s3:")(f"s3://{bucket}")) as store:
        store.put(b"abc")
        store.put(io.BytesIO(_BIG))
        assert store.sweep([], older_s=0) == (2, 3 + len(_BIG))
    assert s3.keys(bucket) == []


# -- large ones ------------------------------------------------------------------------------------


def test_a_large_file_goes_in_parts_and_comes_back(
    objects: Any, s3: S3Server, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(_BIG)
    s3.calm()
    stored = objects.put(tmp_path / "big")
    assert sum("partNumber" in r for r in s3.requests()) == 3
    assert (stored.sha256, stored.size) == (sha(_BIG), len(_BIG))
    assert objects.path(stored.sha256).read_bytes() == _BIG
    s3.calm()
    assert objects.put(tmp_path / "big") == stored
    assert not any("partNumber" in r for r in s3.requests())


def test_a_very_large_object_is_read_where_it_is(
    objects: Any, monkeypatch: pytest.MonkeyPatch, s3: S3Server
) -> None:
    monkeypatch.setattr("mlrun.storage.objectstore._KEPT", 1 << 20)
    stored = objects.put(_BIG)
    with objects.open(stored.sha256) as file:
        assert file.read(10) == _BIG[:10]
        file.seek(-10, os.SEEK_END)
        assert file.read() == _BIG[-10:]
        file.seek(12_345_678)
        assert file.read(5_000_000) == _BIG[12_345_678:17_345_678]
    with objects.open(stored.sha256, verify=True) as file:
        assert file.read() == _BIG


# -- faults ----------------------------------------------------------------------------------------

_CHILD = """
import sys
from pathlib import Path
from mlrun.registry import storage_class
storage_class(sys.argv[1])(sys.argv[1]).put(Path(sys.argv[2]))
"""


def test_a_killed_put_leaves_no_name_and_what_it_left_is_swept(
    objects: Any, s3_url: str, s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(_BIG)
    s3.fail(method="PUT", path="partNumber=2", how="503", times=1000)
    child = subprocess.Popen([sys.executable, "-c", _CHILD, s3_url, str(tmp_path / "big")])
    while not any("partNumber=2" in r for r in s3.requests()):
        assert child.poll() is None
        time.sleep(0.02)
    child.kill()
    child.wait()
    s3.calm()
    assert (s3.keys(bucket), s3.uploads(bucket)) == ([], [key(_BIG)])
    assert list(objects.list()) == []
    objects.sweep([], older_s=60)  # to this server every upload began years ago
    assert s3.uploads(bucket) == []
    assert objects.put(tmp_path / "big").sha256 == sha(_BIG)


def test_uploads_of_other_folders_are_left_alone(
    objects: Any, s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    from mlrun.storage.objectuploads import unfinished

    (tmp_path / "big").write_bytes(_BIG)
    url = s3.url(bucket, "some/fold")
    s3.fail(method="PUT", path="partNumber=1", how="503", times=1000)
    child = subprocess.Popen([sys.executable, "-c", _CHILD, url, str(tmp_path / "big")])
    while not any("partNumber" in r for r in s3.requests()):
        assert child.poll() is None
        time.sleep(0.02)
    child.kill()
    child.wait()
    s3.calm()
    objects.sweep([], older_s=0)
    with closing(storage_class(url)(url)) as other:
        (left,) = unfinished(other._at)
        assert left.key.startswith("some/fold/")
        other.sweep([], older_s=0)
        assert unfinished(other._at) == []


@pytest.mark.parametrize("how", ["503", "500", "cut", "refuse"])
@pytest.mark.parametrize("data", [b"small", _BIG], ids=["small", "big"])
def test_a_request_that_fails_is_tried_again(
    objects: Any, s3: S3Server, bucket: str, how: str, data: bytes
) -> None:
    s3.fail(method="PUT", path=sha(data), how=how, times=2)
    assert objects.put(data).sha256 == sha(data)
    assert [k for k in s3.keys(bucket) if "touched" not in k] == [key(data)]
    with objects.open(sha(data), verify=True) as file:
        assert file.read() == data


def test_a_bucket_that_fails_on_and_on_is_an_error_and_nothing_is_left(
    hasty: Any, s3: S3Server, bucket: str
) -> None:
    s3.fail(method="PUT", path="partNumber=3", how="500", times=1000)
    with pytest.raises(ObjectError, match=r"cannot store objects of s3://.*500"):
        hasty.put(_BIG)
    assert (s3.keys(bucket), s3.uploads(bucket)) == ([], [])
    s3.fail(path="", how="403", times=1000)
    for call in (
        lambda: hasty.put(b"x"),
        lambda: hasty.open(sha(b"x")),
        lambda: list(hasty.list()),
    ):
        with pytest.raises(ObjectError, match="403"):
            call()


def test_a_bucket_that_is_not_there_is_named(s3: S3Server) -> None:
    url = s3.url("not-made", "x")
    with closing(storage_class(url)(url)) as store:
        for data in (b"x", _BIG):
            with pytest.raises(ObjectsUnreachable, match="there is no bucket 'not-made'"):
                store.put(data)
        with pytest.raises(ObjectsUnreachable, match="there is no bucket 'not-made'"):
            list(store.list())


def test_a_sweep_needs_no_right_to_list_uploads(objects: Any, s3: S3Server, bucket: str) -> None:
    objects.put(b"spare")
    s3.fail(method="GET", path="uploads=", how="403", times=1000)
    assert objects.sweep([], older_s=0) == (1, 5)
    assert [f.severity for f in objects.check()] == ["note"]


def test_a_file_that_changes_while_it_is_stored_is_refused(
    objects: Any, s3: S3Server, bucket: str
) -> None:
    for data in (b"first", _BIG):
        with pytest.raises(ObjectError, match="changed"):
            objects._put_file(io.BytesIO(data), sha(data + b"!"), len(data))
    assert (s3.keys(bucket), s3.uploads(bucket)) == ([], [])


def test_a_download_goes_on_where_it_broke(objects: Any, s3: S3Server) -> None:
    stored = objects.put(_BIG)
    s3.calm()
    s3.fail(method="GET", path=stored.sha256, how="half", times=2)
    assert objects.path(stored.sha256).read_bytes() == _BIG
    assert sum(r.startswith("GET") for r in s3.requests()) == 3


def test_damage_is_found_and_healed(objects: Any, s3: S3Server, bucket: str) -> None:
    stored = objects.put(b"right")
    other = objects.put(b"fine")
    s3.put(bucket, key(b"right"), b"wrong")
    with pytest.raises(ObjectError, match="another hash"):
        objects.open(stored.sha256, verify=True)
    with pytest.raises(ObjectError, match="another hash"):
        objects.path(stored.sha256)
    (found,) = objects.check()
    assert (found.severity, found.where) == ("lost", stored.uri)
    objects.check(repair=True)
    assert [o.sha256 for o in objects.list()] == [other.sha256]
    assert objects.put(b"right") == stored
    assert objects.path(stored.sha256).read_bytes() == b"right"
    assert objects.check() == []


def test_an_object_of_another_size_is_replaced_by_a_put(
    objects: Any, s3: S3Server, bucket: str
) -> None:
    s3.put(bucket, key(b"right"), b"cut sho")
    stored = objects.put(b"right")
    with objects.open(stored.sha256, verify=True) as file:
        assert file.read() == b"right"


def test_a_forked_child_is_refused_and_does_not_hang(objects: Any) -> None:
    stored = objects.put(b"x")
    pid = os.fork()
    if not pid:
        try:
            objects.put(b"y")
        except StoreError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert objects.path(stored.sha256).read_bytes() == b"x"


# -- sweeping --------------------------------------------------------------------------------------


def test_what_nothing_names_is_swept_once_it_is_old(
    objects: Any, s3: S3Server, bucket: str
) -> None:
    kept, spare = objects.put(b"kept"), objects.put(b"spare")
    young = objects.put(b"young")
    s3.age(bucket, 7200, key(b"kept"))
    s3.age(bucket, 7200, key(b"spare"))
    assert objects.sweep({kept.sha256}, older_s=3600) == (1, 5)
    assert {o.sha256 for o in objects.list()} == {kept.sha256, young.sha256}
    assert objects.put(b"spare") == spare
    assert not [k for k in s3.keys(bucket) if "sweeping" in k]


def test_an_old_object_that_is_put_again_is_young(objects: Any, s3: S3Server, bucket: str) -> None:
    objects.put(b"again")
    s3.age(bucket, 7200)
    objects.put(b"again")
    assert objects.sweep([], older_s=3600) == (0, 0)
    s3.age(bucket, 7200)
    assert objects.sweep([], older_s=3600) == (1, 5)
    assert s3.keys(bucket) == []


def test_what_a_put_returned_for_is_there_whatever_is_swept_meanwhile(
    s3_url: str, s3: S3Server, bucket: str
) -> None:
    stop = threading.Event()
    lost: list[bytes] = []
    failures: list[BaseException] = []

    def put(item: bytes) -> None:
        try:
            with closing(storage_class(s3_url)(s3_url)) as store:
                for _ in range(8):
                    store.put(item)
                    if key(item) not in s3.keys(bucket):
                        lost.append(item)
                    for name in s3.keys(bucket):
                        if sha(item) in name:
                            s3.age(bucket, 7200, name)  # from now on it may go
        except BaseException as error:  # noqa: BLE001 - raised by the assertion
            failures.append(error)

    def sweep() -> None:
        try:
            with closing(storage_class(s3_url)(s3_url)) as store:
                while not stop.is_set():
                    store.sweep([], older_s=3600)
                    stop.wait(0.02)
        except BaseException as error:  # noqa: BLE001 - raised by the assertion
            failures.append(error)

    putters = [threading.Thread(target=put, args=(b"%d" % n,)) for n in range(3)]
    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in [*putters, *sweepers]:
        thread.start()
    for thread in putters:
        thread.join()
    stop.set()
    for thread in sweepers:
        thread.join()
    assert failures == []
    assert lost == []


# -- credentials -----------------------------------------------------------------------------------


def test_no_secret_is_shown_pickled_or_told(s3: S3Server, bucket: str, s3_url: str) -> None:
    secret = s3_url.rpartition("secret_access_key=")[2]
    assert len(secret) > 8
    store = storage_class(s3_url)(s3_url)
    assert secret not in repr(store)
    assert secret not in store.url
    assert secret.encode() not in pickle.dumps(store)
    assert secret not in repr(store._at)
    wrong = storage_class(s3_url)(s3_url.replace(bucket, f"{bucket}-not") + "&retries=0")
    with pytest.raises(ObjectError) as told:
        wrong.put(b"x")
    assert secret not in f"{told.value!r} {told.value.__cause__!r}"
    store.close()


def test_a_pickle_finds_its_credentials_in_the_settings_of_where_it_arrives(s3_url: str) -> None:
    code = """
import pickle, sys
store = pickle.loads(bytes.fromhex(sys.argv[1]))
print(store.put(b"from afar").size)
"""
    with closing(storage_class(s3_url)(s3_url)) as store:
        pickled = pickle.dumps(store).hex()
        environment = {**os.environ, "MLRUN_OBJECTS_URL": s3_url}
        done = subprocess.run(
            [sys.executable, "-c", code, pickled],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "9\n"
        assert store.path(sha(b"from afar")).read_bytes() == b"from afar"


def test_presigned_urls_read_and_write_without_credentials(objects: Any) -> None:
    url = objects.presign(sha(b"by url"), put=True)
    urllib.request.urlopen(urllib.request.Request(url, data=b"by url", method="PUT")).close()
    stored = objects.put(b"by url")
    with urllib.request.urlopen(objects.presign(stored.sha256, expires_s=60)) as answer:
        assert answer.read() == b"by url"
    with pytest.raises(NotFound):
        objects.presign("../other")


# -- URLs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://", "form"),
        ("s3://b", "form"),
        ("s3://key:secret@bucket/x", "form"),
        ("s3://bucket/a/../b", "letters"),
        ("s3://bucket/a//b", "letters"),
        ("s3://bucket/a b", "letters"),
        ("s3://bucket/a?regoin=x", "did you mean 'region'"),
        ("gs://bucket?account_key=x", "no option"),
        ("s3://bucket?retries=many", "whole number"),
    ],
)
def test_a_wrong_url_is_told(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as told:
        storage_class(url)(url).put(b"x")
    assert "secret@" not in str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        "gs://bucket/folder?service_account_key=c2VjcmV0&skip_signature=true",
        "az://container/folder?account_name=me&account_key=c2VjcmV0",
        "az://container/folder?account_name=me&sas_key=sv%3D2022%26sig%3Dc2VjcmV0",
    ],
)
def test_other_providers_are_made_and_hide_their_keys(url: str) -> None:
    with closing(storage_class(url)(url)) as store:
        assert "c2VjcmV0" not in f"{store!r} {store.url} {pickle.dumps(store)!r}"
        if "service_account_key" not in url:
            assert "c2VjcmV0" not in repr(store._store)
