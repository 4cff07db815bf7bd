"""Credentials by reference: a URL travels without its secrets and finds them where it arrives.

A store that rides to a worker, or is shown in an error, carries its URL without the password. Where it is opened again
the password comes from this process, which had it, or from the settings there (`MLRUN_RECORDS_URL`, …) if they name the
same place. Where neither knows it, the database's own ways are left: for PostgreSQL, `PGPASSWORD` or a password file.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

__all__ = ["with_secrets", "without_secrets"]

_SECRET_OPTIONS = frozenset({"password", "sslpassword", "secret_access_key", "session_token"})
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
    return url


def _stripped(url: str) -> str:
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    kept = parts._replace(netloc=user.partition(":")[0] + at + place)
    options = parse_qsl(parts.query, keep_blank_values=True)
    public = [(k, v) for k, v in options if k.lower() not in _SECRET_OPTIONS]
    if public != options:
        kept = kept._replace(query=urlencode(public))
    return url if kept == parts else urlunsplit(kept)
