from __future__ import annotations

import json
import shutil
import subprocess
import sys
import types
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.config import Settings
from mlrun.redact import HIDDEN
from mlrun.tracking import provenance

if TYPE_CHECKING:
    from pathlib import Path

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def _run(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    _run(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "a.txt").write_text("a")
    _run(tmp_path, "add", "a.txt")
    _run(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


@needs_git
def test_git_tells_commit_branch_and_clean_state(repository: Path) -> None:
    found = provenance.git(repository)
    assert found == {
        "root": str(repository.resolve()),
        "commit": _run(repository, "rev-parse", "HEAD"),
        "branch": "main",
        "dirty": False,
    }
    (repository / "new.txt").write_text("untracked files do not make it dirty")
    assert provenance.git(repository)["dirty"] is False
    (repository / "a.txt").write_text("b")
    assert provenance.git(repository)["dirty"] is True


@needs_git
def test_git_remote_is_redacted_and_head_may_be_detached(repository: Path) -> None:
    _run(repository, "remote", "add", "up", "https://x.example/r.git")
    _run(repository, "remote", "add", "origin", "https://me:hunter2@h.example/r.git")
    _run(repository, "checkout", "-q", "--detach")
    found = provenance.git(repository)
    assert found["remote"] == f"https://{HIDDEN}@h.example/r.git"
    assert "branch" not in found


@needs_git
def test_git_runs_no_command_of_the_repository(repository: Path) -> None:
    mark = repository / "ran"
    _run(repository, "config", "core.fsmonitor", f"touch {mark}; false")
    assert provenance.git(repository)["branch"] == "main"
    assert not mark.exists()


@needs_git
def test_git_before_the_first_commit_and_outside(tmp_path: Path) -> None:
    assert provenance.git(tmp_path) == {}
    _run(tmp_path, "init", "-q", "-b", "main")
    found = provenance.git(tmp_path)
    assert "commit" not in found
    assert found["branch"] == "main"


def test_without_the_git_binary_there_is_no_git(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git(tmp_path) == {}
    assert "git" not in provenance.gather(Settings())


def test_git_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("git was called")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert "git" not in provenance.gather(Settings(git=False))


def test_packages_agree_with_importlib_metadata() -> None:
    listed = dict(p.split("==") for p in provenance.packages())
    for name in ("pytest", "hypothesis", "numpy", "pytest-timeout"):
        assert listed[name] == metadata.version(name)
    assert listed == dict(sorted(listed.items()))


def test_packages_of_odd_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for name in (
        "Two_Words-1.0+cu118.dist-info",
        "~roken-1.0.dist-info",
        "egg-2.0-py3.11.egg-info",
    ):
        (first / name).mkdir(parents=True)
    (second / "two_words-0.9.dist-info").mkdir(parents=True)
    (second / "develop.egg-info").mkdir()
    (second / "develop.egg-info" / "PKG-INFO").write_text("Name: develop\nVersion: 3.1\n")
    monkeypatch.setattr(sys, "path", [str(first), str(tmp_path / "gone"), str(second)])
    provenance.packages.cache_clear()
    try:
        assert provenance.packages() == ["develop==3.1", "egg==2.0", "two-words==1.0+cu118"]
    finally:
        provenance.packages.cache_clear()


def test_gather_is_json_and_hides_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["/usr/bin/python3", "train.py", "--api-key", "hunter2", "bad\udcffbytes", "x" * 5000]
    monkeypatch.setattr(sys, "orig_argv", argv)
    facts = provenance.gather(Settings(git=False))
    assert "hunter2" not in json.dumps(facts)
    json.dumps(facts, ensure_ascii=False).encode()
    assert facts["command"][:4] == ["python3", "train.py", "--api-key", HIDDEN]
    assert len(facts["command"][5]) < 2100
    assert {"python", "platform", "host", "user", "cpu_count", "memory_bytes"} <= set(facts)


def test_a_fact_that_cannot_be_found_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise RuntimeError("no such thing here")

    for name in ("_platform", "packages", "_command"):
        monkeypatch.setattr(provenance, name, fail)
    facts = provenance.gather(Settings(git=False))
    assert not {"platform", "packages", "command"} & set(facts)
    assert facts["python"] == sys.version.split()[0]


class FakeNVML(types.ModuleType):
    """Two GPUs; the second tells no power and no temperature."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        super().__init__("pynvml")

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return b"Card %d" % handle

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return types.SimpleNamespace(total=1000, used=250)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return types.SimpleNamespace(gpu=42)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if handle:
            raise RuntimeError("not supported")
        return 71_500

    def nvmlDeviceGetTemperature(self, handle: int, kind: int) -> int:
        if handle:
            raise RuntimeError("not supported")
        return 55


def test_gpus_through_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlrun.tracking.gpu import gpus

    monkeypatch.setitem(sys.modules, "pynvml", FakeNVML())
    assert provenance.gather(Settings(git=False))["gpus"] == [
        {"name": "Card 0", "memory_bytes": 1000},
        {"name": "Card 1", "memory_bytes": 1000},
    ]
    first, second = (g.sample() for g in gpus())
    assert first == {
        "utilization_percent": 42.0,
        "memory_used_bytes": 250.0,
        "memory_percent": 25.0,
        "power_watts": 71.5,
        "temperature_celsius": 55.0,
    }
    assert set(second) == {"utilization_percent", "memory_used_bytes", "memory_percent"}


def test_no_gpus_without_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlrun.tracking.gpu import gpus

    class NoDriver(FakeNVML):
        def nvmlInit(self) -> None:
            raise RuntimeError("driver not loaded")

    monkeypatch.setitem(sys.modules, "pynvml", NoDriver())
    assert gpus() == []
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpus() == []
