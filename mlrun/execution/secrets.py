"""Secrets by reference: what is stored and travels is `env:NAME` or `file:PATH`; the value is read where it is used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlrun.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_references", "read_reference", "resolve_secret"]

_SCHEMES = ("env", "file", "k8s")


def check_references(given: Mapping[str, str] | None) -> dict[str, str]:
    """Return references to secrets by name.

    Raises:
        ConfigError: one is no reference; the message does not show it, since it may be the secret itself.
    """
    found = {str(k): v for k, v in (given or {}).items()}
    for name, reference in found.items():
        scheme, colon, rest = (
            reference.partition(":") if isinstance(reference, str) else ("", "", "")
        )
        if not colon or not rest or scheme not in _SCHEMES:
            raise ConfigError(
                f"secrets[{name!r}] is a reference, env:NAME, file:PATH or k8s:SECRET/KEY, never the secret itself"
            )
    return found


def read_reference(reference: str) -> str:
    """Return the secret that a reference means here.

    Args:
        reference: `env:NAME`, or `file:PATH` (its text, without the line's end). `k8s:SECRET/KEY` is put into the
            environment by Kubernetes, so it is looked up there under its key.

    Raises:
        NotFound: it is not there where the work runs.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "env" and rest in os.environ:
        return os.environ[rest]
    if scheme == "file":
        try:
            return Path(rest).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise NotFound(f"secret {reference!r}: {error.strerror or error}") from None
    key = rest.rpartition("/")[2]
    if scheme == "k8s" and key in os.environ:
        return os.environ[key]
    raise NotFound(f"secret {reference!r} is not there where the work runs")


def resolve_secret(
    key: str, references: Mapping[str, str], default: str | None = None
) -> str | None:
    """Return the secret of a name: what its reference means, else the environment's variable, else `default`.

    Raises:
        NotFound: there is a reference, and what it means is not there.
    """
    if key in references:
        return read_reference(references[key])
    return os.environ.get(key, default)
