from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

import mlrun
from mlrun.names import clean_text
from mlrun.tracking.recordqueue import RecordQueue

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Python = Callable[..., subprocess.CompletedProcess[str]]

HEAVY = (
    "pyarrow",
    "polars",
    "numpy",
    "pandas",
    "adbc_driver_manager",
    "adbc_driver_sqlite",
    "psutil",
    "deltalake",
)


def test_params_follow_the_config() -> None:
    run = mlrun.init(config=argparse.Namespace(lr=0.1, layers=[1, 2], opt={"name": "sgd"}))
    run.config["lr"] = 0.2
    run.config["opt"]["name"] = "adam"
    run.config.update(epochs=3)
    del run.config["layers"]
    assert mlrun.get_run(run.id).params == {"lr": 0.2, "opt.name": "adam", "epochs": 3}
    types = dict(mlrun.params(run.id).select("key", "type").iter_rows())
    assert types == {"lr": "float", "opt.name": "str", "epochs": "int"}


def test_params_keep_nan_and_infinity() -> None:
    run = mlrun.init(config={"a": float("nan"), "b": float("-inf")})
    params = mlrun.get_run(run.id).params
    assert params["a"] != params["a"]
    assert params["b"] == float("-inf")


def test_a_param_without_a_json_form_is_its_repr_with_one_warning(
    warned: Callable[[], Any],
) -> None:
    with warned() as messages:
        run = mlrun.init(config={"c": 1j, "d": 2})
        run.config["d"] = 3
    assert len(messages) == 1
    assert "'c'" in messages[0]
    assert mlrun.get_run(run.id).params == {"c": "1j", "d": 3}


class Locked:
    """A config object that does not tell."""

    def keys(self) -> list[str]:
        raise PermissionError("who asks")

    def __getitem__(self, key: str) -> int:
        return 1


def test_a_config_that_cannot_be_taken_warns_once_and_harms_nothing(
    warned: Callable[[], Any],
) -> None:
    run = mlrun.init(config={"lr": 0.1})
    with warned() as messages:
        for _ in range(2):
            run.config.update(5, depth=3)
            run.config.update("abc")
            run.config.update([1, 2])
            run.config.update(Locked())
            run.config["lr"] = object()
            run.config["part"] = {"lock": Locked()}
            run.config["part"].update(None)
    params = mlrun.get_run(run.id).params
    assert params.pop("lr").startswith("<object object")
    assert "Locked" in params.pop("part.lock")
    assert params == {"depth": 3}
    assert len(messages) == 3, messages
    assert "config.update() takes a dict or a config object, not int" in messages[0]


def test_get_param_records_a_default_that_is_used() -> None:
    run = mlrun.init(config={"lr": 0.1})
    assert run.get_param("lr", 5) == 0.1
    assert run.get_param("depth", 3) == 3
    assert run.get_param("missing") is None
    assert mlrun.get_run(run.id).params == {"lr": 0.1, "depth": 3}


def test_results_are_any_json(warned: Callable[[], Any]) -> None:
    run = mlrun.init()
    run.log_result("accuracy", 0.97)
    with warned() as messages:
        run.log_results({"confusion": [[1, 2], [3, 4]], "report": {"f1": 0.9}, "odd": object()})
        run.log_results({5: None})  # type: ignore[dict-item]
    run.log_result("accuracy", 0.98)
    results = mlrun.get_run(run.id).results
    assert results["odd"].startswith("<object object")
    assert len(messages) == 1
    del results["odd"]
    assert results == {
        "accuracy": 0.98, "confusion": [[1, 2], [3, 4]], "report": {"f1": 0.9}, "5": None,
    }  # fmt: skip


def test_tags_labels_name_and_notes_can_change() -> None:
    run = mlrun.init(tags="one", labels={"a": 1})
    run.add_tags("two", "three")
    run.remove_tags("one", "never there")
    run.set_label("b", {"deep": True})
    run.set_label("a", None)
    run.name = "renamed"
    run.notes = "why"
    view = mlrun.get_run(run.id)
    assert view.tags == run.tags == ["three", "two"]
    assert view.labels == run.labels == {"b": {"deep": True}}
    assert (view.name, view.notes) == (run.name, run.notes) == ("renamed", "why")


def test_metric_definitions_are_kept_beside_the_provenance(warned: Callable[[], Any]) -> None:
    run = mlrun.init()
    run.define_metric("val/*", x="epoch", goal="maximize")
    with warned() as messages:
        run.define_metric("loss", goal="least", summary="min")
    assert "'max' or 'min'" in messages[0]
    run.set_provenance({"cluster": "night"})
    provenance = mlrun.get_run(run.id).provenance
    assert provenance["metric_defs"] == {
        "val/*": {"x": "epoch", "goal": "max"},
        "loss": {"summary": "min"},
    }
    assert provenance["cluster"] == "night"


def test_the_summary_has_last_values() -> None:
    run = mlrun.init()
    run.log({"a": 1.0})
    run.log({"a": 2.0, "b": 3.0})
    assert run.summary == {"a": 2.0, "b": 3.0}


