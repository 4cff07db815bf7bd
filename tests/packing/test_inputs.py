from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mlrun
from mlrun.errors import ConfigError, NotFound, ObjectError, UntrustedPickle
from mlrun.execution.inputs import check_inputs, input_item
from mlrun.packing.unpacking import unpack

if TYPE_CHECKING:
    from mlrun.content.dataitem import DataItem
    from mlrun.tracking.run import Run

FRAME = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    FRAME.write_csv(path)
    return path


def test_a_path_is_read_where_it_lies(csv: Path) -> None:
    for given in (csv, str(csv), csv.as_uri()):
        item = input_item(given)
        assert item.path() == csv
        assert item.as_df().equals(FRAME)
        assert item.uri == csv.as_uri()


def test_a_folder_is_an_input_too(csv: Path) -> None:
    item = input_item(csv.parent)
    assert item.is_folder
    assert item.load() == csv.parent


def test_an_artifact_is_found_by_its_name_and_by_its_uri(run: Run) -> None:
    uri = run.log_dataset("train", FRAME).uri
    for name in ("p/train", "train", uri, uri.removeprefix("store://")):
        assert input_item(name, run.store, "p").as_df().equals(FRAME)


def test_what_is_neither_file_nor_artifact_is_told_as_both(run: Run) -> None:
    run.log_dataset("train", FRAME)
    with pytest.raises(NotFound, match=r"no file 'trian' here, and .*train"):
        input_item("trian", run.store, "p")
    with pytest.raises(NotFound, match="there is no file"):
        input_item("/no/such.csv", run.store, "p", "data")


def test_http_inputs_are_fetched_and_show_no_password(csv: Path) -> None:
    import functools
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(csv.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            place = f"127.0.0.1:{server.server_port}"
            item = input_item(f"http://{place}/data.csv?token=s3cr3t")
            assert item.as_df().equals(FRAME)
            missing = input_item(f"http://{place}/none.csv?token=s3cr3t")
            with pytest.raises(ObjectError) as error:
                missing.get()
        finally:
            server.shutdown()
            thread.join()
    assert "s3cr3t" not in f"{item!r}{item.uri}{item.meta}{error.value}"


@pytest.mark.parametrize(
    ("wanted", "check"),
    [
        (pl.DataFrame, lambda v: v.equals(FRAME)),
        (pl.LazyFrame, lambda v: v.collect().equals(FRAME)),
        (pd.DataFrame, lambda v: v["a"].tolist() == [1, 2]),
        (pa.Table, lambda v: v.num_rows == 2),
        (str, lambda v: Path(v).name == "data.csv"),
        (Path, lambda v: v.name == "data.csv"),
        (bytes, lambda v: v.startswith(b"a,b")),
        (mlrun.DataItem, lambda v: v.key == "data.csv"),
        (Any, lambda v: v.key == "data.csv"),
        (None, lambda v: v.key == "data.csv"),
        (pl.DataFrame | None, lambda v: v.equals(FRAME)),
        (Union[pl.DataFrame, str], lambda v: v.equals(FRAME)),  # noqa: UP007  the older spelling counts too
    ],
    ids=[
        "polars",
        "lazy",
        "pandas",
        "arrow",
        "text",
        "path",
        "bytes",
        "item",
        "any",
        "none",
        "optional",
        "union",
    ],
)
def test_type_hints_say_what_the_handler_gets(csv: Path, wanted: Any, check: Any) -> None:
    assert check(unpack(input_item(csv), wanted))


@pytest.mark.parametrize("kind", [pl.DataFrame, pd.DataFrame, pa.Table])
@pytest.mark.parametrize("wanted", [pl.DataFrame, pd.DataFrame, pa.Table])
def test_frames_in_memory_become_the_frame_asked_for(kind: Any, wanted: Any) -> None:
    value = {pl.DataFrame: FRAME, pd.DataFrame: FRAME.to_pandas(), pa.Table: FRAME.to_arrow()}[kind]
    found = unpack(input_item(value, key="x"), wanted)
    assert isinstance(found, wanted)
    if kind is wanted:
        assert found is value


def test_arrays_come_back_as_arrays(run: Run) -> None:
    item = run.log_artifact("a", body=np.arange(20))
    assert np.array_equal(unpack(item, np.ndarray), np.arange(20))
    assert unpack(input_item(FRAME.select("a"), key="x"), np.ndarray).tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("text", "wanted", "value"),
    [
        (json.dumps({"a": 1}), dict, {"a": 1}),
        ("[1, 2]", list, [1, 2]),
        ("[1, 2]", list[int], [1, 2]),
        ("[1, 2]", tuple, (1, 2)),
        ("3", int, 3),
        ("3", float, 3.0),
        ("(1, 2)", tuple, (1, 2)),
        ("true", bool, True),
    ],
)
def test_plain_values_are_read_from_text(
    tmp_path: Path, text: str, wanted: Any, value: Any
) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert unpack(input_item(path), wanted) == value


@pytest.mark.parametrize(
    ("text", "wanted"), [("1.5", int), ("true", int), ("words", dict), ("1", list)]
)
def test_text_that_holds_something_else_is_told(tmp_path: Path, text: str, wanted: Any) -> None:
    path = tmp_path / "x.txt"
    path.write_text(text)
    with pytest.raises(TypeError, match="the handler asks for"):
        unpack(input_item(path), wanted)


def test_pickles_need_trust(run: Run) -> None:
    from fractions import Fraction

    from mlrun.packing.hints import LogHint
    from mlrun.packing.packers import pack

    pack(run, Fraction(1, 3), LogHint("third"))
    item: DataItem = mlrun.get_artifact("p/third")
    with pytest.raises(UntrustedPickle):
        unpack(item, Fraction)
    assert unpack(item, Fraction, trust=True) == Fraction(1, 3)


def test_inputs_without_meaning_are_told() -> None:
    assert check_inputs(None) == {}
    with pytest.raises(ConfigError, match="is None"):
        check_inputs({"a": None})
    with pytest.raises(ConfigError, match="inputs is a dict"):
        check_inputs(["a"])  # type: ignore[arg-type]
    with pytest.raises(ObjectError, match="in memory"):
        input_item(object(), key="x").get()
