"""Secrets of projects that a store keeps, encrypted: set and named by people, handed to runs that ask.

Beside a store they are encrypted and decrypted here, over a gateway there: then no key of them is on this host.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from mlrun.errors import MissingExtra, NotFound
from mlrun.names import clean_text
from mlrun.redact import hide_value
from mlrun.registry import app_entry
from mlrun.wire import DELETE_SECRET, JSON, RUN_SECRETS, SECRETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from mlrun.store import Store

__all__ = [
    "delete_secret",
    "new_secrets_key",
    "rotate_secrets",
    "secret_names",
    "secrets_of_run",
    "store_secrets",
]


def store_secrets(store: Store, project: str, values: Mapping[str, str]) -> None:
    """Encrypt and store secrets of a project; those of other names stay.

    Raises:
        ConfigError: a name or value that cannot be; the value is not shown.
        AccessDenied: the caller is no editor of the project.
        StoreError: the key of the secrets is not where it should be.
    """
    shown = clean_text(project)[0]
    for value in values.values():
        if isinstance(value, str):
            hide_value(value)
    http = _http(store)
    if http is None:
        _desk(store).set(shown, values, user="local")
    else:
        _send(http, "PUT", SECRETS, {"project": shown, "secrets": dict(values)})


def secret_names(store: Store, project: str) -> pl.DataFrame:
    """Return which secrets a project has: `name, key_id, user, updated_at`; never what they are."""
    import polars as pl

    shown = clean_text(project)[0]
    http = _http(store)
    rows = (
        _desk(store).names(shown)
        if http is None
        else _send(http, "GET", f"{SECRETS}?{urlencode({'project': shown})}")["secrets"]
    )
    schema: dict[str, Any] = {
        "name": pl.String, "key_id": pl.String, "user": pl.String, "updated_at": pl.Int64,
    }  # fmt: skip
    told = [{c: row[c] for c in schema} for row in rows]
    found = pl.DataFrame(told, schema=schema, orient="row")
    return found.with_columns(pl.col("updated_at").cast(pl.Datetime("us", "UTC")))


def delete_secret(store: Store, project: str, name: str) -> None:
    """Forget a secret; NotFound if there is none of that name."""
    shown = clean_text(project)[0]
    http = _http(store)
    if http is None:
        _desk(store).delete(shown, name)
    else:
        _send(http, "POST", DELETE_SECRET, {"project": shown, "name": name})


def secrets_of_run(store: Store, run_id: str, names: Sequence[str]) -> dict[str, str]:
    """Return secrets of a run's project in clear, by name; they are hidden in errors and lines from then on.

    Raises:
        NotFound: there is no such run, or its project has no secret of a name.
        AccessDenied: the caller may not write to the run's project.
    """
    http = _http(store)
    if http is None:
        from mlrun.tracking.resume import find_stored

        row = find_stored(store, run_id)
        if row is None:
            raise NotFound(f"no run {run_id!r}: secrets are handed to runs only")
        found: dict[str, str] = _desk(store).read(row["project"], names)
    else:
        store.flush_records()  # the run itself may be on its way
        asked = {"run_id": run_id, "names": list(names)}
        found = _send(http, "POST", RUN_SECRETS, asked)["secrets"]
    for value in found.values():
        hide_value(value)
    return found


def rotate_secrets(store: Store) -> int:
    """Encrypt by the newest key what was encrypted by others; returns how many secrets that were."""
    count: int = _desk(store).rotate()
    return count


def new_secrets_key() -> str:
    """Return a key as `MLRUN_SECRETS_KEY` takes it."""
    key: str = _entry().new_key()
    return key


def _http(store: Store) -> Any:
    return getattr(getattr(store, "gateway", None), "http", None)


def _entry() -> Any:
    try:
        import cryptography  # noqa: F401  told before something is half done
    except ModuleNotFoundError as error:
        raise MissingExtra.of("cryptography", "server") from error
    return app_entry("project-secrets")


def _desk(store: Store) -> Any:
    return _entry()(store.records)


def _send(http: Any, method: str, path: str, body: Any = None) -> dict[str, Any]:
    text = b"" if body is None else json.dumps(body).encode()
    reply = http.send(method, path, text, {"Content-Type": JSON})
    found: dict[str, Any] = json.loads(reply.body)
    return found
