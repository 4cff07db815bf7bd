"""`deploy/compose.yaml`: what can be said of it where no engine of containers runs."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from mlrun.app.options import Options
from mlrun.app.routes_health import router
from mlrun.cli.root import cli
from mlrun.config import Settings
from mlrun.storage.clickhouse_client import Client
from mlrun.storage.objectstore import BucketObjects

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "deploy/compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
GATEWAY = SERVICES["gateway"]
DASHBOARD = SERVICES["dashboard"]

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<sign>[-?])(?P<rest>[^}]*))?\}")
KEYS = {
    "build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck",
    "image", "init", "networks", "ports", "read_only", "restart", "security_opt", "shm_size",
    "stop_grace_period", "tmpfs", "ulimits", "volumes",
}  # fmt: skip
services = pytest.mark.parametrize("name", sorted(SERVICES))


def filled(text: str, **given: str) -> str:
    """Return a text as compose reads it, when only these variables are set."""

    def value(found: re.Match[str]) -> str:
        default = found["rest"] if found["sign"] == "-" else None
        chosen = given.get(found["name"]) or default
        assert chosen is not None, f"{found['name']} is not set"
        return chosen

    return VARIABLE.sub(value, text)


def passwords() -> dict[str, str]:
    return {
        m["name"]: f"pass{n}" for n, m in enumerate(VARIABLE.finditer(TEXT)) if m["sign"] == "?"
    }


def environment(name: str) -> dict[str, str]:
    return {
        key: filled(value, **passwords())
        for key, value in SERVICES[name].get("environment", {}).items()
    }


def test_it_holds_what_compose_knows() -> None:
    assert set(COMPOSE) == {"name", "services", "networks", "volumes"}
    assert {key for service in SERVICES.values() for key in service} <= KEYS
    assert set(SERVICES) == {"gateway", "dashboard", "postgres", "clickhouse", "minio", "bucket"}


@services
def test_images_are_pinned_by_a_tag(name: str) -> None:
    image, _, tag = filled(SERVICES[name]["image"]).rpartition(":")
    assert image
    assert re.search(r"\d", tag), f"{name}: {tag} may be any version"


@services
def test_health_is_asked_of_all_that_stay(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    if SERVICES[name]["restart"] == "no":
        assert check == {"disable": True}
        return
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


def test_the_gateway_asks_a_route_that_is_open() -> None:
    url = urlsplit(re.findall(r"http://[^']+", GATEWAY["healthcheck"]["test"][-1])[0])
    assert url.path in {getattr(route, "path", "") for route in router.routes}
    assert url.path in {"/healthz", "/readyz"}
    assert url.port == Options().port


@services
def test_services_wait_for_what_can_say_that_it_is_there(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        ends = SERVICES[other]["restart"] == "no"
        wanted = "service_completed_successfully" if ends else "service_healthy"
        assert how == {"condition": wanted}


@services
def test_no_password_has_a_default(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        bare = VARIABLE.sub(lambda m: "MUST-BE-SET" if m["sign"] == "?" else m[0], value)
        if re.search("PASSWORD|SECRET", key):
            assert bare == "MUST-BE-SET", key
        assert urlsplit(bare).password in (None, "MUST-BE-SET"), key


def test_every_variable_that_must_be_set_says_where() -> None:
    found = {m["name"]: m for m in VARIABLE.finditer(TEXT)}
    assert set(passwords()) == {
        "MLRUN_POSTGRES_PASSWORD", "MLRUN_CLICKHOUSE_PASSWORD", "MLRUN_MINIO_PASSWORD",
    }  # fmt: skip
    assert all("deploy/.env" in found[name]["rest"] for name in passwords())
    assert {m["sign"] for m in found.values()} == {"-", "?"}


def test_volumes_and_networks_are_declared_and_used() -> None:
    mounted = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}
    assert mounted == set(COMPOSE["volumes"])
    joined = {n for s in SERVICES.values() for n in s["networks"]}
    assert joined == set(COMPOSE["networks"])


def test_data_lies_where_the_images_keep_it() -> None:
    places = {name: SERVICES[name]["volumes"] for name in ("postgres", "clickhouse", "minio")}
    assert places == {
        "postgres": ["postgres:/var/lib/postgresql"],
        "clickhouse": ["clickhouse:/var/lib/clickhouse"],
        "minio": [f"minio:{SERVICES['minio']['command'][-1]}"],
    }


def test_ports_are_of_this_host_only_unless_told() -> None:
    assert [name for name, s in SERVICES.items() if "ports" in s] == ["gateway", "dashboard"]
    assert [filled(p) for p in DASHBOARD["ports"]] == ["127.0.0.1:3000:3000"]
    assert [filled(p) for p in GATEWAY["ports"]] == [
        f"127.0.0.1:{p}:{p}" for p in (Options().port, Options().flight_port)
    ]
    told = {filled(p, MLRUN_LISTEN="192.0.2.7").partition(":")[0] for p in GATEWAY["ports"]}
    assert told == {"192.0.2.7"}


def test_databases_are_reached_through_the_gateway_only() -> None:
    assert COMPOSE["networks"]["stores"] == {"internal": True}
    assert DASHBOARD["networks"] == ["front"]
    others = [s["networks"] for n, s in SERVICES.items() if n not in ("gateway", "dashboard")]
    assert all(networks == ["stores"] for networks in others)


def test_the_gateway_is_started_with_options_that_it_has() -> None:
    with cli.make_context("mlrun", GATEWAY["command"]) as context:
        _, command, rest = cli.resolve_command(context, GATEWAY["command"])
        assert command is not None
        given = command.make_context("server", rest, parent=context).params
    assert (given["host"], given["port"]) == ("0.0.0.0", Options().port)
    assert given["flight_port"] == Options().flight_port


def test_the_dashboard_shows_the_gateway_and_brings_no_key() -> None:
    with cli.make_context("mlrun", DASHBOARD["command"]) as context:
        _, command, rest = cli.resolve_command(context, DASHBOARD["command"])
        assert command is not None
        given = command.make_context("ui", rest, parent=context).params
    assert (given["host"], given["port"], given["no_browser"]) == ("0.0.0.0", 3000, True)
    assert DASHBOARD["environment"] == {"MLRUN_DBPATH": f"http://gateway:{Options().port}"}
    assert DASHBOARD["read_only"] is True
    assert DASHBOARD["cap_drop"] == ["ALL"]


def test_its_variables_are_settings() -> None:
    ours = {key for key in GATEWAY["environment"] if key.startswith("MLRUN_")}
    assert ours <= {f"MLRUN_{f.name.upper()}" for f in fields(Settings)}
    assert ours == {"MLRUN_RECORDS_URL", "MLRUN_SERIES_URL", "MLRUN_OBJECTS_URL"}


def test_its_stores_are_the_other_services(monkeypatch: pytest.MonkeyPatch) -> None:
    env = environment("gateway")
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    records = urlsplit(env["MLRUN_RECORDS_URL"])
    assert (records.scheme, records.hostname) == ("postgresql", "postgres")
    postgres = environment("postgres")
    assert records.username == postgres["POSTGRES_USER"]
    assert records.path == "/" + postgres["POSTGRES_DB"]
    assert env["PGPASSWORD"] == postgres["POSTGRES_PASSWORD"]

    series, clickhouse = urlsplit(env["MLRUN_SERIES_URL"]), environment("clickhouse")
    assert Client(env["MLRUN_SERIES_URL"]).database == "mlrun"
    assert (series.hostname, series.port) == ("clickhouse", 8123)
    assert series.username == clickhouse["CLICKHOUSE_USER"]
    assert series.password == clickhouse["CLICKHOUSE_PASSWORD"]

    BucketObjects(env["MLRUN_OBJECTS_URL"])  # its options are known
    bucket = SERVICES["bucket"]["command"][-1]
    assert urlsplit(env["MLRUN_OBJECTS_URL"]).netloc == bucket.removeprefix("store/")
    minio, maker = environment("minio"), urlsplit(environment("bucket")["MC_HOST_store"])
    assert maker.hostname == "minio"
    keys = (env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
    assert keys == (minio["MINIO_ROOT_USER"], minio["MINIO_ROOT_PASSWORD"])
    assert keys == (maker.username, maker.password)


def test_the_gateway_has_no_more_rights_than_it_needs() -> None:
    assert GATEWAY["read_only"] is True
    assert GATEWAY["cap_drop"] == ["ALL"]
    assert all("no-new-privileges:true" in s["security_opt"] for s in SERVICES.values())
    assert int(GATEWAY["stop_grace_period"].removesuffix("s")) > Options().drain_seconds
