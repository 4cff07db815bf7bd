from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from mlrun.content.naming import ArtifactName, artifact_uri, check_alias, readings
from mlrun.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("key", ("here", "key", "latest")),
        ("key:v2", ("here", "key", "v2")),
        ("key:prod", ("here", "key", "prod")),
        ("p/key", ("p", "key", "latest")),
        ("p/a/b:v3", ("p", "a/b", "v3")),
        ("p/a:b:c", ("p", "a:b", "c")),
        ("store://p/a/b:v3", ("p", "a/b", "v3")),
        ("store://p%2Fq/a%3Ab", ("p/q", "a:b", "latest")),
        ("/key", ("here", "/key", "latest")),
        (":v3", ("here", ":v3", "latest")),
    ],
)
def test_the_grammars_reading_comes_first(name: str, first: tuple[str, str, str]) -> None:
    assert tuple(readings(name, "here")[0]) == first


def test_the_whole_text_is_a_reading_too() -> None:
    assert ArtifactName("here", "val/roc:1") in readings("val/roc:1", "here")


@pytest.mark.parametrize(
    ("tag", "version"), [("v1", 1), ("v0", None), ("v01", None), ("V1", None), ("x", None)]
)
def test_versions(tag: str, version: int | None) -> None:
    assert ArtifactName("p", "k", tag).version == version


@given(st.text(), st.text(), st.integers(1, 10**9))
def test_a_uri_is_exact(project: str, key: str, version: int) -> None:
    (found,) = readings(artifact_uri(project, key, version), "other")
    assert (found.project, found.key, found.version) == (project, key, version)


@pytest.mark.parametrize(
    "alias", ["", "latest", "v1", "V2", "v007", "a:b", "a/b", "a\\b", "a\nb", "x" * 256, "\ud800"]
)
def test_aliases_that_are_refused(alias: str) -> None:
    with pytest.raises(ConfigError, match=r"alias|latest") as caught:
        check_alias(alias)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("alias", ["production", "v1-final", "best model", "🦄", "latest2"])
def test_aliases_that_are_taken(alias: str) -> None:
    assert check_alias(alias) == alias
