from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mlrun
from mlrun.app.board import session

from .conftest import shown

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = "</script><img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) :red[x] $x$"


@pytest.fixture
def run() -> str:
    """A run with everything, and hostile text in every field."""
    with mlrun.init(
        project="p", name=HOSTILE, config={"lr": 0.1, HOSTILE: HOSTILE}, tags=["baseline", HOSTILE],
        labels={"team": HOSTILE}, notes=HOSTILE,
    ) as run:  # fmt: skip
        for step in range(20):
            run.log({"train/loss": 1 / (step + 1), HOSTILE: float(step)}, step=step)
        for step in (0, 5):
            run.log({"weights": mlrun.Histogram([1.0, 2.0, float(step)])}, step=step)
        run.log_result("accuracy", 0.97)
        run.log_dataset("rows", pl.DataFrame({HOSTILE: [HOSTILE], "n": [1]}))
        run.log_artifact("note.txt", body=HOSTILE)
        run.use_artifact("p/rows:v1")
    return run.id


def frames(page: Any) -> list[Any]:
    return [frame.value for frame in page.dataframe]


def calm(page: Any) -> str:
    """Return what a page says, after looking that nothing on it failed."""
    said = shown(page)
    assert not page.exception
    assert "could not be drawn" not in said
    assert "<img" not in "".join(str(m.value) for m in page.markdown).replace("\\<", "")
    return said


def test_without_a_run_the_page_says_how_to_find_one(opened: Callable[..., Any], run: str) -> None:
    assert "No run is chosen" in calm(opened("run"))
    said = calm(opened("run", id="no-such-run"))
    assert "Nothing of that name is here" in said
    assert "a project that you may not see" in said


def test_the_overview_shows_what_went_in_and_what_came_out(
    opened: Callable[..., Any], run: str
) -> None:
    page = opened("run", id=run)
    said = calm(page)
    assert "completed" in said
    assert "Where it ran" in said
    params, results, metrics = (f.set_index("name") for f in frames(page)[:3])
    assert params.loc["lr", "value"] == "0.1"
    assert params.loc[HOSTILE, "value"] == HOSTILE
    assert results.loc["accuracy", "value"] == "0.97"
    assert metrics.loc["train/loss", "points"] == 20
    page.text_input(key="find").set_value("ACCUR").run()
    assert frames(page)[0].shape[0] == 1
    assert "None of 2 holds this" in calm(page)


def test_a_run_that_failed_shows_its_error_first(opened: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="boom"), mlrun.init(project="p") as run:
        raise ValueError("boom " + HOSTILE)
    page = opened("run", id=run.id)
    calm(page)
    assert "boom" in page.error[0].value
    assert "Traceback" in page.code[0].value


def test_charts_are_grouped_searched_smoothed_and_cut(opened: Callable[..., Any], run: str) -> None:
    page = opened("run", id=run, room="charts")
    said = calm(page)
    assert "Drag over a chart" in said
    assert "last 0.05 at step 19" in said.replace("\\", "")
    assert "Media by step" in said
    assert len(page.get("vega_lite_chart") or page.get("arrow_vega_lite_chart")) == 3
    page = opened("run", id=run, room="charts", keys="loss", x="relative", smooth="0.5", log="true")
    assert "train" in calm(page)
    page = opened("run", id=run, room="charts", **{"from": "5", "to": "9"})
    assert "step from 5 to 9" in calm(page)
    page.button(key="_whole").click().run()
    assert "from" not in page.query_params
    page = opened("run", id=run, room="charts", keys="nothing")
    assert "No metric of that name" in calm(page)


