from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

import mlrun
from mlrun.app.board import session

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"


def _logged() -> None:
    for number in (1, 2):
        with mlrun.init(project="p", name=HOSTILE) as run:
            frame = pl.DataFrame({"x": [number, 2], "y": ["a", "b"]})
            run.log_dataset("train", frame, metadata={"note": HOSTILE})
            run.log_model("clf", body=b"m%d" % number, metrics={"acc": number / 2})
            run.log_artifact(HOSTILE, body="words")
    with mlrun.init(project="p", name="user") as run:
        run.use_artifact("p/clf:v2")


def test_without_artifacts_the_page_says_how_they_are_made(opened: Callable[..., Any]) -> None:
    with mlrun.init(project="p"):
        pass
    page = opened("artifacts")
    assert not page.exception
    assert "log_model" in shown(page)


def test_artifacts_are_listed_by_type_and_name(opened: Callable[..., Any]) -> None:
    _logged()
    page = opened("artifacts", project="p")
    assert not page.exception
    assert set(page.dataframe[0].value["key"]) == {"train", "clf", HOSTILE}
    page = opened("artifacts", type="model")
    assert page.dataframe[0].value[["key", "version"]].to_numpy().tolist() == [["clf", 2]]
    page = opened("artifacts", find="nothing like it")
    assert "No artifact fits" in shown(page)


def test_a_version_shows_preview_metadata_lineage_versions_and_differences(
    opened: Callable[..., Any],
) -> None:
    _logged()
    uri = "store://p/clf:v2"
    page = opened("artifacts", artifact=uri)
    assert not page.exception
    assert page.title[0].value == "clf v2"
    page = opened("artifacts", artifact=uri, see="Metadata")
    assert "acc" in page.dataframe[1].value["name"].to_list()
    page = opened("artifacts", artifact=uri, see="Lineage")
    assert not page.exception
    assert page.dataframe[0].value["role"].to_list() == ["made", "used"]
    assert len(page.get("image")) == 1
    page = opened("artifacts", artifact=uri, see="Versions")
    assert page.dataframe[0].value["version"].to_list() == [2, 1]
    page = opened("artifacts", artifact=uri, see="Compare")
    assert not page.exception
    assert page.dataframe[0].value["change"].to_list() == [0.5]
    page = opened("artifacts", artifact="store://p/train:v2", see="Compare")
    assert not page.exception
    assert [s.value for s in page.subheader] == ["Metadata", "Columns", "Statistics"]


def test_hostile_names_are_text(opened: Callable[..., Any]) -> None:
    _logged()
    item = mlrun.get_artifact(f"p/{HOSTILE}:v1")
    for room in ("Preview", "Metadata", "Lineage", "Versions"):
        page = opened("artifacts", artifact=item.uri, see=room)
        assert not page.exception
        assert "\\*\\*bold\\*\\*" in page.title[0].value
        assert not [m for m in page.markdown if m.allow_html and "<img" in m.value]


def test_an_editor_promotes_a_version(opened: Callable[..., Any]) -> None:
    _logged()
    mlrun.get_artifact("p/clf:v1").set_alias("production")
    page = opened("artifacts", artifact="store://p/clf:v2")
    page.selectbox(key="_alias").set_value("production").run()
    assert "moves from v1 to v2" in shown(page)
    page.button(key="_alias_set").click().run()
    assert not page.exception
    assert mlrun.get_artifact("p/clf:production").version == 2
    page.selectbox(key="_alias_gone").set_value("production").run()
    page.button(key="_alias_remove").click().run()
    assert mlrun.get_artifact("p/clf:v2").aliases == ["latest"]


def test_a_viewer_promotes_nothing(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _logged()
    monkeypatch.setattr(session, "who", lambda: {"user": "vera", "roles": {"": "viewer"}})
    page = opened("artifacts", artifact="store://p/clf:v2")
    assert not page.exception
    assert not page.selectbox


def test_a_name_that_is_not_there_is_a_state_of_the_page(opened: Callable[..., Any]) -> None:
    _logged()
    page = opened("artifacts", artifact="store://p/clff:v2")
    assert not page.exception
    assert "Nothing of that name" in shown(page)
