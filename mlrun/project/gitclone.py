"""Cloning with the `git` command, which is given nothing that it could take for an option, and keeps no secret.

A URL is taken apart first: credentials in it go to git as a header for that host alone, through the environment, so
that they are neither in the list of processes nor in the clone's configuration; what git says is told without them.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from mlrun.errors import ConfigError, MissingExtra
from mlrun.redact import redact_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["GitSource", "clone", "has_changes", "init", "origin_of"]

_TIMEOUT = 600.0  # seconds of one command
_REF = re.compile(r"[A-Za-z0-9_][\w./@+-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECRETS = ("GIT_TOKEN", "GIT_USERNAME", "GIT_PASSWORD")
_PROTOCOLS = "file:git:http:https:ssh"


@dataclass(frozen=True)
class GitSource:
    """A repository and what of it.

    Attributes:
        url: without credentials.
        ref: branch, tag or commit; empty for the repository's own choice.
        user, password: found in the URL.
    """

    url: str
    ref: str = ""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, source: str) -> GitSource:
        """Read `git://host/org/repo.git#branch`, which is fetched by https, or any URL that git knows.

        Example:
            >>> GitSource.parse("git://github.com/org/repo.git#refs/heads/main")
            GitSource(url='https://github.com/org/repo.git', ref='main')

        Raises:
            ConfigError: the URL or the ref could be taken for something else.
        """
        url, _, ref = source.partition("#")
        url = url.removeprefix("git+")
        if url.startswith("git://"):
            url = f"https://{url.removeprefix('git://')}"
        # refs/heads/main#<commit>: the commit is the more exact
        ref = ref.rpartition("#")[2].removeprefix("refs/heads/").removeprefix("refs/tags/")
        if url.startswith("-") or "::" in url.partition("//")[0] or any(c < " " for c in url):
            raise ConfigError(f"{redact_url(source)!r} is no URL of a git repository")
        if ref and (not _REF.fullmatch(ref) or ".." in ref):
            raise ConfigError(f"{ref!r} is no branch, tag or commit")
        parts = urlsplit(url) if "://" in url else None
        if parts is None or parts.scheme not in ("http", "https") or "@" not in parts.netloc:
            return cls(url, ref)
        user = unquote(parts.username or "")
        place = parts.netloc.rpartition("@")[2]
        plain = urlunsplit((parts.scheme, place, parts.path, parts.query, ""))
        return cls(plain, ref, user, unquote(parts.password or ""))


def clone(source: str, target: Path, *, secrets: Mapping[str, str] | None = None) -> Path:
    """Clone a repository into `target`, which is not there; returns it.

    Submodules are not fetched, hooks are not run, and links in the repository are written as plain files.

    Raises:
        ConfigError: git failed; the message holds no credentials.
        MissingExtra: there is no `git` here.
    """
    found = GitSource.parse(source)
    env = _environment(found, secrets or {})
    target.parent.mkdir(parents=True, exist_ok=True)
    options = ["--config=core.symlinks=false", "--no-recurse-submodules", "--quiet"]
    if found.ref and _COMMIT.fullmatch(found.ref):
        _git(["clone", "--no-checkout", *options, "--", found.url, str(target)], env)
        try:
            _git(["-C", str(target), "checkout", "--quiet", "--detach", found.ref], env)
        except ConfigError:
            shutil.rmtree(target, ignore_errors=True)
            raise
    else:
        branch = [f"--branch={found.ref}"] if found.ref else []
        _git(["clone", "--depth=1", *branch, *options, "--", found.url, str(target)], env)
    return target


def init(folder: Path) -> None:
    """Make a folder a git repository, unless it is one."""
    if not (folder / ".git").exists():
        _git(["init", "--quiet", "--", str(folder)], _environment(GitSource(""), {}))


def origin_of(folder: Path) -> str:
    """Return the URL that a folder was cloned from; empty if it is no clone."""
    if not (folder / ".git").exists():
        return ""
    command = ["-C", str(folder), "config", "--get", "remote.origin.url"]
    try:
        return _git(command, _environment(GitSource(""), {})).strip()
    except ConfigError:
        return ""


def has_changes(folder: Path) -> bool:
    """Whether a clone holds work that its repository does not know."""
    env = _environment(GitSource(""), {})
    if _git(["-C", str(folder), "status", "--porcelain"], env).strip():
        return True
    ahead = ["-C", str(folder), "log", "--oneline", "-1", "HEAD", "--not", "--remotes", "--tags"]
    return bool(_git(ahead, env).strip())


def _environment(source: GitSource, secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of git: no questions, only network protocols, credentials for the host alone."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_CONFIG")}
    env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": _PROTOCOLS, "GIT_ASKPASS": "true",
            "LC_ALL": "C"}  # fmt: skip
    settings = {
        "core.hooksPath": os.devnull,
        "core.fsmonitor": "false",
        "protocol.ext.allow": "never",
    }
    env.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    user, password = _credentials(source, secrets)
    parts = urlsplit(source.url) if "://" in source.url else None
    if password and parts is not None and (parts.scheme == "https" or source.user):
        word = base64.b64encode(f"{user}:{password}".encode()).decode()
        settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = (
            f"Authorization: Basic {word}"
        )
    env["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        env[f"GIT_CONFIG_KEY_{number}"], env[f"GIT_CONFIG_VALUE_{number}"] = key, value
    return env


def _credentials(source: GitSource, secrets: Mapping[str, str]) -> tuple[str, str]:
    """Return user and password: of the URL, else of the secrets that were given for it; no others, for any host."""
    from mlrun.execution.secrets import check_references, read_reference

    if source.user:
        return (source.user, source.password) if source.password else ("git", source.user)
    known = {k: read_reference(v) for k, v in check_references(secrets).items() if k in _SECRETS}
    if "GIT_TOKEN" in known:
        return known.get("GIT_USERNAME", "git"), known["GIT_TOKEN"]
    return known.get("GIT_USERNAME", "git"), known.get("GIT_PASSWORD", "")


def _git(arguments: list[str], env: dict[str, str]) -> str:
    program = shutil.which("git")
    if program is None:
        raise MissingExtra("there is no `git` command here, which loads projects from repositories")
    try:
        done = subprocess.run(
            [program, *arguments], env=env, capture_output=True, text=True, errors="replace",
            timeout=_TIMEOUT, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"git {_verb(arguments)} took longer than {_TIMEOUT:g} s") from error
    if done.returncode:
        said = " ".join(redact_text(done.stderr).split()) or f"exit code {done.returncode}"
        raise ConfigError(f"git {_verb(arguments)} failed: {said}")
    return done.stdout


def _verb(arguments: list[str]) -> str:
    words = arguments[2:] if arguments[0] == "-C" else arguments
    return words[0]
