"""Names of functions: `[project/]name[:tag][@hash]`."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from mlrun.errors import ConfigError
from mlrun.functions.uri import FunctionName, check_name, check_tag

HASH = "0123456789abcdef0123456789abcdef01234567"
WORDS = st.text(st.characters(exclude_characters="/:@\0", codec="utf-8"), min_size=1)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train", ("", "train", "", "")),
        ("digits/train", ("digits", "train", "", "")),
        ("digits/train:v1", ("digits", "train", "v1", "")),
        (f"digits/train@{HASH}", ("digits", "train", "", HASH)),
        (f"digits/train:v1@{HASH}", ("digits", "train", "v1", HASH)),
        ("a/b@c:d/train:v1", ("a/b@c:d", "train", "v1", "")),
        ("db://digits/train:v1", ("digits", "train", "v1", "")),
        (f"store://functions/digits/train@{HASH}", ("digits", "train", "", HASH)),
    ],
)
def test_names_are_read(text: str, parts: tuple[str, ...]) -> None:
    assert FunctionName.parse(text) == FunctionName(*parts)


@given(
    project=st.text() | WORDS,
    name=WORDS,
    tag=st.just("") | WORDS,
    digest=st.sampled_from(["", HASH]),
)
def test_what_is_written_is_read_again(project: str, name: str, tag: str, digest: str) -> None:
    if project.startswith(("db://", "store://functions/")):
        return
    made = FunctionName(project, name, tag, digest)
    assert FunctionName.parse(str(made)) == made


@pytest.mark.parametrize("text", ["", "digits/", ":v1", "train@", "train@xyz", "train@0123"])
def test_what_names_no_function_is_refused(text: str) -> None:
    if text == "train@":
        assert FunctionName.parse(text).name == "train"
        return
    with pytest.raises(ConfigError):
        FunctionName.parse(text)


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a:b", "a@b", "a\0b"])
def test_names_that_would_not_be_read_again_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)


def test_a_tag_is_a_word() -> None:
    assert check_tag("v1.0") == "v1.0"
    with pytest.raises(ConfigError):
        check_tag("a:b")
