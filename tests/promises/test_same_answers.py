"""Same runs, same question, same frame: whatever engines a store is made of.

A script logs the same runs into the embedded store and into a mix of servers. Every question is then asked of both,
while the rows still wait in the journal, and again once they are where they belong.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import polars as pl
import polars.selectors as cs
import pytest
from polars.testing import assert_frame_equal

import mlrun
from mlrun.care.compaction import compact
from mlrun.care.doctor import examine
from mlrun.store import close_all, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_ON_S3 = [pytest.mark.s3, pytest.mark.xdist_group("s3")]
MIXES = [
    pytest.param({"series": "s3"}, id="sqlite+delta_on_s3+files", marks=_ON_S3),
    pytest.param(
        {"records": "postgres", "series": "s3", "objects": "s3"},
        id="postgres+delta_on_s3+s3",
        marks=[*_ON_S3, pytest.mark.postgres],
    ),
    pytest.param(
        {"records": "postgres", "series": "clickhouse", "objects": "s3"},
        id="postgres+clickhouse+s3",
        marks=[*_ON_S3, pytest.mark.postgres, pytest.mark.clickhouse],
    ),
]

# ids are given, so that both stores have the same; times are left out of the comparison
_SCRIPT = """
import contextlib, math, mlrun
IDS = [f"0190a000-0000-7000-8000-{n:012d}" for n in range(12)]
for n, run_id in enumerate(IDS):
    with contextlib.suppress(ValueError), mlrun.init(
        project=["p", "café 'x'"][n % 4 == 3], name=f"run {n}", id=run_id,
        config={"lr": 10.0**-n, "deep": {"er": n % 3}},
        tags=["even", "all"] if n % 2 == 0 else ["all"], labels={"team": "cv" if n < 6 else "nlp"},
        parent=IDS[0] if n in (1, 2) else None, notes="; drop table runs; --",
    ) as run:
        for step in range(300 + 40 * n):
            run.log({"loss": 1.0 / (step + n + 1), "val/acc": math.sin(step / 30 + n)}, step=step)
        run.log({"loss": 0.5, "odd": float("nan")}, step=10)
        run.log({"odd": float("inf")}, step=11)
        run.log({"odd": -0.0}, step=12)
        run.log_result("acc", n / 12)
        run.log_result("words", {"a": [1, "é"]})
        print(f"line {n}")
        if n < 4:
            run.log_table("rows", {"x": [n, 2]})
            run.log_artifact("same", body="the same text")
        if n == 5:
            raise ValueError("no more")