def test_of_many_metrics_a_page_is_asked_for(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlrun.init(project="p") as run:
        run.log({f"k{i:03d}": float(i) for i in range(100)})
    asked: list[Any] = []
    real = mlrun.metrics

    def metrics(*args: Any, **given: Any) -> pl.DataFrame:
        asked.append((len(given["keys"]), given["points"]))
        return real(*args, **given)

    monkeypatch.setattr(mlrun, "metrics", metrics)
    page = opened("run", id=run.id, room="charts", page="2")
    said = calm(page)
    assert asked == [(12, 1000)]
    assert "100 of 100 metrics, 12 on a page" in said
    assert "k012" in said
    assert "k000" not in said


def test_a_click_on_a_room_holds_though_the_browser_still_sends_the_address_from_before(
    opened: Callable[..., Any],
) -> None:
    run = mlrun.init(project="p")
    run.log({"loss": 1.0})
    for before in (None, "console"):
        page = opened("run", id=run.id, **({"room": before} if before else {}))
        page.segmented_control(key="_room").set_value("charts").run()
        assert page.query_params["room"] in ("charts", ["charts"])
        for _ in range(2):  # nobody has clicked, and the new address has not arrived yet
            if before:
                page.query_params["room"] = before
            else:
                del page.query_params["room"]
            page.run()
            assert page.segmented_control(key="_room").value == "charts"
            assert page.query_params["room"] in ("charts", ["charts"])
        page.run()
        page.query_params["room"] = "system"  # a link, or back: what it names from then on is meant
        page.run()
        assert page.segmented_control(key="_room").value == "system"
        page.query_params["room"] = before or "overview"
        page.run()
        assert page.segmented_control(key="_room").value == (before or "overview")
    run.finish()


def test_rooms_without_anything_say_so(opened: Callable[..., Any]) -> None:
    with mlrun.init(project="p", console=False, system_metrics=False) as run:
        pass
    expected = {
        "charts": "No metrics", "system": "No samples", "console": "Nothing was printed",
        "artifacts": "No artifacts", "children": "Nothing inside this run", "function": "No function was run",
    }  # fmt: skip
    for room, words in expected.items():
        assert words in calm(opened("run", id=run.id, room=room)), room


def test_system_metrics_are_charts_too(opened: Callable[..., Any]) -> None:
    run = mlrun.init(project="p", system_metrics=False)
    assert run.writer is not None
    channel = run.writer.channel(run.project, run.id, "system_metrics")
    for second in range(5):
        channel.log({"cpu/percent": float(second)}, 1_700_000_000 + second)
    run.finish()
    said = calm(opened("run", id=run.id, room="system"))
    assert "cpu" in said
    assert "last 4" in said


def test_the_console_shows_the_last_lines_and_finds_words(opened: Callable[..., Any]) -> None:
    run = mlrun.init(project="p", console=False)
    assert run.writer is not None
    now = 1_700_000_000_000_000
    lines = [(now + i, "stderr" if i == 3 else "stdout", f"line {i} {HOSTILE}") for i in range(600)]
    run.writer.text(run.project, run.id, lines)
    run.finish()
    page = opened("run", id=run.id, room="console")
    assert "500 of 600 lines" in calm(page)
    assert page.code[0].value.startswith("line 100 ")
    page.button(key="_more").click().run()
    assert page.code[0].value.startswith("line 0 ")
    page = opened("run", id=run.id, room="console", find="LINE 59", stream="stdout")
    assert "11 lines that hold it; the run printed 600" in calm(page)
    page = opened("run", id=run.id, room="console", stream="stderr", times="true")
    assert page.code[0].value.startswith("22:13:20.000  line 3 ")
    assert "No line holds that" in calm(opened("run", id=run.id, room="console", find="absent"))


def test_artifacts_are_listed_and_the_chosen_one_is_shown(
    opened: Callable[..., Any], run: str
) -> None:
    page = opened("run", id=run, room="artifacts", artifact="store://p/note.txt:v1")
    said = calm(page)
    assert "note.txt v1" in said.replace("\\", "")
    assert HOSTILE in [c.value for c in page.code]
    listed = frames(page)[0]
    assert set(listed["role"]) == {"made", "used"}
    page = opened("run", id=run, room="artifacts", find="dataset rows")
    assert frames(page)[0].shape[0] == 2
    assert HOSTILE in frames(page)[1].columns
    page = opened("run", id=run, room="artifacts", find="histogram")
    assert "3 values" in calm(page)


def test_what_is_damaged_is_told_and_the_page_stays(opened: Callable[..., Any]) -> None:
    names = ("odd.json", "odd.parquet", "odd.png")
    with mlrun.init(project="p") as run:
        for name in names:
            Path(name).write_text("{nothing of the kind")
            run.log_artifact(name)
    for name in names:
        page = opened("run", id=run.id, room="artifacts", artifact=f"store://p/{name}:v1")
        said = calm(page)
        assert f"{name} v1" in said.replace("\\", "")
        assert page.warning or "That could not be answered" in said, name


def test_iterations_are_listed_with_the_best_and_opened(opened: Callable[..., Any]) -> None:
    def train(lr: float) -> float:
        return lr

    fn = mlrun.new_function("train", handler=train, project="p", requirements=["polars"])
    options = mlrun.HyperParamOptions(strategy="list", selector="max.accuracy")
    job = fn.run(
        hyperparams={"lr": [0.1, 0.3, 0.2]}, returns=["accuracy"], hyper_param_options=options, local=True
    )  # fmt: skip
    page = opened("run", id=job.id, room="children")
    assert "Iteration 2 is the best by max.accuracy" in calm(page).replace("\\", "")
    table = frames(page)[0]
    assert table["best"].to_list() == ["", "★ best", ""]
    assert table["params.lr"].to_list() == [0.1, 0.3, 0.2]
    page.text_input(key="inside").set_value("params.lr > 0.15").run()
    assert frames(page)[0].shape[0] == 2
    page.text_input(key="inside").set_value("params.lr >").run()
    assert page.error
    page = opened("run", id=job.id, room="function")
    said = calm(page)
    assert job.record["function"].rpartition("@")[2] in said
    assert "polars" in str(frames(page)[0])
    assert any("def train" in c.value for c in page.code)
    child = mlrun.runs(where=f"parent = '{job.id}'")["run_id"][0]
    page = opened("run", id=child)
    page.button(key="_parent").click().run()
    assert page.session_state["_went"] == ("run", {"id": job.id})


def test_a_run_is_edited_archived_deleted_and_restored(
    opened: Callable[..., Any], run: str
) -> None:
    page = opened("run", id=run)
    page.text_input[0].set_value("renamed")
    page.text_area[1].set_value("team=nlp\nnew=1")
    page.button(key="FormSubmitter:_edit-Save").click().run()
    view = mlrun.get_run(run)
    assert (view.name, view.labels) == ("renamed", {"team": "nlp", "new": "1"})
    page.button(key="_do_Archive").click().run()
    assert "This run is archived" in page.info[0].value
    page.button(key="_do_Restore").click().run()
    assert not page.info
    page.button(key="_do_Delete this run").click().run()
    assert "This run was deleted" in page.warning[0].value
    page.button(key="_do_Restore").click().run()
    assert not page.warning
    assert not page.exception


def test_a_viewer_may_change_nothing(
    opened: Callable[..., Any], run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "may", lambda role, project="": False)
    page = opened("run", id=run)
    calm(page)
    assert not [b for b in page.button if str(b.key).startswith("_do_")]
    assert not page.text_area


def test_a_run_that_goes_on_can_be_aborted_and_says_for_how_long(
    opened: Callable[..., Any],
) -> None:
    run = mlrun.init(project="p", name="live")
    run.log({"loss": 1.0})
    page = opened("run", id=run.id, room="charts")
    said = calm(page)
    assert "running" in said
    assert "last 1 at step 0" in said
    run.log({"loss": 0.5})
    page.run()
    assert "last 0.5 at step 1" in calm(page).replace("\\", "")
    assert page.button(key="_do_Abort this run")
    run.finish()
    page.run()
    assert "completed" in calm(page)
