"""Uploads to S3 that nobody finished: a killed `put` of a large object leaves its parts, hidden and paid for.

obstore can neither list nor end them, so the two requests are signed here (AWS signature, version 4). That needs keys
in the URL or the environment. A machine that is known by its role gets no keys from us: there a lifecycle rule of the
bucket (`AbortIncompleteMultipartUpload`) does the same, and is good to have anyhow.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from mlrun.errors import ObjectsUnreachable

if TYPE_CHECKING:
    from .objectplace import ObjectPlace

__all__ = ["Upload", "abort", "unfinished"]

_TIMEOUT = 30.0
_EMPTY = hashlib.sha256(b"").hexdigest()


class Upload(NamedTuple):
    """One unfinished upload: full name of its object, its id, and when it began (Unix seconds)."""

    key: str
    id: str
    begun: float


def unfinished(place: ObjectPlace) -> list[Upload]:
    """Return the unfinished uploads below a folder; none where there are no keys to ask with.

    Raises:
        ObjectsUnreachable: the bucket does not answer, or refuses.
    """
    if place.scheme != "s3" or _keys(place) is None:
        return []  # Google and Azure forget them by themselves
    found: list[Upload] = []
    after: dict[str, str] = {}
    while True:
        prefix = f"{place.folder}/" if place.folder else ""
        tree = ElementTree.fromstring(
            _ask(place, "GET", "", {"uploads": "", "prefix": prefix, **after})
        )
        for entry in tree.findall("{*}Upload"):
            begun = datetime.fromisoformat(
                entry.findtext("{*}Initiated", "").replace("Z", "+00:00")
            )
            found.append(
                Upload(
                    entry.findtext("{*}Key", ""),
                    entry.findtext("{*}UploadId", ""),
                    begun.timestamp(),
                )
            )
        if tree.findtext("{*}IsTruncated", "false") != "true":
            return found
        after = {
            "key-marker": tree.findtext("{*}NextKeyMarker", ""),
            "upload-id-marker": tree.findtext("{*}NextUploadIdMarker", ""),
        }


def abort(place: ObjectPlace, upload: Upload) -> None:
    """Free the parts of an upload; nothing happens if it is done or gone meanwhile."""
    _ask(place, "DELETE", upload.key, {"uploadId": upload.id})


def _keys(place: ObjectPlace) -> tuple[str, str, str] | None:
    names = ("access_key_id", "secret_access_key", "session_token")
    found = [place.options.get(name, "") for name in names]
    if not found[0]:  # a token belongs to the key that it came with
        found = [os.environ.get(f"AWS_{name.upper()}", "") for name in names]
    key, secret, token = found
    return (key, secret, token) if key and secret else None


def _region(place: ObjectPlace) -> str:
    named = (os.environ.get(n) for n in ("AWS_REGION", "AWS_DEFAULT_REGION"))
    return place.options.get("region") or next(filter(None, named), "us-east-1")


def _endpoint(place: ObjectPlace) -> str:
    named = (os.environ.get(n) for n in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
    default = f"https://s3.{_region(place)}.amazonaws.com"
    return (place.options.get("endpoint") or next(filter(None, named), default)).rstrip("/")


def _ask(place: ObjectPlace, method: str, key: str, query: dict[str, str]) -> bytes:
    base = urlsplit(_endpoint(place))
    path = "/".join(filter(None, (base.path.rstrip("/"), place.bucket, quote(key))))
    path = path if path.startswith("/") else f"/{path}"
    if place.options.get("virtual_hosted_style_request", "").lower() == "true":
        path = f"/{quote(key)}"  # the endpoint names the bucket
    asked = urlencode(sorted(query.items()), quote_via=quote, safe="-_.~")
    headers = _signed(place, method, base.netloc, path, asked)
    make = HTTPSConnection if base.scheme == "https" else HTTPConnection
    connection = make(base.netloc, timeout=_TIMEOUT)
    try:
        connection.request(method, f"{path}?{asked}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException) as error:
        raise ObjectsUnreachable(f"{place.name} does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status >= 300 and not (method == "DELETE" and answer.status == 404):
        raise ObjectsUnreachable(
            f"{place.name} does not tell of unfinished uploads: {answer.status} {answer.reason}"
        )
    return body


def _signed(place: ObjectPlace, method: str, host: str, path: str, query: str) -> dict[str, str]:
    """Return the headers of a request without a body, signed."""
    keys = _keys(place)
    assert keys is not None
    key, secret, token = keys
    now = datetime.now(UTC)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": host, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}
    if token:
        headers["x-amz-security-token"] = token
    names = ";".join(sorted(headers))
    listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = "\n".join((method, path, query, listed, names, _EMPTY))
    scope = f"{day}/{_region(place)}/s3/aws4_request"
    text = "\n".join(
        ("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest())
    )
    signing = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    signature = hmac.digest(signing, text.encode(), "sha256").hex()
    credential = f"Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {credential}"}
