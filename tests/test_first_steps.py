"""What people do on their first day, and what must not come of it."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mlrun
from mlrun.errors import ConfigError, QueryError
from mlrun.notices import MlrunWarning

QUIET: dict[str, Any] = {"console": False, "system_metrics": False, "git": False}


def elsewhere(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_store_that_was_removed_is_made_anew_by_the_next_run() -> None:
    run = mlrun.init("p", "first", **QUIET)
    run.log({"a": 1})
    while Path(".mlrun").exists():  # what works in the background may make a file meanwhile
        shutil.rmtree(".mlrun", ignore_errors=True)
    with pytest.warns(MlrunWarning, match="journal|stored"):
        run.finish()
    with mlrun.init("p", "second", **QUIET) as run:
        run.log({"a": 2})
        run.log_artifact("notes", body="kept")
    assert mlrun.runs("p", columns=["name", "state", "metrics.a"]).rows() == [
        ("second", "completed", 2.0)
    ]
    assert mlrun.get_artifact("p/notes").get() == b"kept"


def test_a_store_that_another_process_made_anew_is_read_not_the_old_one() -> None:
    make = "import mlrun\nwith mlrun.init('p', {name!r}) as run:\n    run.log({{'a': {value}}})"
    elsewhere(make.format(name="old", value=1))
    assert mlrun.compact()["points"] == 1
    assert mlrun.metrics(mlrun.runs("p"))["value"].to_list() == [1.0]
    while Path(".mlrun").exists():  # what works in the background may make a file meanwhile
        shutil.rmtree(".mlrun", ignore_errors=True)
    elsewhere(make.format(name="new", value=2))
    assert mlrun.runs("p")["name"].to_list() == ["new"]
    assert mlrun.metrics(mlrun.runs("p"))["value"].to_list() == [2.0]
    assert mlrun.sql("select value from metrics")["value"].to_list() == [2.0]


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLRUN_DBPATH", "MLRUN_MODE", "MLRUN_CONSOLE"):
        monkeypatch.setenv(name, "")
    with mlrun.init("p", system_metrics=False) as run:
        assert run.settings.console
    assert os.listdir() == [".mlrun"]


def test_the_url_of_a_gateway_holds_no_password() -> None:
    with pytest.raises(ConfigError, match="give its key by MLRUN_API_KEY") as caught:
        mlrun.init("p", store="http://user:secret@localhost:3001")
    assert "secret" not in str(caught.value)


def test_a_column_that_is_named_twice_comes_once() -> None:
    with mlrun.init("p", "a", **QUIET):
        pass
    assert mlrun.runs(columns=["name", "state", "name"]).rows() == [("a", "completed")]


def test_what_is_no_text_is_told_as_such() -> None:
    for wrong in (lambda: mlrun.runs(["p"]), lambda: mlrun.get_run(None)):  # type: ignore[arg-type]
        with pytest.raises(QueryError, match="text"):
            wrong()


def test_every_run_can_be_meant_and_is_never_meant_by_nothing() -> None:
    with mlrun.init("p", **QUIET):
        pass
    with pytest.raises(QueryError, match="run_id is not null"):
        mlrun.delete_runs("")
    assert mlrun.delete_runs("run_id is not null") == 1
    assert mlrun.runs().height == 0
    assert Path(".mlrun").is_dir()


def test_a_slip_in_a_tracking_call_ends_no_training_run() -> None:
    run = mlrun.init("p", "slips", **QUIET)
    with pytest.warns(MlrunWarning, match=r"log_results\(\) takes a dict, not int"):
        run.log_results(5)  # type: ignore[arg-type]
    with pytest.warns(MlrunWarning, match=r"set_labels\(\) takes a dict, not list"):
        run.set_labels(["team"])  # type: ignore[arg-type]
    run.add_tags(["a", "b"], "c")  # type: ignore[arg-type]
    run.remove_tags(["b"])  # type: ignore[arg-type]
    run.finish("error", {"code": 3})  # type: ignore[arg-type]
    found = mlrun.get_run(run.id)
    assert (found.state, found.error, found.tags) == ("error", "{'code': 3}", ["a", "c"])


def test_a_run_that_still_trains_is_not_deleted_by_a_where() -> None:
    with mlrun.init("p", "done", **QUIET):
        pass
    with mlrun.init("p", "trains", **QUIET):
        assert mlrun.delete_runs("state in ('running', 'completed')") == 1
        assert mlrun.runs("p")["name"].to_list() == ["trains"]


def test_a_copy_of_the_config_is_a_dict_of_its_own() -> None:
    with mlrun.init("p", "copies", config={"lr": 0.1, "model": {"depth": 3}}, **QUIET) as run:
        for made in (copy.deepcopy(run.config), pickle.loads(pickle.dumps(run.config))):
            assert made == {"lr": 0.1, "model": {"depth": 3}}
            made["model"]["depth"] = 5
    assert mlrun.get_run(run.id).params == {"lr": 0.1, "model.depth": 3}
