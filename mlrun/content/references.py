"""URLs as artifacts: recorded, not fetched; read when somebody asks for the bytes."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlrun.errors import ObjectError
from mlrun.redact import redact_text, redact_url

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["Reference", "is_url", "local_path", "open_url"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_CLOUD = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
_TIMEOUT = 60.0  # seconds without a byte


class Reference:
    """Content that lies elsewhere.

    Attributes:
        url: what is stored: the URL without passwords and signatures.
        redacted: whether something was taken out of it.
        key: the last part of its path, or its host.
        sha256: the hash of the URL: it stands for content that is not here.
    """

    def __init__(self, url: str) -> None:
        self.url = redact_url(url)
        self.redacted = self.url != url
        parts = urlsplit(self.url)
        self.key = unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.netloc
        self.suffix = self.key.rpartition(".")[2].lower() if "." in self.key else ""
        self.sha256 = hashlib.sha256(self.url.encode("utf-8", "replace")).hexdigest()


def is_url(text: str) -> bool:
    """Whether this names something outside the file system; `file://` does not.

    Example:
        >>> [is_url(t) for t in ("s3://bucket/a", "file:///tmp/a", "C:/a", "data/a")]
        [True, False, False, False]
    """
    return bool(_SCHEME.match(text)) and not text.lower().startswith("file://")


def local_path(text: str) -> str:
    """Return the path of a `file://` URL; any other text as it is."""
    if text.lower().startswith("file://"):
        parts = urlsplit(text)
        if parts.netloc not in {"", "localhost"}:
            raise ObjectError(f"{text!r} is on another host: a file URL has three slashes")
        return unquote(parts.path)
    return text


def open_url(url: str) -> BinaryIO:
    """Open a URL for reading: http(s) with the standard library, object stores with the environment's credentials.

    Raises:
        ObjectError: it cannot be read, or its scheme is none of these.
    """
    scheme = urlsplit(url).scheme.lower()
    if scheme in {"http", "https"}:
        return _open_http(url)
    if scheme in _CLOUD:
        return _open_cloud(url)
    raise ObjectError(
        f"an artifact at {scheme}:// can be recorded, not read; fetch {redact_url(url)!r} yourself"
    )


def _open_http(url: str) -> BinaryIO:
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        # redirects stay on http, https and ftp: urllib refuses file: and others
        response: BinaryIO = urlopen(url, timeout=_TIMEOUT)
    except (OSError, ValueError, HTTPException) as error:
        close = getattr(error, "close", None)  # an HTTP error is an open response
        if close is not None:
            close()
        raise ObjectError(redact_text(f"cannot read {redact_url(url)}: {error}")) from error
    return response


def _open_cloud(url: str) -> BinaryIO:
    import io

    import obstore
    from obstore.store import from_url

    parts = urlsplit(url)
    try:
        store = from_url(f"{parts.scheme}://{parts.netloc}")
        return io.BytesIO(bytes(obstore.get(store, unquote(parts.path).lstrip("/")).bytes()))
    except Exception as error:
        raise ObjectError(redact_text(f"cannot read {redact_url(url)}: {error}")) from error