"""


def _ids(frame: pl.DataFrame) -> list[str]:
    return frame["run_id"].to_list()


QUESTIONS: dict[str, Callable[[], pl.DataFrame]] = {
    "runs": lambda: mlrun.runs(order_by="name"),
    "runs of a project": lambda: mlrun.runs("café 'x'", order_by="-params.lr"),
    "runs with children": lambda: mlrun.runs("p", children=True, order_by="name"),
    "runs by metric": lambda: mlrun.runs("p", order_by="-metrics.loss", limit=3, offset=1),
    "runs by aggregate": lambda: mlrun.runs(where='metrics."val/acc".max > 0.99', order_by="name"),
    "runs by params and tags": lambda: mlrun.runs(
        where="params.lr < 0.05 and 'even' in tags and params.\"deep.er\" != 1", order_by="name"
    ),
    "runs by NaN": lambda: mlrun.runs(
        where="metrics.odd.count > 2 or metrics.odd is nan", order_by="name"
    ),
    "runs by results and labels": lambda: mlrun.runs(
        where="results.acc >= 0.25 and labels.team = 'cv'", order_by="results.acc"
    ),
    "runs by state": lambda: mlrun.runs(where="state != 'completed'", order_by="name"),
    "some columns": lambda: mlrun.runs(
        order_by="name",
        columns=["name", "params.lr", "metrics.loss.min", "metrics.loss.first_step"],
    ),
    "every point": lambda: mlrun.metrics(_ids(mlrun.runs("p", order_by="name"))),
    "some keys": lambda: mlrun.metrics(
        _ids(mlrun.runs("p", order_by="name")), keys=["odd", "loss"]
    ),
    "last of a step": lambda: mlrun.metrics(_ids(mlrun.runs("p", order_by="name")), last=True),
    "a range of steps": lambda: mlrun.metrics(
        _ids(mlrun.runs("p", order_by="name")), keys=["loss"], start=5, end=12
    ),
    "a chart": lambda: mlrun.metrics(
        _ids(mlrun.runs(order_by="name")), keys=["val/acc"], points=40
    ),
    "a chart of a range": lambda: mlrun.metrics(
        _ids(mlrun.runs(order_by="name")), keys=["loss"], points=20, start=50, end=250, method="m4"
    ),
    "a chart over a metric": lambda: mlrun.metrics(
        _ids(mlrun.runs(order_by="name")), keys=["loss"], points=30, x="metrics.val/acc"
    ),
    "params": lambda: mlrun.params(_ids(mlrun.runs(order_by="name"))),
    "artifacts": lambda: mlrun.artifacts("p").sort("key", "version", "run_id"),
    "projects": lambda: mlrun.projects().sort("name"),
    "lines": lambda: pl.concat(
        mlrun.logs(r).select("stream", "line") for r in _ids(mlrun.runs(order_by="name"))
    ),
    "sql: join and group": lambda: mlrun.sql(
        "select r.name, max(m.value) as top, count(*) as n from runs r join metrics m using (run_id) "
        "where m.key = 'loss' group by r.name order by r.name"
    ),
    "sql: window": lambda: mlrun.sql(
        "select run_id, step, value, row_number() over (partition by run_id order by value desc, step) as rank "
        "from metrics where key = 'val/acc' and step between 10 and 20 order by run_id, step"
    ),
    "sql: quantile and having": lambda: mlrun.sql(
        "select key, quantile_cont(value, 0.5) as median, count(*) as n from metrics where key <> 'odd' "
        "group by key having count(*) > 10 order by key"
    ),
    "sql: params and results": lambda: mlrun.sql(
        "select p.run_id, p.value as lr, r.value as acc from params p join results r using (run_id) "
        "where p.key = 'lr' and r.key = 'acc' order by p.run_id"
    ),
    "sql: with and exists": lambda: mlrun.sql(
        "with low as (select run_id from metrics where key = 'loss' and value < 0.0016) select name from runs "
        "where exists (select 1 from low where low.run_id = runs.run_id) order by name"
    ),
    "sql: lines": lambda: mlrun.sql(
        "select run_id, line from logs where line like 'line %' order by run_id"
    ),
}


def _write(folder: Path, environment: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, **environment, "MLRUN_DBPATH": str(folder), "MLRUN_CONSOLE": "1"},
        check=True,
        capture_output=True,
        timeout=120,
        cwd=folder.parent,
    )


def _answers() -> dict[str, pl.DataFrame]:
    when = cs.datetime() | cs.duration()
    return {name: ask().select(~when) for name, ask in QUESTIONS.items()}


def _all_of(folder: Path, urls: dict[str, str]) -> Iterator[dict[str, pl.DataFrame]]:
    """Give the answers before and after rows are brought where they belong."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**urls, "MLRUN_DBPATH": str(folder)}.items():
            patch.setenv(name, value)
        for settle in (False, True):
            if settle:
                compact(open_store())
            yield _answers()
        assert [f for f in examine(open_store()) if f.severity != "note"] == []
        close_all()


@pytest.fixture(params=MIXES)
def mix(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings of a store made of the engines that are named; each has a place of its own for this test."""
    with ExitStack() as stack:
        urls = {}
        for part, engine in request.param.items():
            if engine == "clickhouse":
                from mlrun.testing.clickhouse import ClickHouseServer

                url = stack.enter_context(ClickHouseServer()).database()
            elif engine == "postgres":
                url = request.getfixturevalue("postgres_url")
            else:
                server, bucket = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
                url = server.url(bucket, part)
            urls[f"MLRUN_{part.upper()}_URL"] = url
        yield urls


def test_every_question_has_the_answer_of_the_embedded_store(
    mix: dict[str, str], tmp_path: Path
) -> None:
    embedded, mixed = tmp_path / "embedded", tmp_path / "mixed"
    _write(embedded, {})
    _write(mixed, mix)
    expected = list(_all_of(embedded, {}))
    found = list(_all_of(mixed, mix))
    assert expected[0]["runs"].height == 10
    for when, (right, mine) in enumerate(zip(expected, found, strict=True)):
        for question, frame in right.items():
            assert frame.height, question
            _compare(f"{question!r}, {('waiting', 'settled')[when]}", mine[question], frame)


def _compare(what: str, left: pl.DataFrame, right: pl.DataFrame) -> None:
    try:
        assert_frame_equal(left, right, check_exact=True)
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from None
