"""The names of artifacts.

```
key                 the newest version, in the current project
project/key         the newest version
project/key:v2      version 2
project/key:best    the version that carries the alias
store://project/key:v2
```

The first `/` ends the project and the last `:` begins the version or alias. Keys are stored as they were given and may
hold both characters, so a plain name is tried in every way that it can be read, the grammar's way first. The `store://`
form is exact: there `%`, `:` and, in the project, `/` are percent-encoded, so that any text comes back as it was.
Where there is no such artifact, the orchestrator's form is understood, too: `store://datasets/project/key`.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from mlrun.errors import ConfigError

__all__ = ["LATEST", "ArtifactName", "artifact_uri", "check_alias", "readings"]

LATEST = "latest"
_SCHEME = "store://"
_CATEGORIES = ("artifacts", "datasets", "documents", "models")
_VERSION = re.compile(r"v([1-9][0-9]{0,17})")
_RESERVED = re.compile(r"[vV][0-9]+")
_IN_KEY = re.compile(r"[%:?#\\\x00-\x20\x7f]")
_IN_PROJECT = re.compile(r"[%:/?#\\\x00-\x20\x7f]")


class ArtifactName(NamedTuple):
    """One way to read a name; `tag` is a version (`v2`), an alias, or `latest`."""

    project: str
    key: str
    tag: str = LATEST

    @property
    def version(self) -> int | None:
        """The version that the tag names, or None for an alias."""
        match = _VERSION.fullmatch(self.tag)
        return int(match[1]) if match else None


def artifact_uri(project: str, key: str, version: int) -> str:
    """Return the `store://` name of a version; `readings` gives exactly the same three back.

    Example:
        >>> artifact_uri("digits", "val/roc", 2)
        'store://digits/val/roc:v2'
        >>> artifact_uri("a/b", "x:y", 1)
        'store://a%2Fb/x%3Ay:v1'
    """
    return f"{_SCHEME}{_quote(project, _IN_PROJECT)}/{_quote(key, _IN_KEY)}:v{version}"


def readings(name: str, project: str) -> list[ArtifactName]:
    """Return the ways to read a name, the likeliest first; `project` is the current one.

    Example:
        >>> [tuple(n) for n in readings("train:v2", "digits")]
        [('digits', 'train', 'v2'), ('digits', 'train:v2', 'latest')]
        >>> readings("store://digits/train", "")
        [ArtifactName(project='digits', key='train', tag='latest')]
    """
    if name.startswith(_SCHEME):
        owner, _, rest = name.removeprefix(_SCHEME).partition("/")
        key, colon, tag = rest.rpartition(":")
        key, tag = (key, tag) if colon else (rest, LATEST)
        exact = ArtifactName(unquote(owner), unquote(key), unquote(tag) or LATEST)
        if owner in _CATEGORIES and "/" in rest:
            return [exact, *readings(_SCHEME + rest, project)]
        return [exact]
    places = [(project, name)]
    owner, slash, rest = name.partition("/")
    if slash and owner:
        places.insert(0, (owner, rest))
    out = []
    for place, text in places:
        key, colon, tag = text.rpartition(":")
        if colon and key and tag:
            out.append(ArtifactName(place, key, tag))
        out.append(ArtifactName(place, text))
    # a tag counts for more than a project: every tagged reading comes before the whole-name ones
    return sorted(out, key=lambda n: n.tag == LATEST) if ":" in name else out


def check_alias(alias: str) -> str:
    """Return the alias.

    Raises:
        ConfigError: it is `latest`, looks like a version, is empty, or holds `:` or `/`.
    """
    if not isinstance(alias, str) or not alias or len(alias.encode("utf-8", "replace")) > 255:
        raise ConfigError(f"an alias is text of 1 to 255 bytes, not {str(alias)[:80]!r}")
    if alias == LATEST:
        raise ConfigError("'latest' is always the highest version: it cannot be set")
    if _RESERVED.fullmatch(alias):
        raise ConfigError(f"alias {alias!r} looks like a version; choose another name")
    if any(c in ":/\\" or ord(c) < 32 or "\ud800" <= c <= "\udfff" for c in alias):
        raise ConfigError(f"alias {alias!r} may not hold ':', '/', '\\' or control characters")
    return alias


def _quote(text: str, pattern: re.Pattern[str]) -> str:
    return pattern.sub(lambda m: f"%{ord(m[0]):02X}", text)
