"""Who may do what: every route, with no key, a wrong one, a viewer's, and one of another project."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.routing import iter_route_contexts

import mlrun
from mlrun.app.keys import Keys
from mlrun.errors import AccessDenied, NotFound, NotSignedIn, SQLError
from mlrun.gatewaystore import GatewayStore
from mlrun.ids import now_us
from mlrun.storage.gateway_http import Http
from mlrun.store import open_store
from mlrun.tables import GUARDED, TABLES
from mlrun.wire import API

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.testing.gatewaythread import GatewayThread

OPEN = {"/healthz", "/readyz"}


@dataclass
class House:
    """A gateway over two projects, and keys."""

    gateway: GatewayThread
    mine: str
    theirs: str
    keys: dict[str, str]
    opened: dict[str, Http] = field(default_factory=dict)

    def http(self, who: str) -> Http:
        if who not in self.opened:
            self.opened[who] = Http(self.gateway.url, key=self.keys.get(who, who))
        return self.opened[who]

    def store(self, who: str, monkeypatch: pytest.MonkeyPatch) -> GatewayStore:
        monkeypatch.setenv("MLRUN_API_KEY", self.keys[who])
        store = GatewayStore(self.gateway.url)
        self.opened[f"store of {who}"] = store.gateway.http
        return store


@pytest.fixture
def house(serve: Callable[..., GatewayThread]) -> Iterator[House]:
    ids = {}
    for project in ("mine", "theirs"):
        with mlrun.init(project=project, name=f"run of {project}", config={"lr": 0.1}) as run:
            run.log({f"loss of {project}": 1.0})
            run.log_result("secret of " + project, 1)
            run.log_artifact(f"artifact of {project}", body="x")
        ids[project] = run.id
    store = open_store()
    store.flush_records()
    keys = Keys(store.records)
    made = {"nobody": "", "wrong": "mlr_0123456789_" + "x" * 43}
    for who, project, role in (
        ("viewer", "", "viewer"),
        ("editor", "", "editor"),
        ("admin", "", "admin"),
        ("mine viewer", "mine", "viewer"),
        ("mine editor", "mine", "editor"),
        ("mine admin", "mine", "admin"),
    ):
        keys.set_role(who, project, role)
        made[who], _ = keys.create(who)
    made["no role"], _ = keys.create("no role")
    made["reads only"], _ = keys.create("admin", scopes=["read"])
    made["one project"], _ = keys.create("admin", project="mine")
    made["expired"], _ = keys.create("admin", expires_at=now_us() - 1)
    made["revoked"], row = keys.create("admin")
    keys.revoke(row["prefix"])
    house = House(serve(), ids["mine"], ids["theirs"], made)
    yield house
    for http in house.opened.values():
        http.close()


def routes(house: House) -> list[tuple[str, str]]:
    app = house.gateway._server.config.app
    while hasattr(app, "app"):
        app = app.app
    found = [(m, str(r.path)) for r in iter_route_contexts(app.routes) for m in r.methods or ()]
    assert len(found) > 30
    return sorted(found)


def asked(house: House, who: str, method: str, path: str, body: Any = None) -> Any:
    """Return what the gateway answers, or the error."""
    where = path.format(run_id=house.theirs, prefix="0" * 10, sha256="0" * 64, noun="runs")
    text = b"{}" if body is None else json.dumps(body).encode()
    try:
        return house.http(who).send(method, where, b"" if method == "GET" else text)
    except mlrun.errors.MlrunError as error:
        return error


@pytest.mark.parametrize("who", ["nobody", "wrong", "expired", "revoked"])
def test_every_route_but_the_health_checks_asks_for_a_key(
    house: House, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLRUN_API_KEY")
    for method, path in routes(house):
        answer = asked(house, who, method, path)
        if path in OPEN:
            assert answer.status == 200
        else:
            assert isinstance(answer, NotSignedIn), (method, path, answer)


CHANGES: dict[tuple[str, str], Any] = {
    ("PATCH", f"{API}/runs/{{run_id}}"): {"name": "x"},
    ("POST", f"{API}/runs/{{run_id}}/archive"): None,
    ("POST", f"{API}/runs/{{run_id}}/restore"): None,
    ("DELETE", f"{API}/runs/{{run_id}}"): None,
    ("POST", f"{API}/runs/delete"): {"where": "run_id is not null", "project": "theirs"},
    ("PUT", f"{API}/policies"): {"project": "theirs", "raw_days": 1},
    ("PUT", f"{API}/secrets"): {"project": "theirs", "secrets": {"A": "b"}},
    ("POST", f"{API}/secrets/read"): {"run_id": "RUN", "names": []},
    ("POST", f"{API}/secrets/delete"): {"project": "theirs", "name": "A"},
    ("PUT", f"{API}/aliases"): {"project": "theirs", "key": "k", "alias": "a", "version": 1},
    ("PUT", f"{API}/roles"): {"user": "me", "project": "theirs", "role": "admin"},
    ("PUT", f"{API}/users/disabled"): {"user": "admin", "disabled": True},
    ("POST", f"{API}/keys"): {"user": "admin"},
    ("DELETE", f"{API}/keys/{{prefix}}"): None,
    ("POST", f"{API}/records/apply"): {
        "ops": [["put", "tags", {"run_id": "RUN", "tag": "t"}]],
    },
}


def test_a_viewer_changes_nothing(house: House) -> None:
    for (method, path), body in CHANGES.items():
        told = json.loads(json.dumps(body).replace("RUN", house.theirs))
        for who in ("viewer", "mine viewer", "reads only", "no role"):
            answer = asked(house, who, method, path, told)
            assert isinstance(answer, (AccessDenied, NotFound)), (who, method, path, answer)
            assert not isinstance(answer, NotSignedIn)


def test_a_key_of_another_project_changes_nothing(house: House) -> None:
    before = mlrun.runs(children=True, archived=True, deleted=True)
    for (method, path), body in CHANGES.items():
        told = json.loads(json.dumps(body).replace("RUN", house.theirs))
        for who in ("mine editor", "mine admin", "one project"):
            answer = asked(house, who, method, path, told)
            assert isinstance(answer, (AccessDenied, NotFound)), (who, method, path, answer)
    assert mlrun.runs(children=True, archived=True, deleted=True).equals(before)


def test_every_route_that_changes_something_is_in_these_tests(house: House) -> None:
    reads = {"/ask/", "/sql", "/records/lookup", "/records/marks"}
    others = {
        (method, path)
        for method, path in routes(house)
        if method not in ("GET", "HEAD") and not any(part in path for part in reads)
    }
    uploads = {(m, p) for m, p in others if p.startswith((f"{API}/ingest", f"{API}/objects"))}
    assert others - uploads == set(CHANGES)


def test_no_answer_to_a_key_of_one_project_shows_another(house: House) -> None:
    bodies: dict[str, Any] = {
        "metrics": {"run_ids": [house.mine, house.theirs]},
        "params": {"run_ids": [house.mine, house.theirs]},
        "logs": {"run_id": [house.mine, house.theirs]},
        "artifacts": {"of": [house.theirs]},
        "iterations": {"run_id": house.theirs},
        "resolve": {"run_id": house.theirs[-8:]},
        "rows": {"tables": ["runs", "params", "results", "tags", "summaries"]},
        "shared": {"table": "lineage"},
        "sql": {"query": "select * from runs_wide"},
    }
    for method, path in routes(house):
        if path.endswith("/events") or path.startswith((f"{API}/ingest", f"{API}/objects")):
            continue
        noun = path.rpartition("/")[2]
        if path == f"{API}/records/lookup":
            body: Any = {"table": "runs", "key": {"run_id": house.theirs}}
        else:
            body = bodies.get(noun, {}) if "/ask/" in path else CHANGES.get((method, path))
        if path == f"{API}/sql":
            body = {"query": "select * from runs"}
        where = (
            f"{path}?run_id={house.theirs}&run_id={house.mine}" if path.count("/") == 3 else path
        )
        for who in ("one project", "mine viewer"):
            answer = asked(house, who, method, where, body)
            told = str(answer).encode() if isinstance(answer, Exception) else answer.body
            told = told.replace(house.theirs.encode(), b"")  # what was asked may be said again
            assert b"theirs" not in told.replace(b"project 'theirs'", b""), (who, method, path)


def test_the_verbs_show_a_caller_its_own_projects(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = house.store("mine viewer", monkeypatch)
    both = [house.mine, house.theirs]
    assert mlrun.runs(store=store)["project"].to_list() == ["mine"]
    assert mlrun.runs("theirs", store=store).height == 0
    assert set(mlrun.metrics(both, store=store)["run_id"]) == {house.mine}
    assert set(mlrun.metrics(both, points=10, store=store)["run_id"]) == {house.mine}
    assert set(mlrun.params(both, store=store)["run_id"]) == {house.mine}
    assert set(mlrun.artifacts(store=store)["project"]) == {"mine"}
    assert set(mlrun.projects(store=store)["name"]) == {"mine"}
    with pytest.raises(NotFound):
        mlrun.get_run(house.theirs, store=store)
    with pytest.raises(NotFound):
        mlrun.get_artifact("theirs/artifact of theirs", store=store)
    view = mlrun.get_run(house.mine, store=store)
    with pytest.raises(AccessDenied):
        view.update(name="x")


def test_sql_sees_the_rows_of_the_caller_s_projects_only(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = house.store("mine viewer", monkeypatch)
    for table in ("runs", "params", "results", "metrics", "summaries", "artifacts", "runs_wide"):
        frame = mlrun.sql(f"select * from {table}", store=store)
        assert frame.height
        assert "theirs" not in frame.write_json()
    found = mlrun.sql("select count(*) as n from runs where project = 'theirs'", store=store)
    assert found["n"].to_list() == [0]
    for query in (
        "select * from audit",
        "select * from api_keys",
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from read_parquet('http://127.0.0.1:1/x')",
        "drop table runs",
        "create table x as select * from runs",
        "insert into runs select * from runs",
        "select * from runs; select * from runs",
        "copy runs to '/tmp/x'",
        "attach '/tmp/x' as y",
        "pragma table_list",
        "select * from url('http://127.0.0.1:1/')",
        "select * from sqlite_master",
    ):
        with pytest.raises(SQLError):
            mlrun.sql(query, store=store)
    admin = house.store("admin", monkeypatch)
    assert mlrun.sql("select count(*) as n from audit", store=admin)["n"].to_list() == [0]


def test_keys_and_roles_are_out_of_reach_of_records(house: House) -> None:
    for table in TABLES:
        answer = asked(house, "admin", "POST", f"{API}/records/lookup", {"table": table, "key": {}})
        guarded = table in GUARDED
        if guarded:
            assert isinstance(answer, mlrun.errors.QueryError)
            op = ["put", table, {"prefix": "x", "user": "x", "project": "", "name": "x", "id": "x"}]
            for verb in ("put", "del"):
                told = {"ops": [[verb, *op[1:]]]}
                answer = asked(house, "admin", "POST", f"{API}/records/apply", told)
                assert isinstance(answer, mlrun.errors.QueryError)


def test_a_change_is_in_the_audit_log_with_who_what_before_and_after(house: House) -> None:
    http = house.http("mine editor")
    http.send("PATCH", f"{API}/runs/{house.mine}", b'{"name": "new"}')
    http.send("DELETE", f"{API}/runs/{house.mine}")
    admin = house.http("admin")
    made = json.loads(admin.send("POST", f"{API}/keys", b'{"user": "zoe", "days": 1}').body)
    admin.send("DELETE", f"{API}/keys/{made['prefix']}")
    admin.send("PUT", f"{API}/roles", b'{"user": "zoe", "project": "mine", "role": "viewer"}')
    rows = json.loads(admin.send("GET", f"{API}/audit").body)["rows"]
    actions = ["role.set", "key.revoke", "key.create", "run.delete", "run.update"]
    assert [row["action"] for row in rows] == actions
    update = rows[-1]
    assert update["actor"].startswith("key:mine editor/")
    assert (update["project"], update["target"]) == ("mine", house.mine)
    assert json.loads(update["before"])["name"] == "run of mine"
    assert json.loads(update["after"])["name"] == "new"
    assert update["address"] == "127.0.0.1"
    assert made["key"] not in json.dumps(rows)
    own = json.loads(house.http("mine admin").send("GET", f"{API}/audit?project=mine").body)["rows"]
    assert [row["action"] for row in own] == ["role.set", "run.delete", "run.update"]
    for who in ("viewer", "editor", "mine editor"):
        with pytest.raises(AccessDenied):
            house.http(who).send("GET", f"{API}/audit?project=mine")
    with pytest.raises(AccessDenied):
        house.http("mine admin").send("GET", f"{API}/audit")


def test_a_key_that_was_revoked_here_is_refused_at_once(house: House) -> None:
    admin = house.http("admin")
    made = json.loads(admin.send("POST", f"{API}/keys", b'{"user": "admin"}').body)
    theirs = house.http(made["key"])
    assert json.loads(theirs.send("GET", f"{API}/me").body)["server"] == "admin"
    admin.send("DELETE", f"{API}/keys/{made['prefix']}")
    with pytest.raises(NotSignedIn):
        theirs.send("GET", f"{API}/me")
    admin.send("PUT", f"{API}/users/disabled", b'{"user": "viewer", "disabled": true}')
    with pytest.raises(NotSignedIn):
        house.http("viewer").send("GET", f"{API}/me")
