"""What the questions answer, column by column and type by type, before and after everything is absorbed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mlrun
from mlrun.errors import MlrunError, NotFound, QueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("series_url")
TIME = pl.Datetime("us", "UTC")
TEXT = pl.String
RUNS: dict[str, Any] = {
    "run_id": TEXT, "name": TEXT, "project": TEXT, "state": TEXT, "kind": TEXT, "function": TEXT,
    "parent": TEXT, "iteration": pl.Int64, "group": TEXT, "user": TEXT, "host": TEXT,
    "started_at": TIME, "finished_at": TIME, "duration": pl.Duration("us"), "tags": pl.List(TEXT),
    "labels": TEXT, "notes": TEXT, "error": TEXT, "dropped": pl.Int64,
}  # fmt: skip
METRICS = {"run_id": TEXT, "key": TEXT, "step": pl.Int64, "time": TIME, "value": pl.Float64}
PARAMS = {"run_id": TEXT, "key": TEXT, "value": TEXT, "type": TEXT}
LOGS = {"run_id": TEXT, "time": TIME, "stream": TEXT, "line": TEXT}
ARTIFACTS = {
    "run_id": TEXT, "project": TEXT, "key": TEXT, "type": TEXT, "version": pl.Int64,
    "aliases": pl.List(TEXT), "size": pl.Int64, "sha256": TEXT, "uri": TEXT, "created_at": TIME,
}  # fmt: skip


@pytest.fixture(params=["nothing", "live", "finished", "absorbed"])
def stage(request: pytest.FixtureRequest) -> Iterator[str]:
    """The same columns whatever there is and wherever it lies."""
    if request.param == "nothing":
        yield ""
        return
    run = mlrun.init(
        project="p", name="a", config={"lr": 0.1, "n": 1, "word": "x", "on": True, "l": [1]},
        labels={"team": "cv"}, tags=["t"], console=True,
    )  # fmt: skip
    print("a line")
    run.log({"loss": 1.0})
    run.log_result("best", 2)
    run.log_artifact("k", body="x")
    run.flush()
    if request.param != "live":
        run.finish()
    if request.param == "absorbed":
        mlrun.open_store().writer().close()
        mlrun.compact()
    yield run.id
    run.finish()


def test_columns_and_types_are_those_of_the_contract(stage: str) -> None:
    found = dict(mlrun.runs("p").schema)
    own = {k: found.pop(k) for k in list(found)[: len(RUNS)]}
    assert list(own.items()) == list(RUNS.items())
    wide: dict[str, Any] = {
        "params.l": TEXT, "params.lr": pl.Float64, "params.n": pl.Int64, "params.on": pl.Boolean,
        "params.word": TEXT, "results.best": pl.Int64, "metrics.loss": pl.Float64,
    }  # fmt: skip
    assert list(found.items()) == (list(wide.items()) if stage else [])
    ids = [stage] if stage else []
    for frame, columns in (
        (mlrun.metrics(ids), METRICS),
        (mlrun.metrics(ids, points=10), METRICS),
        (mlrun.metrics(ids, last=True), METRICS),
        (mlrun.params(ids), PARAMS),
        (mlrun.logs(ids), LOGS),
        (mlrun.artifacts("p"), ARTIFACTS),
    ):
        assert isinstance(frame, pl.DataFrame)
        assert list(frame.schema.items()) == list(columns.items())
        assert (frame.height > 0) == bool(stage)


def test_times_are_now_and_in_utc(finished: Callable[..., str]) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    row = mlrun.runs().row(0, named=True) if finished() else {}
    assert (
        before < row["started_at"] <= row["finished_at"] < datetime.now(UTC) + timedelta(seconds=1)
    )
    assert row["duration"] == row["finished_at"] - row["started_at"]
    assert before < mlrun.metrics(row["run_id"])["time"][0] < row["finished_at"]


def test_ids_are_uuids_of_version_7_and_in_the_order_of_time(finished: Callable[..., str]) -> None:
    import uuid

    ids = [finished() for _ in range(3)]
    assert [uuid.UUID(i).version for i in ids] == [7, 7, 7]
    assert ids == sorted(ids)


def test_runs_come_newest_first_from_every_project(finished: Callable[..., str]) -> None:
    ids = [finished(project=p) for p in ("x", "y", "x")]
    assert mlrun.runs()["run_id"].to_list() == ids[::-1]
    assert mlrun.runs("x")["run_id"].to_list() == [ids[2], ids[0]]
    assert mlrun.runs(limit=1, offset=1)["run_id"].to_list() == [ids[1]]


def test_every_stored_row_comes_in_the_order_of_writing_and_last_keeps_one() -> None:
    with mlrun.init(project="p") as run:
        for value in (1.0, 2.0, float("nan"), 3.0):
            run.log({"b": value}, step=5)
        run.log({"a": float("-inf")}, step=7)
        run.log({"b": 9.0}, step=1)
    for _ in range(2):
        rows = mlrun.metrics(run.id).select("key", "step", "value").fill_nan(-1.0).rows()
        assert rows == [
            ("a", 7, float("-inf")), ("b", 1, 9.0), ("b", 5, 1.0), ("b", 5, 2.0), ("b", 5, -1.0), ("b", 5, 3.0),
        ]  # fmt: skip
        last = mlrun.metrics(run.id, keys="b", last=True).select("step", "value").rows()
        assert last == [(1, 9.0), (5, 3.0)]
        mlrun.compact()


def test_summaries_count_every_row_logged_and_last_is_at_the_highest_step() -> None:
    with mlrun.init(project="p") as run:
        for step, value in ((0, 5.0), (9, 1.0), (9, 2.0), (3, -4.0), (4, float("nan"))):
            run.log({"a": value}, step=step)
        run.log({"n": float("nan")})
    kinds = ["last", "min", "max", "mean", "count", "first_step", "last_step"]
    columns = [f"metrics.a.{k}" if k != "last" else "metrics.a" for k in kinds]
    for _ in range(2):
        assert mlrun.runs(columns=columns).row(0) == (2.0, -4.0, 5.0, 1.0, 5, 0, 9)
        assert mlrun.runs(columns=["metrics.n.min", "metrics.n.mean", "metrics.n.count"]).row(0) == (
            None, None, 1,
        )  # fmt: skip
        assert mlrun.get_run(run.id).summary["n"] != mlrun.get_run(run.id).summary["n"]
        mlrun.compact()


@pytest.mark.parametrize(
    ("x", "start", "end", "steps"),
    [
        ("step", 2, 4, [2, 3, 4]),
        ("metrics.epoch", 10, 20, [1, 2]),
        ("relative", 0, None, [0, 1, 2, 3, 4, 5]),
        ("step", None, 1, [0, 1]),
    ],
)
def test_start_and_end_are_inclusive_in_the_units_of_x(
    x: str, start: float | None, end: float | None, steps: list[int]
) -> None:
    with mlrun.init(project="p") as run:
        for step in range(6):
            run.log({"a": float(step), "epoch": step * 10.0}, step=step)
    found = mlrun.metrics(run.id, keys=["a"], x=x, start=start, end=end)
    assert found["step"].to_list() == steps


def test_downsampling_keeps_ends_extremes_and_gaps() -> None:
    with mlrun.init(project="p") as run:
        for step in range(5000):
            value = {100: 99.0, 3000: -99.0, 4000: float("nan")}.get(step, (step % 7) / 7)
            run.log({"a": value}, step=step)
    for _ in range(2):
        for method in ("minmaxlttb", "lttb", "minmax", "m4"):
            chart = mlrun.metrics(run.id, points=100, method=method)
            assert chart.height <= 100
            assert (chart["step"][0], chart["step"][-1]) == (0, 4999)
            values = chart["value"]
            assert values.drop_nans().max() == 99.0
            assert values.drop_nans().min() == -99.0
            assert values.is_nan().any()
        mlrun.compact()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: mlrun.metrics("x", method="guess"),
        lambda: mlrun.metrics("x", x="stepp"),
        lambda: mlrun.metrics("x", points=0),
        lambda: mlrun.metrics("x", points=-5),
        lambda: mlrun.runs(limit=1.5),  # type: ignore[arg-type]
        lambda: mlrun.runs(offset=-1),
        lambda: mlrun.delete_runs(" "),
        lambda: mlrun.metrics(7),
        lambda: mlrun.runs(where="params.lr ="),
        lambda: mlrun.runs(order_by="nonsense"),
        lambda: mlrun.runs(columns=["metrics"]),
        lambda: mlrun.sql("delete from runs"),
        lambda: mlrun.sql("select * from read_csv('/etc/passwd')"),
        lambda: mlrun.sql("select 1; select 2"),
        lambda: mlrun.sql("select * from nowhere"),
    ],
)
def test_a_question_without_meaning_is_an_error_of_ours(ask: Callable[[], Any]) -> None:
    with pytest.raises(MlrunError) as told:
        ask()
    assert isinstance(told.value, QueryError)


def test_a_name_is_found_as_it_was_given_to_init() -> None:
    """What init cleans, questions clean alike."""
    for name in ("p\0q", "\ud800", "long" * 1000):
        mlrun.init(project=name, id=name).finish()
        assert mlrun.runs(name).height == 1
        assert mlrun.get_run(name).state == "completed"
        assert mlrun.metrics(name).height == mlrun.params(name).height == 0
        assert mlrun.artifacts(name).height == 0


@pytest.mark.parametrize("name", [None, 7, b"p/k"])
def test_runs_and_artifacts_are_named_by_text(name: Any) -> None:
    mlrun.init(project="p").finish()
    for ask in (mlrun.get_run, mlrun.get_artifact):
        with pytest.raises(QueryError, match="named by text"):
            ask(name)


def test_an_unknown_run_has_no_rows_and_no_view() -> None:
    for frame in (mlrun.metrics("x"), mlrun.params("x"), mlrun.logs("x"), mlrun.artifacts("x")):
        assert frame.height == 0
    with pytest.raises(NotFound):
        mlrun.get_run("x")
    with pytest.raises(NotFound):
        mlrun.get_artifact("p/k")


def test_outputs_are_results_and_the_addresses_of_artifacts() -> None:
    with mlrun.init(project="p") as run:
        run.log_result("best", 0.5)
        run.log_artifact("k", body=b"one")
        run.log_artifact("k", body=b"two")
    view = mlrun.get_run(run.id)
    assert view.outputs == {"best": 0.5, "k": "store://p/k:v2"}
    assert view.artifact("k").get() == b"two"
    assert mlrun.get_artifact("p/k:v1").get() == b"one"
    assert mlrun.artifacts("p")["aliases"].to_list() == [[], ["latest"]]


def test_the_uri_of_a_listed_artifact_is_its_address() -> None:
    with mlrun.init(project="a/b") as run:
        items = [
            run.log_artifact("x:y", body="one"),
            run.log_artifact("far", local_path="s3://bucket/far.bin"),
        ]
    uris = mlrun.artifacts("a/b")["uri"].to_list()
    assert uris == [item.uri for item in items]
    assert [mlrun.get_artifact(uri).key for uri in uris] == ["x:y", "far"]
    assert mlrun.sql("select uri from artifacts order by created_at")["uri"].to_list() == uris


def test_artifacts_join_runs_in_sql() -> None:
    ids = []
    for name in ("a", "b"):
        with mlrun.init(project="p", name=name) as run:
            run.log_artifact("k", body="the same", metadata={"n": 1})
        ids.append(run.id)
    query = "select r.name, a.key, a.version, a.aliases from runs r join artifacts a using (run_id)"
    assert sorted(mlrun.sql(query).rows()) == [("a", "k", 1, ["latest"]), ("b", "k", 1, ["latest"])]
    assert mlrun.sql("select * from artifacts").columns == [*ARTIFACTS, "meta"]
    mlrun.get_run(ids[0]).delete()
    assert mlrun.sql(query)["name"].to_list() == ["b"]


def test_one_process_reads_what_it_wrote_without_a_flush() -> None:
    run = mlrun.init(project="p")
    for step in range(5):
        run.log({"a": float(step)})
        assert mlrun.metrics(run.id).height == step + 1
        run.add_tags(f"t{step}")
        assert len(mlrun.get_run(run.id).tags) == step + 1


def test_all_tables_of_sql_answer(finished: Callable[..., str]) -> None:
    finished(config={"lr": 0.1}, tags=["t"])
    tables = ["runs", "params", "results", "metrics", "summaries", "tags", "artifacts", "logs"]
    counts = [
        mlrun.sql(f"select count(*) from {t}").item()
        for t in [*tables, "system_metrics", "runs_wide"]
    ]
    assert counts == [1, 1, 0, 1, 1, 1, 0, 0, 0, 1]
    assert mlrun.sql('select "params.lr" from runs_wide').item() == 0.1
