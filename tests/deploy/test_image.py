"""`deploy/Dockerfile` and its lock: what can be said of them where no image can be built."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlrun.app.options import Options
from mlrun.cli.root import cli

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = ("clickhouse", "dashboard", "k8s", "postgres", "s3", "schedule", "server")


def steps() -> list[tuple[str, str]]:
    """Instructions and what follows them, one line each."""
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    parted = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in parted]


def told(word: str) -> list[str]:
    return [rest for found, rest in steps() if found == word]


def last_stage() -> list[tuple[str, str]]:
    found = steps()
    return found[max(n for n, (word, _) in enumerate(found) if word == "FROM") :]


def copied() -> list[str]:
    """What is copied from the repository."""
    return [path for rest in told("COPY") if "--from" not in rest for path in rest.split()[:-1]]


def test_its_instructions_are_known() -> None:
    assert {word for word, _ in steps()} <= {
        "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN",
        "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
    }  # fmt: skip


def test_both_stages_start_from_one_image_with_a_version() -> None:
    images = {rest.split()[0] for rest in told("FROM")}
    assert len(told("FROM")) == 2
    (image,) = images
    assert re.fullmatch(r"python:\d+\.\d+[\w.-]*", image)


def test_its_python_is_that_of_the_ray_image() -> None:
    cluster = yaml.safe_load((ROOT / "ray-cluster.yaml").read_text(encoding="utf-8"))
    head = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    major, minor = re.findall(r"python:(\d+)\.(\d+)", told("FROM")[-1])[0]
    assert head.endswith(f"-py{major}{minor}")


def test_it_does_not_run_as_root() -> None:
    words = [word for word, _ in last_stage()]
    (user,) = [rest for word, rest in last_stage() if word == "USER"]
    assert re.fullmatch(r"(\d+):\1", user), "a number: Kubernetes cannot tell a name from root"
    assert not user.startswith("0")
    assert "RUN" not in words[words.index("USER") :]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / "deploy/Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert [path for path in copied() if not (ROOT / path).exists()] == []
    assert "*" in ignored
    assert sorted(copied()) == sorted(line[1:] for line in ignored if line.startswith("!"))


def test_everything_that_is_built_from_is_copied() -> None:
    project = PYPROJECT["project"]
    folders = set(PYPROJECT["tool"]["setuptools"]["package-dir"].values())
    needed = folders | {"pyproject.toml", project["readme"], *project["license-files"]}
    assert needed | {"requirements-server.lock"} == set(copied())


def test_packages_come_from_the_lock_with_their_hashes() -> None:
    installs = [part for rest in told("RUN") for part in rest.split("&&") if "pip install" in part]
    assert all("--require-hashes" in i or "--no-index --no-deps" in i for i in installs)
    (locked,) = [i for i in installs if "--require-hashes" in i]
    assert "--requirement /src/requirements-server.lock" in locked
    assert not re.search(r"ARG|index-url|trusted-host", " ".join(map(" ".join, steps())))


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_lock_holds_the_extras_of_a_server(extra: str) -> None:
    text = (ROOT / "requirements-server.lock").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))
    for wanted in map(Requirement, PYPROJECT["project"]["optional-dependencies"][extra]):
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), wanted
    assert "setuptools" in pinned, "the build needs it"
    assert not {"chdb", "moto", "pytest", "ray"} & set(pinned)


def test_the_lock_is_made_of_these_extras() -> None:
    (made,) = [
        line
        for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
        if "--output-file requirements-server.lock" in line
    ]
    assert tuple(re.findall(r"--extra (\w+)", made)) == EXTRAS


def test_it_starts_a_server_with_options_that_it_has() -> None:
    (entry,), (command,) = told("ENTRYPOINT"), told("CMD")
    assert json.loads(entry) == list(PYPROJECT["project"]["scripts"])
    name, *rest = json.loads(command)
    with cli.make_context("mlrun", [name]) as context:
        found = cli.get_command(context, name)
        assert found is not None
        given = found.make_context(name, rest, parent=context).params
    assert given["host"] == "0.0.0.0"
    ports = [int(port) for port in told("EXPOSE")[0].split()]
    assert ports == [3000, given["port"], given["flight_port"]]  # 3000: the dashboard


def test_its_health_check_asks_the_port_that_it_serves() -> None:
    (check,) = told("HEALTHCHECK")
    command = json.loads(check[check.index("[") :])
    assert command[0] == "python"
    assert f"http://127.0.0.1:{Options().port}/readyz" in command[-1]
    compile(command[-1], "check", "exec")
