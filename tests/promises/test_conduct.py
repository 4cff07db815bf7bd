"""How the SDK behaves: what it prints, what it never does to the program around it, how runs end and return."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import ConfigError, StoreError
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def state_of(run_id: str) -> str:
    return mlrun.get_run(run_id).state


# -- modes, strictness, settings ----------------------------------------------------------------------------


def test_a_disabled_run_takes_every_call_and_makes_no_file(
    own_folder: Path, python: Callable[..., Any]
) -> None:
    done = python(
        """
        import mlrun
        with mlrun.init(project="p", config={"a": 1}) as run:
            run.log({"a": 1}); run.log_result("r", 1); run.log_artifact("k", body="x"); run.add_tags("t")
            run.config.update(b=2); run.define_metric("a", goal="max"); run.flush()
            assert mlrun.current_run() is run and run.config["a"] == 1
        """,
        MLRUN_MODE="disabled",
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert list(own_folder.iterdir()) == []


def test_an_offline_run_talks_to_nobody_and_is_complete(python: Callable[..., Any]) -> None:
    python(
        """
        import socket
        def refuse(*_): raise AssertionError("the network was asked")
        socket.socket.connect = refuse
        socket.getaddrinfo = refuse
        import mlrun
        with mlrun.init(project="p", id="off") as run:
            run.log({"a": 1}); run.log_artifact("k", body="x")
        """,
        MLRUN_MODE="offline",
    )
    view = mlrun.get_run("off")
    assert (view.state, view.summary, view.artifact("k").get()) == ("completed", {"a": 1.0}, b"x")


def test_a_failed_artifact_makes_a_strict_run_an_error_and_points_never_do(
    monkeypatch: pytest.MonkeyPatch, warned: Callable[[], Any]
) -> None:
    monkeypatch.setenv("MLRUN_STRICT", "1")
    with warned() as messages:
        with mlrun.init(project="p", id="points") as run:
            run.log({"a": object()})
            run.log(7)  # type: ignore[arg-type]
        run = mlrun.init(project="p", id="caught")
        with pytest.raises(FileNotFoundError):
            run.log_artifact("no/such/file")
        run.finish()
    assert messages
    assert state_of("points") == "completed"
    assert state_of("caught") == "error"
    assert "no/such/file" in str(mlrun.get_run("caught").error)


def test_arguments_go_before_the_environment_before_the_file_before_defaults(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun.config import settings

    assert (settings().project, settings().max_metric_keys) == ("default", 10_000)
    (own_folder / "mlrun.toml").write_text('project = "file"\nmax_metric_keys = 5\nstrict = true\n')
    assert (settings().project, settings().max_metric_keys, settings().strict) == ("file", 5, True)
    monkeypatch.setenv("MLRUN_PROJECT", "environment")
    assert (settings().project, settings().max_metric_keys) == ("environment", 5)
    assert mlrun.init().project == "environment"
    assert mlrun.init(project="argument").project == "argument"


def test_settings_of_a_run_are_frozen_when_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    run = mlrun.init(project="p")
    monkeypatch.setenv("MLRUN_PROJECT", "later")
    monkeypatch.setenv("MLRUN_DBPATH", "elsewhere")
    run.log({"a": 1.0})
    run.finish()
    assert mlrun.get_run(run.id, store=".mlrun").project == "p"
    with pytest.raises(AttributeError):
        run.settings.project = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('projct = "x"', "did you mean 'project'"),
        ("strict = 'perhaps'", "strict must be true or false"),
        ("max_metric_keys = 'many'", "max_metric_keys must be int"),
        ("mode = 'onlin'", "online, offline, disabled"),
        ("= x", "mlrun.toml"),
    ],
)
def test_a_setting_without_meaning_is_told_with_its_source(
    own_folder: Path, text: str, told: str
) -> None:
    (own_folder / "mlrun.toml").write_text(text)
    with pytest.raises(ConfigError, match=told) as error:
        mlrun.init()
    assert "mlrun.toml" in str(error.value)
    assert not (own_folder / ".mlrun").exists()


def test_secrets_of_settings_are_in_no_repr_error_or_record(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun.config import settings

    secret = "hunter2-hunter2-hunter2"
    monkeypatch.setenv("MLRUN_API_KEY", secret)
    monkeypatch.setenv("MLRUN_RECORDS_URL", f"postgresql://me:{secret}@127.0.0.1:9/db")
    monkeypatch.setenv("MLRUN_OBJECTS_URL", f"s3://bucket?secret_key={secret}")
    assert secret not in repr(settings())
    store = open_store()
    assert secret not in repr(store)
    for part in ("records", "objects"):
        with pytest.raises((ConfigError, StoreError)) as error:
            getattr(store, part).create()
        assert secret not in str(error.value)
    for url in (f"https://me:{secret}@host", f"postgresql://me:{secret}@host/db"):
        with pytest.raises(ConfigError) as error:
            open_store(url)
        assert secret not in str(error.value)
    monkeypatch.delenv("MLRUN_RECORDS_URL")
    monkeypatch.delenv("MLRUN_OBJECTS_URL")
    with pytest.raises(RuntimeError), mlrun.init(project="p", store="own"):
        raise RuntimeError(f"cannot log in with {secret}")
    run_files = [p.read_bytes() for p in (own_folder / "own").rglob("*") if p.is_file()]
    assert not [1 for data in run_files if secret.encode() in data]


# -- the program around it ------------------------------------------------------------------------------------


def test_one_run_is_one_line_on_stderr_and_none_on_stdout(python: Callable[..., Any]) -> None:
    script = "import mlrun\nwith mlrun.init(project='p') as run: run.log({'a': 1}); run.log_artifact('k', body='x')"
    loud, quiet = python(script, MLRUN_QUIET="0"), python(script, MLRUN_QUIET="1")
    assert (loud.stdout, loud.stderr.count("\n")) == ("", 1)
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_a_store_that_vanishes_under_a_run_raises_nothing(
    own_folder: Path, warned: Callable[[], Any]
) -> None:
    run = mlrun.init(project="p", config={"a": 1})
    run.log({"a": 1.0})
    (own_folder / ".mlrun").rename(own_folder / "gone")  # at once: threads of the run still write
    shutil.rmtree(own_folder / "gone", ignore_errors=True)
    with warned() as messages:
        for step in range(20_000):  # beyond the first segment
            run.log({"a": 1.0, "b": float(step)})
        run.log_result("r", 1)
        run.log_artifact("k", body="x")
        run.add_tags("t")
        run.config["b"] = 2
        run.flush()
        run.finish()
    assert messages  # it is told, once a reason
    assert len(messages) == len(set(messages))
    with mlrun.init(project="p", name="next") as again:
        again.log({"a": 1.0})
    assert mlrun.get_run(again.id).summary == {"a": 1.0}


def test_a_change_of_the_working_folder_moves_nothing(own_folder: Path) -> None:
    run = mlrun.init(project="p")
    run.log({"a": 1.0})
    (own_folder / "below").mkdir()
    os.chdir(own_folder / "below")
    run.log({"a": 2.0})
    run.log_artifact("k", body="x")
    run.finish()
    assert list((own_folder / "below").iterdir()) == []
    assert mlrun.get_run(run.id, store=own_folder / ".mlrun").summary == {"a": 2.0}
    assert mlrun.get_artifact("p/k", store=own_folder / ".mlrun").get() == b"x"


def test_one_positional_of_log_artifact_is_the_path_and_its_last_part_the_key(
    own_folder: Path,
) -> None:
    (own_folder / "sub" / "dir").mkdir(parents=True)
    (own_folder / "sub" / "model.pt").write_bytes(b"w")
    (own_folder / "sub" / "dir" / "x").write_bytes(b"y")
    with mlrun.init(project="p") as run:
        run.log_artifact("sub/model.pt", type="model")
        (own_folder / "sub" / "model.pt").unlink()  # the bytes were safe when it returned
        run.log_artifact(own_folder / "sub" / "dir")
        run.log_artifact("https://host/data/set.csv?x=1")
        run.log_artifact("given", local_path="sub/dir/x")
        run.log_artifact("made", body="text")
    found = mlrun.artifacts("p").sort("key").select("key", "type").rows()
    assert [k for k, _ in found] == ["dir", "given", "made", "model.pt", "set.csv"]
    assert dict(found)["model.pt"] == "model"
    assert mlrun.get_artifact("p/model.pt").get() == b"w"


def test_the_name_of_a_run_may_be_the_function_it_runs() -> None:
    from mlrun.config import settings
    from mlrun.tracking.start import About, open_run

    run = open_run(open_store(), settings(), About(name="train", function="train"))
    run.finish()
    assert mlrun.runs().row(0, named=True)["function"] == "train"


def test_provenance_hides_secrets_of_the_command_line_and_the_remote(
    own_folder: Path, python: Callable[..., Any]
) -> None:
    secret = "s3cr3t-s3cr3t-s3cr3t"
    (own_folder / ".git").mkdir()
    (own_folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (own_folder / ".git" / "config").write_text(
        f'[core]\n\trepositoryformatversion = 0\n[remote "origin"]\n\turl = https://me:{secret}@host/r.git\n'
    )
    for name in ("objects", "refs"):
        (own_folder / ".git" / name).mkdir()
    python(
        "import time, mlrun\nrun = mlrun.init(project='p', id='r')\ntime.sleep(1)\nrun.finish()",
        "--api-key", secret, f"--token={secret}",
        MLRUN_GIT="1",
    )  # fmt: skip
    text = json.dumps(mlrun.get_run("r").provenance)
    assert "python" in text
    assert secret not in text
