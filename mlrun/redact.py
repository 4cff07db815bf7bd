"""Take secrets out of text that mlrun stores or shows: command lines, URLs, messages.

Three nets, each catching what slips through the others: a *name* that says secret (`--api-key`, `password=`), a *shape*
that only credentials have (`ghp_…`, a JWT, the user part of a URL), and the *values* of environment variables whose
names say secret. When in doubt a value is hidden: a lost word on a command line costs less than a leaked key.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "HIDDEN",
    "hide_value",
    "is_secret_name",
    "redact_argv",
    "redact_mapping",
    "redact_text",
    "redact_url",
]

HIDDEN = "***"

_LAST_WORDS = frozenset(
    {
        "apikey", "auth", "authorization", "bearer", "cookie", "cookies", "cred", "creds",
        "credential", "credentials", "dsn", "jwt", "pass", "passphrase", "passwd", "password",
        "passwords", "pat", "pin", "privatekey", "pwd", "secret", "secrets", "signature", "token",
    }
)  # fmt: skip
_LAST_TWO = frozenset(
    {
        "access:key", "account:key", "api:key", "api:keys", "auth:key", "connection:string",
        "encryption:key", "license:key", "master:key", "personal:key", "private:key", "secret:key",
        "secrets:key", "service:key", "session:key", "shared:key", "signing:key", "storage:key", "subscription:key",
    }
)  # fmt: skip
# what these words come before is text or a number of a tokenizer, not a credential
_MODEL_TOKENS = frozenset(
    {
        "begin", "bos", "class", "cls", "decoder", "end", "eos", "image", "mask", "max", "min", "new",
        "next", "num", "number", "pad", "per", "sep", "special", "start", "stop", "unk", "word",
    }
)  # fmt: skip
_JOINED = ("apikey", "accesskey", "password", "passwd", "passphrase", "secret", "secretkey")
_MIN_ENV_SECRET = 8
_FOLDERS = frozenset({"OLDPWD", "PWD"})  # of the shell: no passwords


class _Patterns(NamedTuple):
    shapes: re.Pattern[str]
    blob: re.Pattern[str]
    url_user: re.Pattern[str]
    name: re.Pattern[str]
    value: re.Pattern[str]
    random: re.Pattern[str]
    word: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    # compiled on first use: the tracking path imports this module without paying for it
    shapes = [
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----|[\s\S]*)",
        r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b",
        r"\bgh[pousr]_[A-Za-z0-9]{20,}",
        r"\bgithub_pat_[A-Za-z0-9_]{20,}",
        r"\bgl(?:pat|ptt|cbt|rt|dt)-[A-Za-z0-9_.-]{16,}",
        r"\bhf_[A-Za-z0-9]{16,}",
        r"\bsk[-_](?=[\w-]{0,60}[A-Z])(?=[\w-]{0,60}[0-9])[\w-]{20,}",
        r"\b[rp]k_(?:live|test)_[A-Za-z0-9]{16,}",
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
        r"\bAIza[A-Za-z0-9_-]{30,}",
        r"\bya29\.[A-Za-z0-9_-]{20,}",
        r"\bnpm_[A-Za-z0-9]{30,}",
        r"\bpypi-[A-Za-z0-9_-]{32,}",
        r"\bdop_v1_[a-f0-9]{40,}",
        r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
    ]
    return _Patterns(
        shapes=re.compile("|".join(f"(?:{s})" for s in shapes)),
        blob=re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{32,}(?![A-Za-z0-9])"),
        url_user=re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,30}://)([^\s'\"<>]+)"),
        name=re.compile(r"""(?<![\w.-])(\w[\w.-]{0,200})((?:\\?["'])?\s{0,3}[=:]\s{0,3})"""),
        value=re.compile(
            r"""(?P<quote>["'])(?:\\.|(?!(?P=quote))[^\\])*(?P=quote)
            |(?P<escaped>\\["'])(?:(?!(?P=escaped)).)*(?P=escaped)
            |(?:(?i:bearer|basic|token)\s{1,3})?(?:\\?["'])?[^\s"'&]+""",
            re.VERBOSE | re.DOTALL,
        ),
        random=re.compile(r"[\"']?[\w+=-]{16,200}"),
        word=re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+"),
    )


def is_secret_name(name: str) -> bool:
    """Tell whether a variable, option or header of this name holds a credential.

    Example:
        >>> [is_secret_name(n) for n in ("--hf-token", "AWS_SECRET_ACCESS_KEY", "apiKey", "max_tokens")]
        [True, True, True, False]
    """
    words = [w.lower() for w in _patterns().word.findall(name[-200:])]
    if not words:
        return False
    if words[-1] == "token" and len(words) > 1 and words[-2] in _MODEL_TOKENS:
        return False
    if words[-1] in _LAST_WORDS or ":".join(words[-2:]) in _LAST_TWO:
        return True
    return "".join(words).endswith(_JOINED)


def redact_url(url: str) -> str:
    """Hide the user part of a URL and the secret values of its query.

    `git@host:path` and `ssh://git@host` are kept: that user is no secret.
    """
    return _hide_named(_patterns().url_user.sub(_hide_url_user, url))


def redact_text(text: str) -> str:
    """Hide everything in free text that looks like a credential, and the values of secret environment variables."""
    patterns = _patterns()
    for secret in _environment_secrets():
        text = text.replace(secret, HIDDEN)
    text = patterns.url_user.sub(_hide_url_user, text)
    text = _hide_named(text)
    text = patterns.shapes.sub(HIDDEN, text)
    return patterns.blob.sub(_hide_blob, text)


def redact_argv(argv: Sequence[str]) -> list[str]:
    """Return a command line without the values of its secret options.

    Knows `--token=x`, `--token x`, `token=x`, `-H "Authorization: Bearer x"`, URLs with a password and bare
    credentials. A value that begins with two dashes is taken as the next option.
    """
    shown: list[str] = []
    before = ""  # the option that this argument may be the value of
    for arg in argv:
        option = arg.startswith("--") and arg[2:3].isalpha()
        name, separator, _ = arg.partition("=")
        if before and not option and _hides(before, arg):
            scheme = arg.lower() in {"bearer", "basic"}  # stands between the name and the secret
            shown.append(arg if scheme else HIDDEN)
            before = before if scheme else ""
        elif separator and _is_name(name) and is_secret_name(name):
            shown.append(f"{name}={HIDDEN}")
            before = ""
        else:
            shown.append(redact_text(arg))
            names_next = arg.startswith("-") or arg.endswith(":") or arg.lower() == "bearer"
            before = arg.rstrip(":") if names_next and _is_name(arg.rstrip(":")) else ""
    return shown


def _hides(option: str, value: str) -> bool:
    return is_secret_name(option) or (option.lower().endswith("key") and _looks_random(value))


def redact_mapping(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a mapping of plain values, hiding those under secret names and credentials inside text, at any depth."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        secret = is_secret_name(str(name)) and isinstance(value, str | bytes) and value
        out[name] = HIDDEN if secret else _redact_value(value)
    return out


def _redact_value(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return redact_mapping(value)
    if isinstance(value, list | tuple):
        return [_redact_value(v) for v in value]
    return value


def _is_name(text: str) -> bool:
    return bool(text) and len(text) <= 200 and not any(c in text for c in " \t\n\"'/{}[]()?&,")


def _hide_url_user(match: re.Match[str]) -> str:
    scheme, rest = match[1], match[2]
    host_end = min((i for c in "/?#" if (i := rest.find(c)) >= 0), default=len(rest))
    authority = rest[:host_end]
    at = authority.rfind("@")
    if at < 0:
        # `user:pa/ss@host`: a password with a slash in it, unless what follows the colon is a port
        _, colon, port = authority.rpartition(":")
        at = rest.rfind("@") if colon and not (port.isdigit() or authority.endswith("]")) else -1
    elif ":" in authority[:at]:
        # there is a password: it may hold `@` and `/`, so it is taken as far as it can reach
        at = rest.partition("?")[0].rfind("@")
    if at < 0 or (rest[:at] == "git" and ":" not in rest[:at]):
        return match[0]
    return f"{scheme}{HIDDEN}{rest[at:]}"


_URL_NAMES = frozenset({"key", "sig", "code", "x-amz-credential", "x-goog-credential"})


def _hide_named(text: str) -> str:
    patterns = _patterns()
    out: list[str] = []
    done = at = 0
    while match := patterns.name.search(text, at):
        # go on behind the separator, not behind the value: it may hold names itself (`config=token=x`)
        at = match.end()
        name = match[1]
        in_query = (
            match.start() > 0 and text[match.start() - 1] in "?&" and name.lower() in _URL_NAMES
        )
        secret = in_query or is_secret_name(name)
        if not secret and not name.lower().endswith("key"):
            continue
        if not (secret or _looks_random(text, at)):
            continue
        value = patterns.value.match(text, at)
        if value is None:
            continue
        quote = value["quote"] or value["escaped"] or ""
        out += [text[done:at], quote, HIDDEN, quote]
        done = at = value.end()
    return "".join(out) + text[done:] if out else text


def _looks_random(text: str, at: int = 0) -> bool:
    match = _patterns().random.match(text, at)
    return (
        match is not None
        and any(c.isalpha() for c in match[0])
        and sum(map(str.isdigit, match[0])) >= 3
    )


def _hide_blob(match: re.Match[str]) -> str:
    blob = match[0]
    mixed = any(c.isupper() for c in blob) and any(c.islower() for c in blob)
    return HIDDEN if mixed and sum(c.isdigit() for c in blob) >= 4 else blob


_told: set[str] = set()


def hide_value(value: str) -> None:
    """Hide a text from now on wherever this process hides credentials: it is a secret that was handed out."""
    if len(value) >= _MIN_ENV_SECRET:
        _told.add(value)


def _environment_secrets() -> list[str]:
    found = _told | {
        value
        for name, value in os.environ.items()
        if len(value) >= _MIN_ENV_SECRET and name not in _FOLDERS and is_secret_name(name)
    }
    return sorted(found, key=len, reverse=True)
