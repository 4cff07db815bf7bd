"""Where objects lie in a bucket: `s3://bucket/folder?options`, `gs://…`, `az://container/…`, and how to reach it.

What a URL does not say is taken from the environment, by the names that each provider's own tools use (`AWS_*`,
`GOOGLE_*`, `AZURE_*`), or from the role of the machine. Options of a URL, all of them optional:

every scheme
    `allow_http`, `timeout` (of one request, `300s`), `connect_timeout`, `retries` (8)
`s3`
    `endpoint`, `region`, `access_key_id`, `secret_access_key`, `session_token`, `skip_signature`,
    `virtual_hosted_style_request`, `request_payer`, `server_side_encryption`, `sse_kms_key_id`, `disable_bulk_delete`,
    `checksum` (`sha256`; `none` for a server that does not know it)
`gs`
    `service_account` (file), `service_account_key`, `application_credentials`, `base_url`, `skip_signature`
`az`
    `account_name`, `account_key`, `sas_key`, `client_id`, `client_secret`, `tenant_id`, `endpoint`, `use_emulator`
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from mlrun.credentials import is_secret_option, with_secrets, without_secrets
from mlrun.errors import ConfigError, StoreError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ObjectPlace", "first_line", "refuse_fork"]

_OURS = frozenset({"retries", "checksum"})
_CLIENT = frozenset({"allow_http", "timeout", "connect_timeout"})
_OPTIONS = {
    "s3": {
        "endpoint", "region", "access_key_id", "secret_access_key", "session_token", "skip_signature",
        "virtual_hosted_style_request", "request_payer", "server_side_encryption", "sse_kms_key_id",
        "disable_bulk_delete",
    },
    "gs": {
        "service_account", "service_account_key", "application_credentials", "base_url", "skip_signature",
    },
    "az": {
        "account_name", "account_key", "sas_key", "client_id", "client_secret", "tenant_id", "endpoint",
        "use_emulator",
    },
}  # fmt: skip
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_FOLDER = re.compile(
    r"[A-Za-z0-9!_.*'()=+/-]*"
)  # names that every store and tool takes as they are
_RETRIES = 8
_TIMEOUT = "300s"  # of one request; a part of a large upload is one
_first_pid = 0  # the process in which obstore's threads were started


@dataclass(frozen=True)
class ObjectPlace:
    """A folder in a bucket.

    Attributes:
        url: without secrets.
        scheme: `s3`, `gs` or `az`.
        bucket: bucket, or container.
        folder: without slashes at its ends; may be empty.
        options: as the URL gave them; secrets are in here, so that it is never shown.
    """

    url: str
    scheme: str
    bucket: str
    folder: str
    options: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> ObjectPlace:
        """Take a URL apart; what `without_secrets` left out is put back.

        Raises:
            ConfigError: it is no URL of an object store, or has an option that nobody knows.
        """
        full = with_secrets(url)
        parts = urlsplit(full)
        # without options: one that nobody knows may be a misspelt secret
        shown = without_secrets(parts._replace(query="").geturl())
        known = _OPTIONS.get(parts.scheme)
        folder = parts.path.strip("/")
        if known is None or not _BUCKET.fullmatch(parts.netloc):
            raise ConfigError(f"an object store has the form s3://bucket/folder, not {shown!r}")
        odd = folder and {"", ".", ".."}.intersection(folder.split("/"))
        if odd or not _FOLDER.fullmatch(folder):
            raise ConfigError(
                f"{shown!r}: a folder in a bucket is made of letters, digits and !_.*'()=+-"
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        known = known | _OURS | _CLIENT
        for name in options:
            if name not in known:
                raise ConfigError(f"{shown!r}: no option {name!r}{did_you_mean(name, known)}")
        return cls(without_secrets(full), parts.scheme, parts.netloc, folder, options)

    @property
    def name(self) -> str:
        """The URL without options, for messages."""
        return f"{self.scheme}://{self.bucket}/{self.folder}".rstrip("/")

    def open(self, *folders: str) -> Any:
        """Return obstore's handle of the folder, or of one below it; nothing is asked of the network yet."""
        from obstore.store import AzureStore, GCSStore, S3Store

        _mark_process()
        config: dict[str, Any] = {
            name: value
            for name, value in self.options.items()
            if name in _OPTIONS[self.scheme] and value
        }
        if self.scheme == "s3" and self.options.get("checksum", "sha256") != "none":
            config["checksum_algorithm"] = self.options.get("checksum", "sha256")
        made = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[self.scheme]
        prefix = "/".join(filter(None, (self.folder, *folders)))
        try:
            return made(
                self.bucket,
                prefix=prefix or None,
                client_options=self._client(),
                retry_config=self._retry(),
                **config,
            )
        except Exception as error:  # noqa: BLE001 - of every kind: a wrong number, a key file that is not there
            raise ConfigError(f"{self.url!r}: {self.clean(error)}") from None

    def delta_options(self) -> dict[str, str]:
        """Return the same settings as deltalake and Polars take them."""
        out = {
            name: value
            for name, value in self.options.items()
            if name in _OPTIONS[self.scheme] | {"allow_http", "connect_timeout"} and value
        }
        return {**out, "timeout": self.options.get("timeout", _TIMEOUT)}

    def number(self, option: str, default: int) -> int:
        """Return an option that is a whole number.

        Raises:
            ConfigError: it is none.
        """
        given = self.options.get(option, "")
        if given and not given.isdecimal():
            raise ConfigError(f"{self.url!r}: {option} is a whole number")
        return int(given) if given else default

    def clean(self, error: BaseException) -> str:
        """Return what an error says in one line, without credentials."""
        if "NoSuchBucket" in str(error):
            return f"there is no bucket {self.bucket!r}"
        text = first_line(error)
        for name, value in self.options.items():
            if value and is_secret_option(name):
                text = text.replace(value, "***")
        return text

    def _client(self) -> dict[str, Any]:
        given: dict[str, Any] = {n: self.options[n] for n in _CLIENT if self.options.get(n)}
        # obstore takes this from the environment only if no other option of the client is given
        plain = given.get("allow_http") or os.environ.get("AWS_ALLOW_HTTP", "")
        given["allow_http"] = plain.lower() in {"1", "true", "yes", "on"}
        return {"timeout": _TIMEOUT, **given}

    def _retry(self) -> dict[str, Any]:
        return {
            "max_retries": self.number("retries", _RETRIES),
            "retry_timeout": timedelta(seconds=60),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        }


def first_line(error: BaseException) -> str:
    """Return the part of an error of obstore that is for people, redacted."""
    from mlrun.redact import redact_text

    lines = str(error).strip().splitlines() or [type(error).__name__]
    return redact_text(lines[0].strip()[:500])


def refuse_fork() -> None:
    """Raise in a forked child of a process that used an object store: there its threads are gone, and calls hang.

    Raises:
        StoreError: this is such a child.
    """
    if _first_pid not in (0, os.getpid()):
        raise StoreError(
            "object stores cannot be used in a forked child of a process that used them: "
            'start it with the "spawn" or "forkserver" method'
        )


def _mark_process() -> None:
    global _first_pid  # the threads are the process's
    refuse_fork()
    _first_pid = os.getpid()