@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=40))
def test_any_text_is_accepted_everywhere_and_comes_back(own_folder: Path, text: str) -> None:
    options: dict[str, Any] = {"console": False, "system_metrics": False, "git": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlrun.notices.warn", lambda message: None)
        run = mlrun.init(
            project=text, name=text, tags=[text], labels={text: text}, group=text, notes=text,
            config={"k": text}, **options,
        )  # fmt: skip
        run.log({text: 1.0})
        run.log_result(text, text)
        run.finish(error=text)
    stored = clean_text(text)[0]
    row = mlrun.runs(where=f"run_id = '{run.id}'").row(0, named=True)
    assert (row["name"], row["project"], row["tags"]) == (stored, stored or "default", [stored])
    assert json.loads(row["labels"]).keys() == {stored}
    assert mlrun.get_run(run.id).summary == {stored: 1.0}
    assert sorted(os.listdir(own_folder)) == [".mlrun"]


def test_long_text_is_cut_with_one_warning_each(warned: Callable[[], Any]) -> None:
    long = "x" * 1_000_000
    with warned() as messages:
        run = mlrun.init(project=long, name=long, tags=[long], labels={long: 1})
        run.log({long: 1.0})
        run.log({long: 2.0})
        run.log_result(long, 1)
    assert len(messages) == 5
    assert len({m.split(" ")[0] for m in messages}) >= 5
    view = mlrun.get_run(run.id)
    assert (len(view.name), len(view.project), len(view.tags[0])) == (1024, 1024, 1024)
    assert view.summary == {"x" * 1024: 2.0}


def test_disabled_takes_everything_and_writes_nothing(own_folder: Path) -> None:
    (own_folder / "file.txt").write_text("x")
    run = mlrun.init(mode="disabled", config={"a": {"b": 1}}, tags=["t"], id="x", resume="must")
    with run:
        run.log({"a": 1.0, "text": "t"})
        run.log_result("r", 1)
        run.define_metric("a", goal="max")
        run.add_tags("u")
        run.set_label("l", 1)
        run.name = "other"
        item = run.log_artifact("file.txt")
        assert "disabled" in item.error
        assert item.uri.endswith("file.txt:v0")
        run.log_table("t", [{"a": 1}])
        run.flush()
        mlrun.log({"b": 2.0})
        assert (run.config["a.b"], run.tags, run.results) == (1, ["t", "u"], {"r": 1})
        assert run.summary == {}
        assert run.dropped == 0
        with pytest.raises(mlrun.errors.NotFound):
            run.use_artifact("p/none")
    assert run.state == "completed"
    assert os.listdir(own_folder) == ["file.txt"]


def test_offline_is_complete() -> None:
    with mlrun.init(mode="offline", config={"a": 1}) as run:
        run.log({"loss": 1.0})
    view = mlrun.get_run(run.id)
    assert (view.state, view.params, view.summary) == ("completed", {"a": 1}, {"loss": 1.0})


def test_a_failed_artifact_warns_and_the_run_goes_on(warned: Callable[[], Any]) -> None:
    run = mlrun.init()
    with warned() as messages:
        item = run.log_artifact("no/such/file.bin")
        bad = run.log_image("i", [[1]], stpe=3)
    assert "no/such/file.bin" in item.error
    assert "stpe" in bad.error
    assert len(messages) == 2
    run.finish()
    assert mlrun.get_run(run.id).state == "completed"


def test_strict_raises_for_artifacts_and_never_for_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLRUN_STRICT", "1")
    run = mlrun.init()
    with pytest.warns(mlrun.notices.MlrunWarning):
        run.log({"a": object()}, step="x")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        run.log_artifact("no/such/file.bin")
    run.finish()
    view = mlrun.get_run(run.id)
    assert view.state == "error"
    assert "FileNotFoundError" in (view.error or "")


def test_init_and_log_load_nothing_heavy(python: Python) -> None:
    done = python(
        f"""
        import sys, mlrun
        run = mlrun.init(config={{"a": 1}}, system_metrics=False)
        run.log({{"loss": 1.0}})
        run.log_result("r", 1)
        run.finish()
        print([m for m in {HEAVY!r} if m in sys.modules])
        """
    )
    assert done.stdout == "[]\n", done.stderr


def test_records_that_the_disk_refuses_are_kept_in_order(warned: Callable[[], Any]) -> None:
    full = threading.Event()
    full.set()
    written: list[Any] = []
    said: list[str] = []

    def write(ops: list[Any]) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        if ops == ["poison"]:
            raise TypeError("no JSON form")
        written.extend(ops)

    queue = RecordQueue(write, lambda code, message: said.append(message))
    assert not queue.put(["a"])  # type: ignore[list-item]
    assert not queue.put(["b"])  # type: ignore[list-item]
    assert "No space left" in said[0]
    full.clear()
    assert queue.put(["c"])  # type: ignore[list-item]
    assert written == ["a", "b", "c"]
    with pytest.raises(TypeError):
        queue.put(["poison"])  # type: ignore[list-item]
    assert queue.put(["d"])  # type: ignore[list-item]
    assert written == ["a", "b", "c", "d"]
    assert queue.flush()


def test_warnings_go_to_stderr_of_a_script(python: Python) -> None:
    done = python("import mlrun; run = mlrun.init(); run.log({'a': object()})", MLRUN_QUIET="0")
    assert done.stdout == ""
    assert "MlrunWarning" in done.stderr
    assert sys.executable not in done.stderr
