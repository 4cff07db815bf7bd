"""Credentials by reference: a URL travels without its secrets and finds them where it arrives.

A store that rides to a worker, or is shown in an error, carries its URL without the password. Where it is opened again
the password comes from this process, which had it, or from the settings there (`MLRUN_RECORDS_URL`, …) if they name the
same place. Where neither knows it, the database's own ways are left: for PostgreSQL, `PGPASSWORD` or a password file.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

__all__ = ["is_secret_option", "with_secrets", "without_secrets"]

_SECRET_OPTIONS = frozenset(
    {
        "account_key", "client_secret", "password", "sas_key", "secret_access_key", "service_account_key",
        "session_token", "sslpassword",
    }
)  # fmt: skip
_known: dict[str, str] = {}  # URL without secrets -> as it was given, in this process


def without_secrets(url: str) -> str:
    """Return the URL without password and secret options; what was left out is kept for `with_secrets`."""
    shown = _stripped(url)
    if shown != url:
        _known[shown] = url
    return shown


def with_secrets(url: str) -> str:
    """Return the URL with what `without_secrets` left out, if this process or its settings know it."""
    if _stripped(url) != url:
        return url
    if url in _known:
        return _known[url]
    from mlrun.config import settings

    here = settings()
    for given in (here.records_url, here.series_url, here.objects_url):
        if given and _stripped(given) == url:
            return given
        # series in a bucket go by the bucket's URL, too
        if given and f"delta+{_stripped(given)}" == url:
            return f"delta+{given}"
    return url


def is_secret_option(name: str) -> bool:
    """Tell whether an option of this name, in the query of a URL, is a credential."""
    from mlrun.redact import is_secret_name

    return name.lower() in _SECRET_OPTIONS or is_secret_name(name)


def _stripped(url: str) -> str:
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    kept = parts._replace(netloc=user.partition(":")[0] + at + place)
    options = parse_qsl(parts.query, keep_blank_values=True)
    public = [(k, v) for k, v in options if not is_secret_option(k)]
    if public != options:
        kept = kept._replace(query=urlencode(public))
    return url if kept == parts else urlunsplit(kept)
