"""Secrets of projects: encrypted where they lie, handed to runs only, shown nowhere."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.app.keys import Keys
from mlrun.app.projectsecrets import ProjectSecrets
from mlrun.app.secretkeys import VARIABLE, SecretKeys, key_file, new_key
from mlrun.care.transfer import export_runs
from mlrun.errors import AccessDenied, ConfigError, NotFound, StoreError
from mlrun.execution.secrets import read_reference
from mlrun.gatewaystore import GatewayStore
from mlrun.project.secretstore import (
    delete_secret,
    secret_names,
    secrets_of_run,
    store_secrets,
)
from mlrun.redact import redact_text
from mlrun.store import open_store
from mlrun.tables import AUDIT, PROJECT_SECRETS
from mlrun.wire import LOOKUP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlrun.testing.gatewaythread import GatewayThread

CLEAR = "hunter2-and-a-half"


def files_with(folder: Path, text: str) -> list[Path]:
    return [
        path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()
    ]


def handler(context: Any) -> str:
    """Answer without naming the secret: the code of a function is stored."""
    found = (context.get_secret("TOKEN"), os.environ["TOKEN"])
    return " ".join(text[::-1] for text in found if text)


def test_a_secret_is_kept_encrypted_and_given_to_a_run(
    tmp_path: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", "1")
    project = mlrun.get_or_create_project("digits", context=str(tmp_path / "context"))
    project.set_secrets({"TOKEN": CLEAR, "OTHER": "env:OTHER"})
    project.save()
    assert project.secrets == {"TOKEN": "secret:digits/TOKEN", "OTHER": "env:OTHER"}
    assert project.list_secrets()["name"].to_list() == ["TOKEN"]
    with pytest.raises(NotFound, match="handed to runs only"):
        project.get_secret("TOKEN")
    fn = project.set_function(handler, name="ask")
    found = fn.run(secrets={"TOKEN": "secret:digits/TOKEN"}, returns=["same"], local=True)
    assert found.results["same"] == f"{CLEAR[::-1]} {CLEAR[::-1]}"
    mlrun.compact()
    store = open_store()
    assert files_with(store.folder, CLEAR) == []
    assert files_with(tmp_path, CLEAR) == []
    assert files_with(state_folder, CLEAR) == []
    assert key_file().stat().st_mode & 0o777 == 0o600
    assert CLEAR not in redact_text(f"it failed with {CLEAR}")
    project.delete_secret("TOKEN")
    assert project.list_secrets().is_empty()


def test_only_runs_of_the_project_and_their_editors_get_it(
    serve: Callable[..., GatewayThread], tmp_path: Path
) -> None:
    store = open_store()
    runs = {}
    for project in ("mine", "theirs"):
        with mlrun.init(project=project) as run:
            runs[project] = run.id
    store.flush_records()
    keys = Keys(store.records)
    keys.set_role("ann", "mine", "editor")
    keys.set_role("bob", "mine", "viewer")
    url = serve().url
    ann, bob = (GatewayStore(url, key=keys.create(who)[0]) for who in ("ann", "bob"))
    for client in (ann, bob):  # spools of their own
        client.folder = tmp_path / "spool"
    store_secrets(ann, "mine", {"A": CLEAR})
    store_secrets(store, "theirs", {"A": "another"})
    assert secret_names(ann, "mine").select("name", "user").rows()[0][0] == "A"
    assert secrets_of_run(ann, runs["mine"], ["A"]) == {"A": CLEAR}
    assert read_reference("secret:mine/A", (ann, runs["mine"])) == CLEAR
    refused: list[Callable[[], Any]] = [
        lambda: secrets_of_run(bob, runs["mine"], ["A"]),
        lambda: secrets_of_run(ann, runs["theirs"], ["A"]),
        lambda: secrets_of_run(ann, runs["mine"], ["B"]),
        lambda: read_reference("secret:theirs/A", (ann, runs["mine"])),
        lambda: store_secrets(bob, "mine", {"A": "x"}),
        lambda: store_secrets(ann, "theirs", {"A": "x"}),
        lambda: secret_names(bob, "mine"),
        lambda: delete_secret(bob, "mine", "A"),
        lambda: delete_secret(ann, "theirs", "A"),
    ]
    for attempt in refused:
        with pytest.raises((AccessDenied, NotFound)) as error:
            attempt()
        assert CLEAR not in str(error.value)
    with pytest.raises(ConfigError) as shown:
        store_secrets(ann, "mine", {"no name": CLEAR})
    assert CLEAR not in str(shown.value)
    body = json.dumps({"table": PROJECT_SECRETS.name}).encode()
    with pytest.raises(mlrun.errors.QueryError, match="no table"):
        ann.gateway.http.send("POST", LOOKUP, body)
    noted = store.records.lookup(AUDIT, {"project": "mine"})
    assert [row["action"] for row in noted] == ["secret.set", "secret.read", "secret.read"]
    assert CLEAR not in json.dumps(noted)
    ann.close()
    bob.close()


def test_an_export_holds_no_secrets(tmp_path: Path) -> None:
    mlrun.init(project="p").finish()
    store_secrets(open_store(), "p", {"A": CLEAR})
    export_runs(open_store(), tmp_path / "out")
    assert "project_secrets" not in "".join(str(p) for p in (tmp_path / "out").rglob("*"))


def test_a_key_is_rotated_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = new_key(), new_key()
    monkeypatch.setenv(VARIABLE, old)
    store = open_store()
    desk = ProjectSecrets(store.records)
    desk.set("p", {"A": CLEAR}, user="u")
    monkeypatch.setenv(VARIABLE, new)
    with pytest.raises(StoreError, match="is not here"):
        desk.read("p", ["A"])
    monkeypatch.setenv(VARIABLE, f"{new},{old}")
    assert (desk.rotate(), desk.rotate()) == (1, 0)
    monkeypatch.setenv(VARIABLE, new)
    assert desk.read("p", ["A"]) == {"A": CLEAR}
    assert desk.names("p")[0]["key_id"] == SecretKeys(new).newest
    assert old not in repr(SecretKeys(old))
    [row] = store.records.lookup(PROJECT_SECRETS, {})
    store.records.apply([("put", PROJECT_SECRETS.name, {**row, "project": "q"})])
    with pytest.raises(StoreError, match="moved from elsewhere"):
        desk.read("q", ["A"])
    monkeypatch.delenv(VARIABLE)  # and no file: no second key is made beside the first
    with pytest.raises(StoreError, match=VARIABLE):
        desk.set("p", {"B": "x"}, user="u")
