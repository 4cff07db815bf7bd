"""Versions and tags: what names mean, what moves, what survives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import mlrun
from mlrun.errors import ConfigError, NotFound
from mlrun.functions.store import delete_versions, find_version, get_spec, list_versions
from mlrun.store import open_store

if TYPE_CHECKING:
    from mlrun.functions.function import Function


def made(image: str = "", name: str = "train", project: str = "digits") -> Function:
    return mlrun.new_function(name, project, image=image).with_code(body="def f(): return 1\n")


def meant(name: str) -> str:
    return find_version(open_store(), name, "digits").hash


def test_latest_is_what_was_saved_last_and_tags_stay() -> None:
    one, two = made("one"), made("two")
    one.save("v1")
    two.save()
    assert meant("train") == meant("digits/train:latest") == two.hash
    assert meant("train:v1") == one.hash
    one.save("v2")
    assert meant("train") == one.hash == meant("train:v2")


def test_a_hash_wins_over_a_tag_and_a_beginning_of_it_is_enough() -> None:
    one, two = made("one"), made("two")
    one.save("v1")
    two.save()
    assert meant(f"train:v1@{two.hash}") == two.hash
    assert meant(f"train@{one.hash[:8]}") == one.hash
    assert str(find_version(open_store(), "digits/train:v1")) == one.uri


def test_a_run_names_the_exact_version_and_stores_it() -> None:
    fn = made()
    run = fn.run()
    [named] = mlrun.runs(columns=["function"])["function"].to_list()
    assert named == f"digits/train@{fn.hash}" == fn.uri
    assert mlrun.import_function(named).hash == fn.hash
    assert run.results == {"return": 1}


def test_running_an_old_version_again_moves_nothing() -> None:
    one, two = made("one"), made("two")
    one.run()
    two.run()
    one.run()
    assert meant("train") == two.hash
    one.save()
    assert meant("train") == one.hash


def test_a_disabled_run_stores_no_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLRUN_MODE", "disabled")
    assert made().versioned_uri() == made().uri
    monkeypatch.delenv("MLRUN_MODE")
    assert list_versions(open_store()).height == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trian", "did you mean 'train'"),
        ("train:v9", "no tag 'v9'"),
        ("train@00000000", "no version @00000000"),
        ("nobody/train", "no function 'train' in project 'nobody'"),
    ],
)
def test_what_is_not_there_is_said(name: str, said: str) -> None:
    made().save("v1")
    with pytest.raises(NotFound, match=said):
        find_version(open_store(), name, "digits")


def test_asking_makes_no_store() -> None:
    with pytest.raises(NotFound, match="no store"):
        get_spec(open_store(), "digits/train")
    assert list_versions(open_store()).height == 0
    assert not os.path.exists(".mlrun")


def test_lists_are_frames_newest_first() -> None:
    for image in ("a", "b", "c"):
        made(image).save("old" if image == "a" else "")
    made("z", "other").save()
    made("q", "train", "elsewhere").save()
    found = list_versions(open_store(), "digits")
    assert found.columns == [
        "project", "name", "hash", "tags", "kind", "handler", "image", "description", "created_at",
    ]  # fmt: skip
    assert found["image"].to_list() == ["z", "c", "b", "a"]
    assert found["tags"].to_list() == [["latest"], ["latest"], [], ["old"]]
    assert list_versions(open_store(), "digits", tag="old")["image"].to_list() == ["a"]
    assert list_versions(open_store(), name="train").height == 4
    assert str(found.schema["created_at"]) == "Datetime(time_unit='us', time_zone='UTC')"


def test_deleted_functions_are_gone_with_their_tags() -> None:
    made("a").save("v1")
    made("b").save()
    assert delete_versions(open_store(), "digits", "train") == 2
    with pytest.raises(NotFound):
        meant("train:v1")


@pytest.mark.parametrize(
    "project", ["a/b:c@d", "'; drop table functions; --", "🚀", "../../x", "a\nb"]
)
def test_any_text_is_a_project(project: str) -> None:
    fn = made(project=project)
    fn.save("v1")
    assert mlrun.import_function(f"{project}/train:v1").uri == fn.uri
    assert mlrun.import_function(fn.uri).project == project


def test_hostile_text_in_a_spec_comes_back_as_it_was() -> None:
    text = "\0 \ud800 '; drop table functions"
    fn = mlrun.new_function("f", "p", description=text, env={"A": text})
    fn.save()
    assert mlrun.import_function("p/f").spec.env == {"A": text}


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be stored"):
        mlrun.new_function("f", labels={"a": object()}).save()


def test_a_saved_version_survives_a_killed_process() -> None:
    code = (
        "import mlrun, os; print(mlrun.new_function('f', 'p', image='i').save(), flush=True);"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == -9
    assert mlrun.import_function(done.stdout.strip()).spec.image == "i"


def test_many_processes_save_the_same_function() -> None:
    code = "import mlrun; print(mlrun.new_function('f', 'p', image='i').save('v1'))"
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        for _ in range(4)
    ]
    told = {job.communicate()[0] for job in jobs}
    assert [job.returncode for job in jobs] == [0] * 4
    assert len(told) == 1
    assert list_versions(open_store(), "p").height == 1


def test_the_stored_spec_is_what_a_worker_loads() -> None:
    fn = made()
    fn.save()
    assert get_spec(open_store(), fn.uri) == json.loads(json.dumps(fn.spec.to_dict()))
