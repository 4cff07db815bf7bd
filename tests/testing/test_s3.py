from __future__ import annotations

import urllib.error
from http.client import RemoteDisconnected
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mlrun.testing.s3 import S3Server

pytestmark = pytest.mark.s3


def test_every_bucket_is_empty_and_goes_with_its_objects(s3: S3Server) -> None:
    one, other = s3.bucket(), s3.bucket()
    s3.put(one, "a/b", b"x")
    assert (s3.keys(one), s3.keys(other)) == (["a/b"], [])
    s3.drop(one)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        s3.put(one, "a", b"x")
    s3.drop(other)


def test_requests_are_seen_and_disturbed(s3: S3Server, bucket: str) -> None:
    s3.calm()
    s3.fail(method="PUT", path="/victim$", how="503", times=1, skip=1)
    s3.put(bucket, "victim", b"x")
    with pytest.raises(urllib.error.HTTPError, match="503"):
        s3.put(bucket, "victim", b"x")
    s3.put(bucket, "victim", b"x")
    assert s3.requests() == [f"PUT /{bucket}/victim"] * 3


@pytest.mark.parametrize(("how", "stored"), [("cut", True), ("refuse", False)])
def test_an_answer_is_lost(s3: S3Server, bucket: str, how: str, stored: bool) -> None:
    s3.fail(path="/lost", how=how)
    with pytest.raises(RemoteDisconnected):
        s3.put(bucket, "lost", b"x")
    assert (s3.keys(bucket) == ["lost"]) is stored
