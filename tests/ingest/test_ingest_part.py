from __future__ import annotations

import zlib

import pytest

from mlrun.app.ingest_part import unpacked
from mlrun.errors import UploadRefused
from mlrun.journal.upload import MAX_BYTES


def test_a_packed_body_comes_back() -> None:
    data = bytes(range(256)) * 100
    assert bytes(unpacked(bytearray(zlib.compress(data, 1)), "deflate")) == data
    assert bytes(unpacked(bytearray(data), "identity")) == data


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"abc", "deflate"),
        (zlib.compress(b"abc" * 1000)[:-3], "deflate"),
        (zlib.compress(b"abc") + b"more", "deflate"),
        (b"abc", "gzip"),
        (b"abc", "br"),
    ],
    ids=["no deflate", "cut", "more behind it", "gzip", "br"],
)
def test_what_cannot_be_unpacked_is_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(UploadRefused):
        unpacked(bytearray(body), encoding)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zlib.compress(bytes(MAX_BYTES * 2), 9)
    assert len(bomb) < 200_000
    with pytest.raises(UploadRefused, match="larger"):
        unpacked(bytearray(bomb), "deflate")
