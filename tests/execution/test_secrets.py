from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlrun.errors import ConfigError, NotFound
from mlrun.execution.secrets import check_references, read_reference, resolve_secret

if TYPE_CHECKING:
    from pathlib import Path


def test_a_reference_is_read_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("from a file\n")
    monkeypatch.setenv("TOKEN", "from the environment")
    assert read_reference("env:TOKEN") == "from the environment"
    assert read_reference(f"file:{tmp_path / 'token'}") == "from a file"
    assert read_reference("k8s:store/TOKEN") == "from the environment"


@pytest.mark.parametrize(
    "reference", ["env:NOT_SET_HERE", "file:/no/such", "k8s:a/NOT_SET_HERE", "x:y"]
)
def test_a_secret_that_is_not_there_is_told_by_its_reference(reference: str) -> None:
    with pytest.raises(NotFound, match=reference):
        read_reference(reference)


def test_a_name_without_reference_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIN", "1")
    assert resolve_secret("PLAIN", {}) == "1"
    assert resolve_secret("NONE_OF_IT", {}, "default") == "default"
    with pytest.raises(NotFound):
        resolve_secret("PLAIN", {"PLAIN": "env:NOT_SET_HERE"}, "default")


@pytest.mark.parametrize("value", ["hunter2", "env:", "vault:x", "", 3])
def test_a_secret_in_clear_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_references({"PASSWORD": value})
    assert "hunter2" not in str(error.value)
