"""Pages of runs: together they are the list, whatever it is ordered by, and whatever comes and goes meanwhile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

import mlrun
from mlrun.errors import QueryError
from mlrun.storage.gateway_http import Http
from mlrun.wire import API, ARROW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.testing.gatewaythread import GatewayThread

ORDERS = [
    ["-started_at"],
    ["params.x"],
    ["-params.x"],
    ["labels.x", "name"],
    ["-labels.x", "-metrics.m"],
    ["metrics.m", "params.x"],
    ["-metrics.m.count", "name"],
    ["name"],
    ["duration", "-finished_at"],
    ["-finished_at"],
    ["-metrics.m.min", "state"],
    ["results.none"],
]
VALUES = [1, 2.5, "word", None, True, [1], "Word", float("nan"), -1, 1]


@pytest.fixture
def http(serve: Callable[..., GatewayThread]) -> Iterator[Http]:
    for number, value in enumerate(VALUES):
        with mlrun.init("p", f"r{number % 4}", {"x": value}, labels={"x": value}) as run:
            if number % 3:
                run.log({"m": float("nan") if number == 4 else number % 2}, step=number)
    mlrun.compact()
    live = mlrun.init("p", "live", {"x": "live"})
    live.log({"m": 0.5})
    found = Http(serve().url)
    yield found
    found.close()
    live.finish()


def pages(http: Http, size: int, **asked: Any) -> list[str]:
    ids: list[str] = []
    token = None
    while True:
        words = {"limit": size, **asked, **({"page": token} if token else {})}
        answer = json.loads(http.send("GET", f"{API}/runs?{urlencode(words, doseq=True)}").body)
        assert len(answer["rows"]) <= size
        ids += [row["run_id"] for row in answer["rows"]]
        token = answer["next"]
        if token is None:
            return ids


def test_pages_are_the_list(http: Http) -> None:
    for order in ORDERS:
        whole = mlrun.runs("p", order_by=order)["run_id"].to_list()
        assert len(whole) == len(VALUES) + 1
        for size in (1, 3, 100):
            assert pages(http, size, project="p", order_by=order) == whole, (order, size)


def test_a_page_goes_on_behind_the_last_run_whatever_came_before(http: Http) -> None:
    words = {"limit": 3, "columns": ["name", "run_id"]}
    first = json.loads(http.send("GET", f"{API}/runs?{urlencode(words, doseq=True)}").body)
    seen = [row["run_id"] for row in first["rows"]]
    late = mlrun.init("p", "late")
    rest = pages(http, 4, page=first["next"])
    late.finish()
    whole = mlrun.runs(where="name != 'late'")["run_id"].to_list()
    assert seen + rest == whole


def test_a_token_of_another_question_or_of_nobody_is_refused(http: Http) -> None:
    token = json.loads(http.send("GET", f"{API}/runs?limit=1").body)["next"]
    for words in (
        {"page": token, "where": "state = 'x'"},
        {"page": token[:-3]},
        {"page": "x"},
        {"page": "AAAA"},
        {"page": "W10"},
    ):
        with pytest.raises(QueryError):
            http.send("GET", f"{API}/runs?{urlencode(words)}")


def test_arrow_and_json_and_what_the_caller_has_already(http: Http) -> None:
    import polars as pl

    path = f"{API}/runs?columns=name&columns=metrics.m&limit=5"
    arrow = http.send("GET", path, headers={"Accept": ARROW})
    frame = pl.read_ipc_stream(arrow.body)
    assert frame.columns == ["name", "metrics.m"]
    assert arrow.headers["mlrun-next-page"]
    plain = http.send("GET", path)
    rows = json.loads(plain.body)["rows"]
    assert [row["name"] for row in rows] == frame["name"].to_list()
    everything = json.loads(http.send("GET", f"{API}/runs?columns=metrics.m").body)["rows"]
    assert "NaN" in [row["metrics.m"] for row in everything]
    again = http.send("GET", path, headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    packed = http.send("GET", f"{API}/runs", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    with pytest.raises(QueryError, match="answers are"):
        http.send("GET", path, headers={"Accept": "text/html"})
