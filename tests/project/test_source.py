"""Projects from git, archives and folders: fetched whole, run only when trusted, and they stay in their folder."""

from __future__ import annotations

import base64
import os
import subprocess
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import mlrun
from mlrun.errors import ConfigError, MlrunError, NotFound, ObjectError
from mlrun.project import gitclone
from mlrun.project.gitclone import GitSource
from mlrun.project.source import fetch, is_git, local_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

YAML = """\
kind: project
metadata: {name: digits}
spec:
  functions:
  - {name: train, url: trainer.py, handler: train}
"""
SETUP = "def setup(project):\n    project.params['ran'] = True\n    open('ran', 'w').close()\n    return project\n"


def git(*words: str, cwd: Path) -> str:
    env = {
        **os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    }  # fmt: skip
    return subprocess.run(
        ["git", *words], cwd=cwd, env=env, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "code"
    place.mkdir()
    (place / "project.yaml").write_text(YAML)
    (place / "trainer.py").write_text("def train():\n    return 1\n")
    (place / "project_setup.py").write_text(SETUP)
    return place


@pytest.fixture
def repository(folder: Path) -> Path:
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    git("add", ".", cwd=folder)
    git("commit", "--quiet", "-m", "one", cwd=folder)
    return folder


def commit(repository: Path, text: str) -> str:
    (repository / "trainer.py").write_text(text)
    git("commit", "--quiet", "-a", "-m", "more", cwd=repository)
    return git("rev-parse", "HEAD", cwd=repository)


def archive(folder: Path, name: str) -> Path:
    target = folder.parent / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(target, "w") as pack:
            for path in folder.glob("*.*"):
                pack.write(path, path.name)
    else:
        with tarfile.open(target, "w:gz") as tar:
            tar.add(folder, "digits-main", filter=lambda i: None if ".git" in i.name else i)
    return target


@pytest.mark.parametrize("kind", ["git", "zip", "tar", "folder"])
@pytest.mark.parametrize("trust", [False, True])
def test_every_source_loads_and_runs_its_setup_only_when_trusted(
    repository: Path, kind: str, trust: bool, recwarn: pytest.WarningsRecorder
) -> None:
    url = {
        "git": lambda: f"file://{repository}#main",
        "zip": lambda: str(archive(repository, "digits.zip")),
        "tar": lambda: str(archive(repository, "digits.tar.gz")),
        "folder": lambda: str(repository),
    }[kind]()
    project = mlrun.load_project("./ctx", url=url, trust=trust)
    assert project.name == "digits"
    assert project.run_function("train").results == {"return": 1}
    assert Path("ran").exists() is trust
    assert project.params == ({"ran": True} if trust else {})
    told = [str(w.message) for w in recwarn.list]
    assert any("trust=True" in t for t in told) is not trust


def test_parameters_reach_the_setup_of_a_project_from_git(repository: Path) -> None:
    (repository / "project_setup.py").write_text(
        "def setup(project):\n    project.params['seen'] = project.get_param('rows')\n"
    )
    git("commit", "--quiet", "-a", "-m", "setup", cwd=repository)
    project = mlrun.get_or_create_project(
        "digits", "./ctx", url=f"file://{repository}", parameters={"rows": 7}, trust=True
    )
    assert project.get_param("seen") == 7


def test_branches_tags_and_commits_are_checked_out(repository: Path) -> None:
    first = git("rev-parse", "HEAD", cwd=repository)
    git("tag", "v1", cwd=repository)
    git("switch", "--quiet", "-c", "feature/two", cwd=repository)
    commit(repository, "def train():\n    return 2\n")
    for number, (ref, wanted) in enumerate(
        [
            ("main", 1),
            ("v1", 1),
            ("refs/heads/feature/two", 2),
            (first, 1),
            (f"refs/heads/main#{first}", 1),
        ]
    ):
        project = mlrun.load_project(f"./c{number}", f"file://{repository}#{ref}", run_setup=False)
        assert project.run_function("train").results == {"return": wanted}


def test_a_clone_is_used_again_and_fetched_anew_only_when_asked(repository: Path) -> None:
    url = f"file://{repository}"
    options: dict[str, Any] = {"url": url, "run_setup": False}
    mlrun.load_project("./ctx", **options)
    commit(repository, "def train():\n    return 2\n")
    assert mlrun.load_project("./ctx", **options).run_function("train").results == {"return": 1}
    assert mlrun.load_project("./ctx", clone=True, **options).run_function("train").results == {
        "return": 2
    }
    Path("ctx/mine.txt").write_text("work")
    with pytest.raises(ConfigError, match="has changes"):
        mlrun.load_project("./ctx", clone=True, **options)
    assert Path("ctx/mine.txt").exists()


def test_nothing_that_is_no_clone_is_ever_removed(repository: Path) -> None:
    Path("ctx").mkdir()
    Path("ctx/thesis.txt").write_text("years of work")
    for clone in (False, True):
        with pytest.raises(ConfigError, match=r"remove it yourself|not empty"):
            mlrun.load_project("./ctx", f"file://{repository}", clone=clone)
    assert Path("ctx/thesis.txt").exists()


def test_a_repository_without_a_document_is_a_project_too(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("def f():\n    return 3\n")
    project = mlrun.load_project("./ctx", str(tmp_path / "code"), name="plain")
    project.set_function("a.py", name="a")
    assert project.run_function("a").results == {"return": 3}


def test_a_project_s_folder_can_be_packed_and_loaded(folder: Path) -> None:
    project = mlrun.load_project(folder)
    packed = project.export("digits.zip")
    Path("ran").unlink()
    again = mlrun.load_project("./ctx", str(packed), name="digits")
    assert again.get_function("train").hash == project.get_function("train").hash
    assert not Path("ran").exists()


# -- foes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch ran;.git",
        "git+--upload-pack=touch ran.git",
        "ext::sh -c touch% ran .git",
        "https://host.example/a.git#--upload-pack=touch ran",
        "https://host.example/a.git#-b",
        "https://host.example/a.git#a..b",
        "git@-oProxyCommand=touch:ran.git",
        "ssh://-oProxyCommand=touch/ran.git",
    ],
)
def test_no_url_or_ref_is_taken_for_an_option(url: str) -> None:
    with pytest.raises(MlrunError):
        fetch(url, Path("ctx"))
    with pytest.raises(MlrunError):
        gitclone.clone(url, Path("ctx"))
    assert not Path("ran").exists()


