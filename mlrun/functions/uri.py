"""Names of functions: `[project/]name[:tag][@hash]`; a hash wins over a tag."""

from __future__ import annotations

import re
from typing import NamedTuple

from mlrun.errors import ConfigError

__all__ = ["LATEST", "FunctionName", "check_name", "check_tag"]

LATEST = "latest"
_PREFIXES = ("store://functions/", "db://")
_HASH = re.compile(r"[0-9a-f]{6,40}")


class FunctionName(NamedTuple):
    """Which function, and which version of it.

    Attributes:
        project: empty where the name says none.
        hash: 40 hex digits, or a beginning of them of 6 or more; empty for whatever the tag means.
    """

    project: str
    name: str
    tag: str = ""
    hash: str = ""

    @classmethod
    def parse(cls, text: str) -> FunctionName:
        """Read a name; the last `/` ends the project, `store://functions/` and `db://` may stand before it.

        Example:
            >>> FunctionName.parse("digits/train:v1@0123456789abcdef0123456789abcdef01234567")
            FunctionName(project='digits', name='train', tag='v1', hash='0123456789abcdef0123456789abcdef01234567')
            >>> FunctionName.parse("train")
            FunctionName(project='', name='train', tag='', hash='')

        Raises:
            ConfigError: there is no name in it, or the hash is none.
        """
        rest = text
        for prefix in _PREFIXES:
            rest = rest.removeprefix(prefix)
        project, _, last = rest.rpartition("/")  # a project is any text, a name is not
        last, _, digest = last.partition("@")
        name, _, tag = last.partition(":")
        if not name:
            raise ConfigError(f"{text!r} names no function: say [project/]name[:tag][@hash]")
        if digest and not _HASH.fullmatch(digest):
            raise ConfigError(f"{digest!r} in {text!r} is no hash: it has 6 to 40 digits 0-9a-f")
        return cls(project, name, tag, digest)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        project = f"{self.project}/" if self.project else ""
        tag = f":{self.tag}" if self.tag else ""
        return f"{project}{self.name}{tag}{'@' + self.hash if self.hash else ''}"


def check_name(name: str) -> str:
    """Return a function's name.

    Raises:
        ConfigError: it is empty, or holds a character that means something in a URI.
    """
    if not isinstance(name, str) or not name.strip():
        raise ConfigError("a function needs a name")
    if found := sorted(set(name) & set("/:@\0")):
        raise ConfigError(
            f"function name {name!r} holds {found[0]!r}, which ends a name in its URI"
        )
    return name


def check_tag(tag: str) -> str:
    """Return a tag.

    Raises:
        ConfigError: it holds a character that means something in a URI.
    """
    if not isinstance(tag, str) or set(tag) & set("/:@\0"):
        raise ConfigError(f"a function's tag is a word without '/', ':' and '@', not {tag!r}")
    return tag
