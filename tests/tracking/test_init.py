from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.config import settings
from mlrun.errors import ConfigError, NotFound, RunExists, StoreError
from mlrun.store import open_store
from mlrun.tracking import current
from mlrun.tracking.start import About, open_run

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path


class Locked:
    """A config object that does not tell."""

    def to_dict(self) -> dict[str, Any]:
        raise PermissionError("who asks")


def test_a_run_says_who_where_and_since_when() -> None:
    run = mlrun.init(project="digits")
    view = mlrun.get_run(run.id)
    assert (view.state, view.project) == ("running", "digits")
    assert view.name == run.name
    assert view.record["kind"] == "run"
    assert view.record["host"]
    assert view.started_at is not None
    assert view.finished_at is None
    run.finish()
    ended = mlrun.get_run(run.id)
    assert ended.state == "completed"
    assert ended.finished_at is not None
    assert ended.finished_at >= view.started_at


def test_everything_that_is_said_is_stored() -> None:
    parent = mlrun.init(name="outer")
    parent.finish()
    run = mlrun.init(
        project="digits", name="mlp", config={"lr": 0.1, "model": {"depth": 3}}, tags=["b", "a"],
        labels={"team": "cv", 7: True},  # type: ignore[dict-item]
        group="night", parent=parent, notes="two\nlines",
    )  # fmt: skip
    view = mlrun.get_run(run.id)
    assert view.name == "mlp"
    assert view.params == {"lr": 0.1, "model.depth": 3}
    assert view.tags == ["a", "b"] == run.tags
    assert view.labels == {"team": "cv", "7": True} == run.labels
    assert (view.record["group"], view.record["parent"]) == ("night", parent.id)
    assert view.notes == "two\nlines"


def test_the_name_defaults_to_the_script_and_the_end_of_the_id(python: Callable[..., Any]) -> None:
    done = python("import mlrun; run = mlrun.init(); print(run.name, run.id)")
    name, run_id = done.stdout.split()
    assert name == f"script-{run_id[-6:]}"


def test_the_project_comes_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLRUN_PROJECT", "from-env")
    assert mlrun.init().project == "from-env"


