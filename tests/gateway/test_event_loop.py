"""What could hold up the event loop is done before the first request, or by who may wait."""

from __future__ import annotations

import gc
import inspect
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

import mlrun
from mlrun.app.gateway import Gateway
from mlrun.app.options import Options
from mlrun.app.server import create_app
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlrun.testing.gatewaythread import GatewayThread


def dependants() -> int:
    return sum(isinstance(found, Dependant) for found in gc.get_objects())


def test_the_first_request_builds_no_routes(serve: Callable[..., GatewayThread]) -> None:
    thread = serve()
    before = dependants()
    found = mlrun.open_store(thread.url)
    mlrun.runs(store=found)
    assert before
    assert dependants() == before


def test_no_route_and_nothing_that_it_depends_on_is_called_in_a_thread() -> None:
    store = open_store()
    gateway = Gateway(store, Options(port=0))
    try:
        routers = [r for r in _routers(create_app(gateway).routes) if isinstance(r, APIRoute)]
        asked = [call for route in routers for call in _calls(route.dependant)]
        assert len(asked) > 50
        assert [call for call in asked if not inspect.iscoroutinefunction(call)] == []
    finally:
        gateway._close()


def _routers(routes: Any) -> Iterator[Any]:
    for route in routes:
        yield from _routers(getattr(route, "original_router", route).__dict__.get("routes", ()))
        yield route


def _calls(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for inner in dependant.dependencies:
        yield from _calls(inner)


def test_processes_that_answer_leave_the_processor_to_the_gateway(
    serve: Callable[..., GatewayThread],
) -> None:
    thread = serve(answer_processes=1)
    assert mlrun.runs(store=mlrun.open_store(thread.url)).height == 0
    [pid] = thread.gateway.answers.processes()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, own + 5)


def test_garbage_is_not_looked_for_in_what_the_gateway_was_made_of(tmp_path: Path) -> None:
    code = """
import gc, os, signal, sys
from pathlib import Path
from mlrun.app.options import Options
from mlrun.app.server import serve
from mlrun.store import Store

def told(about):
    print(gc.get_freeze_count() > len(gc.get_objects()), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

serve(Store(Path(sys.argv[1])), Options(port=0, flight_port=None), log_level="warning", listening=told)
"""
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "True"


def test_what_is_asked_at_the_start_is_not_counted(serve: Callable[..., GatewayThread]) -> None:
    assert "mlrun_http_requests_total" not in serve().gateway.figures.text()
