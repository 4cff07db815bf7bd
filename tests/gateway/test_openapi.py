"""The description of the routes, and requests generated from it: no answer is one that it does not foresee."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.routing import iter_route_contexts
from hypothesis import HealthCheck, Phase, given, settings

import mlrun
from mlrun.wire import API, NOUNS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.testing.gatewaythread import GatewayThread

TOKEN = "the-token-of-this-test"


@pytest.fixture
def gateway(serve: Callable[..., GatewayThread]) -> GatewayThread:
    with mlrun.init(project="p", name="a", config={"lr": 0.1}, tags=["t"]) as run:
        run.log({"loss": float("nan")}, step=1)
        run.log_result("best", 2)
    return serve(sql_seconds=5.0)


def document(gateway: GatewayThread) -> dict[str, Any]:
    app = gateway._server.config.app
    while hasattr(app, "app"):
        app = app.app
    found: dict[str, Any] = app.openapi()
    paths = {str(r.path) for r in iter_route_contexts(app.routes)}
    assert paths == set(found["paths"])
    return found


def test_every_route_is_described_with_its_answers_and_errors(gateway: GatewayThread) -> None:
    found = document(gateway)
    text = json.dumps(found)
    assert f"{API}/runs/{{run_id}}/events" in found["paths"]
    for noun in NOUNS:
        body = found["paths"][f"{API}/ask/{noun}"]["post"]["requestBody"]
        assert body["content"]["application/json"]["schema"]["additionalProperties"] is False
    for path, methods in found["paths"].items():
        for method, route in methods.items():
            assert route.get("summary") or route.get("description"), (method, path)
            assert any(s.startswith("2") for s in route["responses"]), (method, path)
            if path not in ("/healthz", "/readyz"):
                assert {"401", "403", "503"} <= set(route["responses"]), (method, path)
    known = set(found["components"]["schemas"])
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= known


@pytest.mark.slow
def test_generated_requests_get_answers_that_the_description_foresees(
    gateway: GatewayThread,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries of its own, and what they import
        import schemathesis
        from schemathesis.checks import not_a_server_error
        from schemathesis.specs.openapi.checks import (
            content_type_conformance,
            response_schema_conformance,
            status_code_conformance,
        )
    schema = schemathesis.openapi.from_dict(document(gateway))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    tried = 0
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]
        # streams of events do not end; keys and roles that are made up would lock this test out
        if operation.path.endswith("/events") or "/ingest" in operation.path:
            continue

        @settings(
            max_examples=6,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            answer = case.call(base_url=gateway.url, headers=headers, timeout=30)
            case.validate_response(
                answer,
                checks=[
                    not_a_server_error,
                    status_code_conformance,
                    content_type_conformance,
                    response_schema_conformance,
                ],
            )

        ask()
        tried += 1
    assert tried > 30
