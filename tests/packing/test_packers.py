from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mlrun
from mlrun.errors import ConfigError, UntrustedPickle
from mlrun.packing.hints import LogHint, parse_hints
from mlrun.packing.packers import kind_of, pack, pack_returns, register_packer

if TYPE_CHECKING:
    from pathlib import Path

    from mlrun.tracking.run import Run


class Odd:
    """A class of the user's own."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]


def stored(run: Run, key: str, **options: Any) -> Any:
    return mlrun.get_artifact(f"p/{key}").load(**options)


def kept(run: Run, value: Any, hint: str) -> None:
    pack(run, value, LogHint.of(hint))


@pytest.mark.parametrize(
    "value",
    [1, 2.5, True, "text", {"a": [1, 2]}, [1, "x"], (1, 2), None, np.float32(0.5), np.arange(3)],
)
def test_plain_values_become_results(run: Run, value: Any) -> None:
    assert kind_of(value) == "result"
    kept(run, value, "r")
    plain = value.tolist() if hasattr(value, "tolist") else value
    assert run.results["r"] == plain


@pytest.mark.parametrize(
    "value",
    [
        pl.DataFrame({"a": [1, 2]}),
        pd.DataFrame({"a": [1, 2]}),
        pa.table({"a": [1, 2]}),
        pl.LazyFrame({"a": [1, 2]}),
    ],
    ids=lambda v: type(v).__name__,
)
def test_frames_become_datasets(run: Run, value: Any) -> None:
    kept(run, value, "df")
    item = mlrun.get_artifact("p/df")
    assert (item.type, item.as_df()["a"].to_list()) == ("dataset", [1, 2])


def test_large_arrays_become_npy(run: Run) -> None:
    kept(run, np.arange(1000.0), "array")
    assert np.array_equal(stored(run, "array"), np.arange(1000.0))


def test_models_are_known_by_their_framework(run: Run) -> None:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    assert kind_of(model) == "model"
    kept(run, model, "clf")
    item = mlrun.get_artifact("p/clf")
    assert item.type == "model"
    assert item.load(trust=True).predict([[1.0]]).tolist() == [1]


def test_figures_become_plots(run: Run) -> None:
    import plotly.graph_objects as go

    kept(run, go.Figure(go.Scatter(y=[1, 2])), "fig")
    assert mlrun.get_artifact("p/fig").type == "figure"


def test_paths_become_files_or_text(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    kept(run, path, "notes")
    kept(run, str(path), "notes2 : file")
    kept(run, path, "where : path")
    assert stored(run, "notes") == stored(run, "notes2") == "hello"
    assert run.results["where"] == str(path)


def test_what_has_no_other_form_is_pickled_and_needs_trust_to_be_read(run: Run) -> None:
    kept(run, Odd(3), "odd")
    with pytest.raises(UntrustedPickle):
        stored(run, "odd")
    assert stored(run, "odd", trust=True) == Odd(3)
    kept(run, {"a": 1}, "plain : object")
    assert stored(run, "plain", trust=True) == {"a": 1}


@pytest.mark.parametrize("format", ["csv", "json", "jsonl", "arrow", "parquet"])
def test_frames_are_written_in_the_format_asked_for(run: Run, format: str) -> None:
    kept(run, pl.DataFrame({"a": [1, 2]}), f"df : dataset[format={format}]")
    assert mlrun.get_artifact("p/df").meta["format"] == format


@pytest.mark.parametrize(
    ("value", "format", "wanted"),
    [({"a": 1}, "json", {"a": 1}), ({"a": 1}, "yaml", "a: 1\n"), ([1, 2], "txt", "[1, 2]")],
)
def test_plain_values_are_written_in_the_format_asked_for(
    run: Run, value: Any, format: str, wanted: Any
) -> None:
    kept(run, value, f"x : artifact[format={format}]")
    assert stored(run, "x") == wanted


def test_a_format_that_the_value_has_not_is_told_with_those_it_has(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"cannot be written as 'cvs' .did you mean 'csv'"):
        kept(run, pl.DataFrame({"a": [1]}), "df : dataset[format=cvs]")


def test_a_result_that_is_no_json_says_what_can_be_done(run: Run) -> None:
    with pytest.raises(TypeError, match=r"'r' cannot be a result: a Odd .*'r : object'"):
        kept(run, Odd(1), "r : result")


def test_a_file_that_is_not_there_is_told(run: Run) -> None:
    with pytest.raises(TypeError, match="is not there"):
        kept(run, "no/such/file", "f : file")


def test_collections_are_unbundled(run: Run) -> None:
    kept(run, [1, pl.DataFrame({"a": [1]})], "*part")
    kept(run, {"x": 1, "y": {"z": 2}}, "2*deep_")
    assert run.results == {"part_0": 1, "deep_x": 1, "deep_y_z": 2}
    assert mlrun.get_artifact("p/part_1").type == "dataset"
    with pytest.raises(TypeError, match="unbundles a list"):
        kept(run, 3, "*n")


def test_returned_values_meet_their_hints(run: Run) -> None:
    pack_returns(run, (1, "secret", [2]), parse_hints(["a", None, "b"]))
    assert run.results == {"a": 1, "b": [2]}


def test_one_hint_takes_the_whole_value(run: Run) -> None:
    pack_returns(run, (1, 2), parse_hints(["both"]))
    assert run.results == {"both": (1, 2)}


@pytest.mark.parametrize("value", [3, (1, 2, 3), None])
def test_a_wrong_number_of_values_is_told(run: Run, value: Any) -> None:
    with pytest.raises(ConfigError, match="returns= names 2: a, b"):
        pack_returns(run, value, parse_hints(["a", "b"]))


@pytest.mark.parametrize(
    ("value", "wanted"), [(None, {}), ("", {}), ([], {}), (0, {"return": 0}), (5, {"return": 5})]
)
def test_without_hints_a_value_is_kept_as_return(run: Run, value: Any, wanted: Any) -> None:
    pack_returns(run, value, [])
    assert run.results == wanted


def test_tag_and_labels_go_to_the_artifact(run: Run) -> None:
    pack(run, pl.DataFrame({"a": [1]}), LogHint("df", tag="best", labels={"k": "v"}))
    item = mlrun.get_artifact("p/df:best")
    assert item.meta["labels"] == {"k": "v"}


def test_a_package_may_bring_a_packer_for_its_types(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun.packing import packers
    from mlrun.packing.unpacking import unpack

    class OddPacker:
        kinds = (f"{Odd.__module__}.{Odd.__qualname__}",)

        def pack(self, run: Any, value: Any, hint: LogHint) -> None:
            run.log_result(hint.key, value.value)

        def unpack(self, item: Any, wanted: type) -> Any:
            return wanted(int(item.get()))

    monkeypatch.setattr(packers, "_packers", {})
    register_packer(OddPacker())
    kept(run, Odd(7), "odd")
    assert run.results == {"odd": 7}
    item = run.log_artifact("seven", body=b"7")
    assert unpack(item, Odd) == Odd(7)