class _Refuses(BaseHTTPRequestHandler):
    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization") or "")
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    _Refuses.seen = []
    made = HTTPServer(("127.0.0.1", 0), _Refuses)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"127.0.0.1:{made.server_port}", _Refuses.seen
    made.shutdown()
    thread.join()
    made.server_close()


def test_credentials_go_to_their_host_and_are_in_no_error(server: tuple[str, list[str]]) -> None:
    host, seen = server
    with pytest.raises(ConfigError) as caught:
        fetch(f"http://user:hunter2hunter2@{host}/a.git", Path("ctx"))
    assert "hunter2" not in str(caught.value)
    assert base64.b64decode(seen[0].removeprefix("Basic ")) == b"user:hunter2hunter2"


def test_a_token_of_the_environment_is_given_to_nobody_unasked(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, seen = server
    monkeypatch.setenv("GIT_TOKEN", "hunter2hunter2")
    with pytest.raises(ConfigError):
        fetch(f"http://{host}/a.git", Path("ctx"))
    with pytest.raises(ConfigError):  # and never in clear
        fetch(f"http://{host}/a.git", Path("ctx"), secrets={"GIT_TOKEN": "env:GIT_TOKEN"})
    assert set(seen) == {""}
    with pytest.raises(ConfigError, match="reference"):
        fetch(f"http://{host}/a.git", Path("ctx"), secrets={"GIT_TOKEN": "hunter2hunter2"})


def test_a_token_goes_by_the_environment_and_to_its_host_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINE", "hunter2hunter2")
    source = GitSource.parse("git://host.example/org/a.git#main")
    env = gitclone._environment(source, {"GIT_TOKEN": "env:MINE"})
    keys = {env[f"GIT_CONFIG_KEY_{n}"]: env[f"GIT_CONFIG_VALUE_{n}"] for n in range(4)}
    word = base64.b64encode(b"git:hunter2hunter2").decode()
    assert keys["http.https://host.example/.extraHeader"] == f"Authorization: Basic {word}"
    assert "hunter2" not in repr(GitSource.parse("https://u:hunter2hunter2@host/a.git"))


def test_links_in_a_repository_lead_nowhere(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("def train():\n    return 'secret'\n")
    (repository / "trainer.py").unlink()
    (repository / "trainer.py").symlink_to(tmp_path / "secret.py")
    git("add", ".", cwd=repository)
    git("commit", "--quiet", "-m", "link", cwd=repository)
    project = mlrun.load_project("./ctx", f"file://{repository}", run_setup=False)
    assert not Path("ctx/trainer.py").is_symlink()
    assert "secret.py" in project.get_function("train").spec.code["text"]
    assert "return" not in project.get_function("train").spec.code["text"]


@pytest.mark.parametrize("key", ["function", "artifact", "workflow", "requirements"])
def test_a_fetched_project_cannot_lead_out_of_its_folder(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret.py").write_text("x = 1\n")
    (tmp_path / "secret.txt").write_text("numpy\n")
    code = tmp_path / "code"
    code.mkdir()
    spec = {
        "function": "functions: [{name: f, url: ../secret.py}]",
        "artifact": "artifacts: [{key: a, target_path: ../secret.txt}]",
        "workflow": "workflows: [{name: main, path: ../secret.py}]",
        "requirements": "functions: [{name: f, url: f.py, requirements: ../secret.txt}]",
    }[key]
    (code / "f.py").write_text("def f(): ...\n")
    (code / "project.yaml").write_text(f"metadata: {{name: evil}}\nspec:\n  {spec}\n")

    def use() -> None:
        found = mlrun.load_project("./ctx", str(code))
        found.get_function_objects()
        found.run("main")

    with pytest.raises(ConfigError, match=r"lead.* out of"):
        use()


def test_an_archive_that_climbs_out_is_refused_whole(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as pack:
        pack.writestr("project.yaml", "metadata: {name: a}")
        pack.writestr("../evil.py", "x")
    with pytest.raises(ObjectError, match="does not stay inside"):
        mlrun.load_project("./ctx", str(tmp_path / "bad.zip"))
    assert not Path("ctx").exists()
    assert not Path("evil.py").exists()


@pytest.mark.parametrize(
    ("url", "kind"),
    [("./nowhere", NotFound), ("./nowhere.zip", NotFound), ("https://host.example/page", ConfigError),
     ("s3://bucket/code", ConfigError)],
)  # fmt: skip
def test_what_is_no_source_is_refused(url: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        fetch(url, Path("ctx"))


def test_a_function_s_source_is_fetched_for_those_who_need_it(repository: Path) -> None:
    fn = mlrun.new_function("f", handler="trainer.train", source=f"file://{repository}#main")
    place = fn.needs().source
    assert place is not None
    assert Path(place, "trainer.py").is_file()
    assert fn.source_folder() == f"file://{repository}#main"
    assert local_copy(f"file://{repository}#main") == Path(place)
    assert is_git(f"file://{repository}#main")
