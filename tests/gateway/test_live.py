"""News of live runs, drains, limits, and what the gateway counts."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import mlrun
from mlrun.app import live as live_module
from mlrun.errors import QueryError, StoreBusy, StoreUnreachable
from mlrun.storage.gateway_http import Http
from mlrun.wire import API

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.testing.gatewaythread import GatewayThread

HEADERS = {"Authorization": "Bearer the-token-of-this-test"}


@pytest.fixture
def http(serve: Callable[..., GatewayThread]) -> Iterator[Callable[..., Http]]:
    opened: list[Http] = []

    def start(**options: Any) -> Http:
        opened.append(Http(serve(**options).url))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def events(answer: HTTPResponse) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in answer:
        word, _, told = line.decode().rstrip("\n").partition(": ")
        if word == "event":
            name = told
        elif word == "data":
            yield name, json.loads(told)


def test_a_listener_hears_points_states_and_the_end(serve: Callable[..., GatewayThread]) -> None:
    run = mlrun.init("p", "live")
    run.log({"loss": 1.0}, step=1)
    gateway = serve()
    place = urlsplit(gateway.url)
    with closing(HTTPConnection(place.hostname or "", place.port, timeout=30)) as connection:
        connection.request("GET", f"{API}/runs/{run.id}/events", headers=HEADERS)
        heard = events(connection.getresponse())
        first = dict([next(heard), next(heard)])
        assert first["state"] == {"state": "running", "error": None}
        assert first["points"]["loss"]["last"] == 1.0
        assert gateway.gateway.live.listeners == 1
        run.log({"loss": float("nan"), "acc": 0.5}, step=2)
        points: dict[str, Any] = {}
        while "acc" not in points or points["loss"]["step"] != 2:
            name, told = next(heard)
            assert name == "points"
            points |= told
        assert points["loss"] == points["loss"] | {"last": "NaN", "step": 2, "count": 2}
        run.finish()
        rest = list(heard)
        assert ("state", {"state": "completed", "error": None}) in rest
        assert rest[-1] == ("end", {})


def test_what_a_run_prints_is_followed_to_its_end(serve: Callable[..., GatewayThread]) -> None:
    run = mlrun.init("p", "talks", console=True)
    print("before")
    run.flush()
    place = urlsplit(serve().url)
    with closing(HTTPConnection(place.hostname or "", place.port, timeout=30)) as connection:
        connection.request("GET", f"{API}/runs/{run.id}/logs/events", headers=HEADERS)
        heard = events(connection.getresponse())
        name, told = next(heard)
        assert (name, told[0][1:]) == ("lines", ["stdout", "before"])
        print("after\u2028<b>")
        run.finish()
        rest = list(heard)
    assert [line for _, lines in rest[:-1] for _, _, line in lines] == ["after\u2028<b>"]
    assert rest[-1] == ("end", {})


def test_nobody_listening_costs_nothing(
    serve: Callable[..., GatewayThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()
    plain = live_module._look

    def look(*given: Any) -> Any:
        looked.set()
        return plain(*given)

    monkeypatch.setattr(live_module, "_look", look)
    run = mlrun.init("p", "live")
    gateway = serve()
    gateway.gateway.live.touch([run.id])
    place = urlsplit(gateway.url)
    with closing(HTTPConnection(place.hostname or "", place.port, timeout=30)) as connection:
        connection.request("GET", f"{API}/runs/{run.id}/events", headers=HEADERS)
        next(events(connection.getresponse()))
    assert looked.is_set()
    while gateway.gateway.live.listeners:
        run.log({"loss": 1.0})  # what is sent to somebody who has gone tells that they have
        time.sleep(0.01)
    while gateway.gateway.live._topics:
        time.sleep(0.01)
    run.finish()


def test_a_gateway_that_is_asked_too_much_says_when_to_come_again(
    http: Callable[..., Http],
) -> None:
    one = http(threads=1, waiting=0)
    with pytest.raises(QueryError):
        one.send("GET", f"{API}/runs?where=x&limit=1")
    stop = threading.Event()
    errors: list[Exception] = []

    def press() -> None:
        own = Http(one.url)
        while not stop.is_set():
            try:
                own.send("GET", f"{API}/projects")
            except StoreBusy as error:
                errors.append(error)
                stop.set()
        own.close()

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    stop.wait(60)
    stop.set()
    for thread in threads:
        thread.join()
    assert "try again" in str(errors[0])
    assert json.loads(one.send("GET", f"{API}/projects", again=True).body)["next"] is None


def test_a_body_that_is_too_large_is_refused_told_or_not(http: Callable[..., Http]) -> None:
    one = http(max_body=10_000)
    with pytest.raises(QueryError, match="at most 10,000 bytes"):
        one.send("POST", f"{API}/ask/sql", b" " * 20_000)
    place = urlsplit(one.url)
    with closing(HTTPConnection(place.hostname or "", place.port, timeout=30)) as connection:
        body = iter([b" " * 6_000, b" " * 6_000])
        connection.request("POST", f"{API}/ask/sql", body, HEADERS, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["error"] == "QueryError"


def test_requests_have_ids_and_are_counted(http: Callable[..., Http]) -> None:
    one = http()
    mine = one.send("GET", f"{API}/projects", headers={"X-Request-Id": "mine-1"})
    assert mine.headers["x-request-id"] == "mine-1"
    other = one.send("GET", f"{API}/projects", headers={"X-Request-Id": "a b\t<script>"})
    assert len(other.headers["x-request-id"]) == 36
    text = one.send("GET", "/metrics").body.decode()
    labels = f'{{method="GET",route="{API}/projects",status="200"}}'
    assert f"mlrun_http_requests_total{labels} 2" in text
    assert "mlrun_gateway_loop_late_seconds" in text
    info = json.loads(one.send("GET", f"{API}/info").body)
    assert info["protocol"] == 1
    assert info["caller"] == "local"


def test_a_query_that_takes_too_long_or_too_much_is_ended_and_the_next_one_answered(
    http: Callable[..., Http],
) -> None:
    with mlrun.init("p", "a") as run:
        for step in range(1500):  # their cube is just below what Polars can count
            run.log({"loss": float(step)}, step=step)
    one = http(sql_seconds=3.0, sql_rows=1000)
    heavy = (
        "select a.value * b.value + c.value as v, count(*) as n "
        "from metrics a cross join metrics b cross join metrics c group by 1"
    )
    with pytest.raises(QueryError, match=r"ended|took"):
        one.send("POST", f"{API}/sql", json.dumps({"query": heavy}).encode())
    with pytest.raises(QueryError, match="add a limit"):
        one.send("POST", f"{API}/sql", b'{"query": "select * from metrics"}')
    answer = one.send("POST", f"{API}/sql", b'{"query": "select count(*) as n from metrics"}')
    assert json.loads(answer.body)["rows"] == [{"n": 1500}]


def test_a_gateway_that_is_not_there_is_unreachable(tmp_path: Any) -> None:
    with pytest.raises(StoreUnreachable, match=r"no answer from http://127\.0\.0\.1:1"):
        mlrun.runs(store="http://127.0.0.1:1")
