"""Any text is accepted and comes back; no name becomes a path, SQL or markup; no run's words hide another run."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.content.naming import artifact_uri
from mlrun.lookup.opcheck import misfit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONE = "\ud800"  # a lone surrogate: what an undecodable file name holds
HOSTILE = {
    "path": "../../etc/x",
    "sql": "x'; drop table runs; --",
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "emoji": "🚀🧪 é ß 中文 \u202e",
    "controls": "a\tb\nc\rd\x1b[31m\x7f",
    "quotes": "\"'`$()[]{}%\\",
    "dots": "..",
    "windows": "C:\\con\\aux:",
    "space": " ",
}
QUESTIONS: dict[str, Callable[[], Any]] = {
    "runs": lambda: mlrun.runs(children=True),
    "projects": mlrun.projects,
    "artifacts": mlrun.artifacts,
    "params": lambda: mlrun.params(mlrun.runs(children=True)),
    "metrics": lambda: mlrun.metrics(mlrun.runs(children=True)),
    "sql": lambda: mlrun.sql("select count(*) as n from runs"),
}


def ask_everything() -> dict[str, int]:
    """Rows of every answer, the same before and after everything is absorbed."""
    before = {name: ask().height for name, ask in QUESTIONS.items()}
    mlrun.compact()
    assert {name: ask().height for name, ask in QUESTIONS.items()} == before
    return before


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_every_field_gives_back_what_it_was_given(own_folder: Path, text: str) -> None:
    with mlrun.init(
        project=text, name=text, id=text, group=text, notes=text, tags=[text],
        labels={text: text}, config={text: text},
    ) as run:  # fmt: skip
        run.log({text: 1.5})
        run.log_result(text, text)
        run.log_artifact(text, body=text, type=text)
    for _ in range(2):
        view = mlrun.get_run(text)
        assert (view.id, view.name, view.project, view.notes) == (text,) * 4
        assert (view.record["group"], view.tags, view.labels) == (text, [text], {text: text})
        assert (view.params, view.results, view.summary) == (
            {text: text},
            {text: text},
            {text: 1.5},
        )
        assert view.artifact(text).get() == text.encode()
        assert mlrun.artifacts(text)["type"].to_list() == [text]
        assert mlrun.runs(text).height == 1
        assert mlrun.metrics(text, keys=[text])["value"].to_list() == [1.5]
        assert mlrun.projects()["name"].to_list() == [text]
        mlrun.compact()
    inside = {p.name for p in own_folder.rglob("*")}
    assert not inside & set(HOSTILE.values())
    assert {p.name for p in own_folder.iterdir()} == {".mlrun"}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_is_run_as_a_page(text: str) -> None:
    with mlrun.init(project=text, name=text, config={text: text}) as run:
        run.log_result(text, text)
        item = run.log_artifact(text, body=text, type=text)
    for shown in (mlrun.get_run(run.id)._repr_html_(), item._repr_html_()):
        assert "<script" not in shown
        assert "<img" not in shown


def test_nul_and_long_text_are_changed_with_one_warning_each(
    warned: Callable[[], Any],
) -> None:
    long = "é" * 2000
    with warned() as messages:
        run = mlrun.init(project="p\0", name=long, group="g\0", tags=["t\0"], config={"k\0": 1})
        for _ in range(3):
            run.log({"m\0": 1.0})
            run.log({long + "m": 1.0})
        run.finish()
    assert sorted(m.split(" ")[0] for m in messages) == [
        "group",
        "key",
        "key",
        "key",
        "name",
        "project",
        "tag",
    ]
    assert sum("cut to 1,024 bytes" in m for m in messages) == 2
    assert sum("NUL removed" in m for m in messages) == 5
    row = mlrun.runs("p").row(0, named=True)
    assert (row["name"], row["group"], row["tags"]) == ("é" * 512, "g", ["t"])
    assert set(mlrun.metrics(run.id)["key"]) == {"m", "é" * 512}


def test_a_change_cleans_its_text_as_init_does(
    finished: Callable[..., str], warned: Callable[[], Any]
) -> None:
    view = mlrun.get_run(finished(labels={"team": "cv"}))
    with warned() as messages:
        view.update(
            name="n\0" + "x" * 2000, notes=LONE, add_tags=["t\0", 7, LONE],  # type: ignore[list-item]
            labels={"odd": object, LONE: LONE, 7: float("nan")},  # type: ignore[dict-item]
        )  # fmt: skip
    assert len([m for m in messages if m.startswith("name")]) == 1
    assert view.name == "n" + "x" * 1023
    assert view.notes == "\ufffd"
    assert view.tags == ["7", "t", "\ufffd"]
    assert view.labels["\ufffd"] == "\ufffd"
    assert view.labels["team"] == "cv"
    assert "object" in view.labels["odd"]
    assert view.labels["7"] != view.labels["7"]


@pytest.mark.parametrize(
    "say",
    [
        {"group": LONE}, {"group": 7}, {"parent": LONE}, {"parent": 9}, {"kind": 7}, {"kind": LONE},
        {"notes": LONE}, {"labels": {LONE: LONE, "o": object()}}, {"config": {LONE: [LONE, 2**70, 1j]}},
        {"project": LONE}, {"id": LONE}, {"tags": [LONE, None, 7]},
    ],
)  # fmt: skip
def test_whatever_init_is_told_every_run_can_be_read(
    finished: Callable[..., str], say: dict[str, Any]
) -> None:
    finished("other")
    mlrun.init(**{"project": "p", **say}).finish()
    assert ask_everything()["runs"] == 2


def test_an_error_that_names_an_undecodable_file_hides_no_run(finished: Callable[..., str]) -> None:
    finished("other")
    name = os.fsdecode(b"data-\xff.csv")
    with pytest.raises(ValueError, match="data"), mlrun.init(project="p", name="bad") as run:
        raise ValueError(f"cannot read {name}")
    failed = mlrun.get_run(run.id)
    assert failed.state == "error"
    assert "cannot read data-\ufffd.csv" in str(failed.error)
    assert ask_everything()["runs"] == 2


def test_whatever_a_run_is_told_every_run_can_be_read(
    finished: Callable[..., str], warned: Callable[[], Any]
) -> None:
    finished("other")
    with warned():
        run = mlrun.init(project="p")
        run.name = LONE
        run.notes = LONE
        run.add_tags(LONE, 7)  # type: ignore[arg-type]
        run.set_label(LONE, LONE)
        run.set_provenance({"x": LONE})
        run.define_metric(LONE, x=LONE, goal=LONE)
        run.get_param(LONE, LONE)
        run.log_results({LONE: LONE, "big": 2**70, "o": object(), "y": "y" * 1_000_000})
        run.log({LONE: 1.0, "text": LONE, "a": {"b": 2}, ("a", 1): 3, None: 4})  # type: ignore[dict-item]
        for kind in (7, LONE, None):
            run.log_artifact("k", body=b"x", type=kind)  # type: ignore[arg-type]
        run.log_artifact(
            "k", body=b"x", labels={LONE: LONE}, metadata={"o": object(), "n": float("nan")}
        )
        run.finish("error", LONE)
    rows = ask_everything()
    assert rows["runs"] == 2
    assert rows["artifacts"] >= 2


def test_what_fits_no_table_is_set_aside_and_hides_nothing(finished: Callable[..., str]) -> None:
    """What another program, or an older version, wrote into the journal."""
    finished("one")
    writer = mlrun.open_store().writer()
    unfit: list[Any] = [
        ("put", "runs", {"run_id": "bad", "project": 7}),
        ("put", "runs", {"project": "p"}),
        ("put", "runs", {"run_id": "bad", "started_at": "noon"}),
        ("put", "runs", {"run_id": "bad", "started_at": 2**63}),
        ("put", "params", {"run_id": "bad", "key": "k", "value": "{", "type": "str"}),
        ("put", "metrics", {"run_id": "bad"}),
        ("drop", "runs", {}),
        ("del", "tags", {"run": "bad"}),
        ("artifact", "", {"project": "p", "key": "k"}),
        ("artifact", "", {"project": "p", "key": "k", "type": 7, "uri": "u", "created_at": 1}),
        ("artifact", "", {"project": "p", "key": "k", "type": "t", "uri": "u", "created_at": 1, "aliases": [7]}),
    ]  # fmt: skip
    assert all(misfit(op) for op in unfit)
    for op in unfit:
        writer.record([op])
    finished("two")
    assert ask_everything()["runs"] == 2
    aside = (mlrun.open_store().journal / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["op"][2] for line in aside] == [op[2] for op in unfit]


def test_columns_of_labels_with_any_name(finished: Callable[..., str]) -> None:
    finished(labels={"it's": "v", 'q"q': 1, "a\\b": [1], "nan": float("nan"), "plain": "x"})
    columns = ['labels."it\'s"', 'labels."q""q"', 'labels."a\\b"', "labels.plain", "labels.none"]
    assert mlrun.runs(columns=columns).rows() == [("v", "1", "[1]", "x", None)]


def test_hostile_words_in_a_question_are_only_words(finished: Callable[..., str]) -> None:
    finished("x'; drop table runs; --")
    assert mlrun.runs(where="name = 'x''; drop table runs; --'").height == 1
    assert mlrun.runs("x'; drop table runs; --").height == 0
    assert mlrun.params("x'; drop table runs; --").height == 0
    assert mlrun.metrics("' or 1=1 --").height == 0
    assert mlrun.logs("../../etc/passwd").height == 0
    assert mlrun.artifacts("../../etc").height == 0
    assert mlrun.delete_runs("name = ''' or 1=1 --'") == 0
    assert mlrun.runs().height == 1


def test_a_megabyte_in_every_value_comes_back(own_folder: Path) -> None:
    big = "é" * 500_000
    with mlrun.init(project="p", notes=big, config={"k": big}, labels={"l": big}) as run:
        run.log_result("r", big)
    view = mlrun.get_run(run.id)
    assert view.notes == view.params["k"] == view.labels["l"] == view.results["r"] == big


def test_bytes_of_an_artifact_lie_under_their_hash_only(own_folder: Path) -> None:
    with mlrun.init(project="../p") as run:
        item = run.log_artifact("../../../escape", body=b"bytes")
    assert item.uri == artifact_uri("../p", "../../../escape", 1)
    [sha256] = mlrun.artifacts("../p")["sha256"]
    objects = {p.name for p in (own_folder / ".mlrun" / "objects").rglob("*") if p.is_file()}
    assert sha256 in objects
    assert all(len(name) == 64 for name in objects)
    assert mlrun.get_artifact(item.uri).get() == b"bytes"
