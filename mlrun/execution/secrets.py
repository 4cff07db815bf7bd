"""Secrets by reference: what is stored and travels is `env:NAME`, `file:PATH` or `secret:PROJECT/NAME`.

The value is read where it is used; that of `secret:` is handed out by the store, to a run of that project.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlrun.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.store import Store

__all__ = ["STORED", "check_references", "is_reference", "read_reference", "resolve_secret"]

STORED = "secret"
_SCHEMES = ("env", "file", "k8s", STORED)


def is_reference(text: object) -> bool:
    """Whether this says where a secret is, and is none itself.

    Example:
        >>> [is_reference(text) for text in ("env:TOKEN", "secret:digits/TOKEN", "hunter2")]
        [True, True, False]
    """
    scheme, colon, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    return bool(colon and rest) and scheme in _SCHEMES


def check_references(given: Mapping[str, str] | None) -> dict[str, str]:
    """Return references to secrets by name.

    Raises:
        ConfigError: one is no reference; the message does not show it, since it may be the secret itself.
    """
    found = {str(k): v for k, v in (given or {}).items()}
    for name, reference in found.items():
        if not is_reference(reference):
            raise ConfigError(
                f"secrets[{name!r}] is a reference, env:NAME, file:PATH, k8s:SECRET/KEY or secret:PROJECT/NAME, "
                "never the secret itself"
            )
    return found


def read_reference(reference: str, run: tuple[Store | None, str] | None = None) -> str:
    """Return the secret that a reference means here.

    Args:
        reference: `env:NAME`, or `file:PATH` (its text, without the line's end). `k8s:SECRET/KEY` is put into the
            environment by Kubernetes, so it is looked up there under its key. `secret:PROJECT/NAME` is asked of the
            store, for a run of that project.
        run: which run asks: its store and its id.

    Raises:
        NotFound: it is not there where the work runs, or it is the store's, and no run of its project asks.
        AccessDenied: the caller may not write to that project.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == STORED:
        return _stored(reference, run)
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


def _stored(reference: str, run: tuple[Store | None, str] | None) -> str:
    from mlrun.project.secretstore import secrets_of_run
    from mlrun.tracking.resume import find_stored

    store, run_id = run or (None, "")
    if store is None:
        raise NotFound(f"secret {reference!r} is handed to runs only, and none asks")
    project, _, name = reference.partition(":")[2].rpartition("/")
    found = find_stored(store, run_id)
    if project and (found or {}).get("project") != project:
        raise NotFound(f"secret {reference!r} is handed to runs of that project only")
    return secrets_of_run(store, run_id, [name])[name]


def resolve_secret(
    key: str,
    references: Mapping[str, str],
    default: str | None = None,
    run: tuple[Store | None, str] | None = None,
) -> str | None:
    """Return the secret of a name: what its reference means, else the environment's variable, else `default`.

    Raises:
        NotFound: there is a reference, and what it means is not there.
    """
    if key in references:
        return read_reference(references[key], run)
    return os.environ.get(key, default)