def test_one_line_on_stderr_and_nothing_on_stdout(
    python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    script = (
        "import mlrun; run = mlrun.init(project='p', name='n'); run.log({'a': 1}); run.finish()"
    )
    loud = python(script, MLRUN_QUIET="0")
    assert loud.stdout == ""
    assert re.fullmatch(r"mlrun: started run 'n' in project 'p', id \S+, store \S+\n", loud.stderr)
    quiet = python(script, MLRUN_QUIET="1")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_the_line_on_stderr_shows_the_beginning_of_a_very_long_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = mlrun.init(project="p" * 81, name="n" * 900, quiet=False, console=False)
    told = capsys.readouterr().err
    assert f"run '{'n' * 79}…' in project '{'p' * 79}…', id {run.id}, store " in told
    assert (len(run.name), len(run.project)) == (900, 81)
    mlrun.init(name="n" * 80, quiet=False, console=False, mode="disabled")
    assert f"run '{'n' * 80}' is disabled" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"resume": "alow"}, ConfigError, "did you mean 'allow'"),
        ({"resume": "must"}, ConfigError, "MLRUN_RUN_ID"),
        ({"id": "missing", "resume": "must"}, NotFound, "no run 'missing'"),
        ({"tgas": ["a"]}, ConfigError, "did you mean 'tags'"),
        ({"consol": False}, ConfigError, "did you mean 'console'"),
        ({"mode": "offlin"}, ConfigError, "online, offline, disabled"),
        ({"config": "abc"}, ConfigError, "config is a dict or a config object, not str"),
        ({"config": ""}, ConfigError, "config is a dict"),
        ({"config": [1, 2]}, ConfigError, "config is a dict or a config object, not list"),
        ({"config": ["ab", "cd"]}, ConfigError, "config is a dict"),
        ({"config": Locked()}, ConfigError, "config is .* not Locked: who asks"),
        ({"tags": 5}, ConfigError, "tags is a list of words, not int"),
        ({"tags": b"ab"}, ConfigError, "tags is a list of words, not bytes"),
        ({"labels": ["a"]}, ConfigError, "labels is a dict .* not list"),
    ],
)
def test_an_error_leaves_the_open_run_as_it_is(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    run = mlrun.init(name="first")
    with pytest.raises(error, match=message):
        mlrun.init(**arguments)
    assert mlrun.current_run() is run
    assert run.state == "running"
    assert mlrun.runs()["name"].to_list() == ["first"]


def test_an_error_makes_no_store(own_folder: Path) -> None:
    with pytest.raises(ConfigError):
        mlrun.init(resume="perhaps")
    assert list(own_folder.iterdir()) == []


def test_a_missing_id_names_the_nearest() -> None:
    mlrun.init(id="night-1").finish()
    with pytest.raises(NotFound, match="did you mean 'night-1'"):
        mlrun.init(id="nigth-1", resume="must")


def test_a_file_where_the_folder_should_be(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_folder / "store").write_text("")
    monkeypatch.setenv("MLRUN_DBPATH", "store")
    with pytest.raises(StoreError, match=r"store is a file.*MLRUN_DBPATH"):
        mlrun.init()


def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(StoreError, match=r"/proc/nowhere.*MLRUN_DBPATH"):
        mlrun.init(store="/proc/nowhere")


def test_a_second_init_finishes_the_first_with_a_warning(warned: Callable[[], Any]) -> None:
    first = mlrun.init(name="first")
    with warned() as messages:
        second = mlrun.init(name="second")
    assert [m for m in messages if "'first'" in m]
    assert first.state == "completed"
    assert mlrun.get_run(first.id).state == "completed"
    assert mlrun.current_run() is second


def test_the_store_may_be_a_path_or_a_store(own_folder: Path) -> None:
    one = mlrun.init(store=own_folder / "here")
    one.finish()
    two = mlrun.init(store=open_store(own_folder / "here"))
    two.finish()
    assert one.store is two.store
    assert mlrun.runs(store=own_folder / "here").height == 2


def test_an_id_is_taken_once() -> None:
    mlrun.init(id="a", project="p").finish()
    with pytest.raises(RunExists, match=r"completed, project 'p'.*resume='allow'"):
        mlrun.init(id="a")
    assert mlrun.init(id="a", resume="allow").id == "a"


def test_in_a_handler_init_returns_its_run_and_adds_to_it() -> None:
    run = open_run(open_store(), settings(project="p"), About(name="train", config={"a": 1}))
    with current.bind(run):
        inner = mlrun.init(project="other", config={"b": 2}, tags=["t"], labels={"l": 1}, notes="n")
        assert inner is run
        with mlrun.init() as again:
            mlrun.log({"loss": 1.0})
        assert again is run
        inner.finish()
        assert run.state == "running"
    assert mlrun.current_run() is None
    run.finish()
    view = mlrun.get_run(run.id)
    assert (view.project, view.state) == ("p", "completed")
    assert view.params == {"a": 1, "b": 2}
    assert (view.tags, view.labels, view.notes) == (["t"], {"l": 1}, "n")
    assert view.summary == {"loss": 1.0}


def test_in_a_handler_too_init_refuses_what_has_no_meaning() -> None:
    run = open_run(open_store(), settings(), About(name="train"))
    with current.bind(run), pytest.raises(ConfigError, match="labels is a dict"):
        mlrun.init(config={"a": 1}, labels=["a"])  # type: ignore[arg-type]
    assert dict(run.config) == {}
    run.finish()


def test_tags_and_pairs_may_come_from_an_iterator() -> None:
    run = mlrun.init(config=iter([("lr", 0.1)]), tags=iter("ab"), labels=iter([("k", 1)]))  # type: ignore[arg-type]
    view = mlrun.get_run(run.id)
    assert (view.params, view.tags, view.labels) == ({"lr": 0.1}, ["a", "b"], {"k": 1})


def test_open_run_leaves_the_current_run_alone() -> None:
    outer = mlrun.init()
    store = open_store()
    children = [
        open_run(store, settings(), About(parent=outer, iteration=i, function="train"))
        for i in (1, 2)
    ]
    assert mlrun.current_run() is outer
    for child in children:
        child.log({"loss": 0.5})
        child.finish()
    found = mlrun.runs(children=True).filter(parent=outer.id).sort("iteration")
    assert found["iteration"].to_list() == [1, 2]
    assert found["function"].to_list() == ["train", "train"]
    assert outer.state == "running"


def test_the_greeting_is_no_line_of_the_run(
    python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = python(
        "import mlrun\nwith mlrun.init('p') as run: print('mine')\nprint(mlrun.logs(run.id)['line'].to_list())",
        MLRUN_QUIET="0",
    )
    assert done.stdout.splitlines()[-1] == "['mine']"
    assert "started run" in done.stderr
