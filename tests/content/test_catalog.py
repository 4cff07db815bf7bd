from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from mlrun.content import catalog
from mlrun.content.dataitem import find_artifact
from mlrun.errors import MlrunError, NotFound, ObjectError, UntrustedPickle
from mlrun.tables import ALIASES, ARTIFACTS, LINEAGE


def test_a_path_alone_is_the_path_and_its_name_the_key(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"weights")
    item = catalog.log_artifact(run, str(file), type="model")
    assert (item.key, item.type, item.size) == ("model.pt", "model", 7)
    assert item.get() == b"weights"
    assert item.meta == {"format": "torch", "name": "model.pt"}
    assert item.uri == "store://digits/model.pt:v1"
    assert item.path().read_bytes() == b"weights"


@pytest.mark.parametrize("form", ["path", "text", "bytes", "file://"])
def test_every_form_of_a_path(run: Any, tmp_path: Path, form: str) -> None:
    file = tmp_path / "a b%20c.txt"
    file.write_text("hello")
    given: Any = {
        "path": file,
        "text": str(file),
        "bytes": os.fsencode(file),
        "file://": file.as_uri(),
    }[form]
    if form == "bytes":
        given = Path(os.fsdecode(given))
    item = catalog.log_artifact(run, given)
    assert (item.key, item.load()) == ("a b%20c.txt", "hello")


def test_the_row_that_is_recorded(run: Any, store: Any) -> None:
    item = catalog.log_artifact(
        run, "notes", body="text", step=7, aliases=["best"], labels={"a": 1}, metadata={"b": [2]}
    )
    (row,) = store.rows(ARTIFACTS, project="digits", key="notes")
    assert (row["version"], row["type"], row["size"], row["sha256"]) == (1, "text", 4, item.sha256)
    assert row["uri"] == f"objects/{item.sha256[:2]}/{item.sha256}"
    assert json.loads(row["meta"]) == {"format": "text", "labels": {"a": 1}, "metadata": {"b": [2]}}
    (made,) = store.rows(LINEAGE, project="digits", key="notes")
    assert (made["run_id"], made["role"], made["step"], made["version"]) == (run.id, "output", 7, 1)
    assert [a["alias"] for a in store.rows(ALIASES, project="digits", key="notes")] == ["best"]


@pytest.mark.parametrize(
    ("body", "kind", "format"),
    [
        (b"\x00\x01", "artifact", "bytes"),
        ("", "text", "text"),
        ("☃ \0", "text", "text"),
        ({"a": [1, None, 2.5], "b": {"c": True}}, "json", "json"),
        ([1, 2, 3], "json", "json"),
        (0, "json", "json"),
        (False, "json", "json"),
    ],
)
def test_bodies_in_memory_come_back(run: Any, body: Any, kind: str, format: str) -> None:
    item = catalog.log_artifact(run, "x", body=body)
    assert (item.type, item.meta["format"]) == (kind, format)
    assert item.load() == body


def test_json_takes_what_json_does_not_know(run: Any) -> None:
    import numpy as np

    body = {
        1: np.float32(0.5),
        "path": Path("a/b"),
        "set": {3},
        "nan": float("nan"),
        ("t", 1): "\ud800",
    }
    found = catalog.log_artifact(run, "x", body=body).load()
    assert found["1"] == 0.5
    assert (found["path"], found["set"]) == ("a/b", [3])
    assert found["nan"] != found["nan"]


@pytest.mark.parametrize(("step", "stored"), [(None, 0), (5, 5), (5.0, 5), ("x", 0), (-3, -3)])
def test_steps(run: Any, step: Any, stored: int) -> None:
    import numpy as np

    forms: tuple[Any, ...] = (step, np.int64(step)) if isinstance(step, int) else (step,)
    for given_step in forms:
        catalog.log_artifact(run, "x", body="y", step=given_step)
        assert type(run.store.pending[-1][2]["step"]) is int
        assert run.store.pending[-1][2]["step"] == stored


def test_same_content_is_one_version_and_new_content_the_next(run: Any) -> None:
    first = catalog.log_artifact(run, "x", body="one")
    again = catalog.log_artifact(run, "x", body="one")
    second = catalog.log_artifact(run, "x", body="two")
    back = catalog.log_artifact(run, "x", body="one")
    assert [i.version for i in (first, again, second, back)] == [1, 1, 2, 1]
    assert len(list(run.store.objects.list())) == 2
    assert find_artifact(run.store, "digits/x").load() == "two"


def test_a_url_is_recorded_and_not_fetched(run: Any) -> None:
    item = catalog.log_artifact(run, "s3://bucket/data/train.parquet", type="dataset")
    assert (item.key, item.size, item.url) == (
        "train.parquet",
        None,
        "s3://bucket/data/train.parquet",
    )
    assert (item.meta["format"], item.meta["external"]) == ("parquet", True)
    other = catalog.log_artifact(
        run, "train.parquet", local_path="s3://other/train.parquet", type="dataset"
    )
    assert (item.version, other.version) == (1, 2)
    assert list(run.store.objects.list()) == []
    with pytest.raises(ObjectError, match="can be recorded, not read"):
        catalog.log_artifact(run, "hdfs://host/file").open()


def test_a_url_keeps_no_credential(run: Any, store: Any) -> None:
    catalog.log_artifact(run, "https://me:hunter2@host/a.csv?X-Amz-Signature=abcdef0123456789&x=1")
    assert run.warnings.pop("url:a.csv")
    (row,) = store.rows(ARTIFACTS, project="digits", key="a.csv")
    assert "hunter2" not in json.dumps(row)
    assert "abcdef" not in json.dumps(row)
    assert row["uri"].endswith("x=1")


def test_a_missing_file_warns_and_the_item_says_why(run: Any, tmp_path: Path) -> None:
    item = catalog.log_artifact(run, tmp_path / "absent.bin")
    assert "absent.bin" in run.warnings.pop("artifact:absent.bin")
    assert "no file" in item.error
    assert run.store.pending == []
    for call in (item.open, item.path, item.load):
        with pytest.raises(ObjectError, match="not stored"):
            call()
    with pytest.raises(NotFound):
        item.version  # noqa: B018 - the property raises
    assert "absent.bin" in item._repr_html_()


def test_strict_raises_instead(make_run: Any, tmp_path: Path) -> None:
    run = make_run(strict=True)
    with pytest.raises(FileNotFoundError):
        catalog.log_artifact(run, tmp_path / "absent.bin")
    with pytest.raises(ValueError, match="version"):
        catalog.log_artifact(run, "x", body="y", aliases=["v3"])


def test_what_is_no_path_warns(run: Any) -> None:
    item = catalog.log_artifact(run, {"a": 1})
    assert "body=" in run.warnings.pop("artifact:dict")
    assert item.error


def test_bad_aliases_are_left_out_with_a_warning(run: Any) -> None:
    item = catalog.log_artifact(
        run, "x", body="y", aliases=["v3", "latest", "a:b", "", "good", "good"]
    )
    assert item.aliases == ["good", "latest"]
    assert len(run.warnings) == 4
    run.warnings.clear()


def test_one_alias_may_be_given_as_text(run: Any) -> None:
    assert catalog.log_artifact(run, "x", body="y", aliases="prod").aliases == ["latest", "prod"]


@pytest.mark.parametrize(
    "key",
    ["../../etc/passwd", "'; drop table artifacts; --", "<script>alert(1)</script>", "🦄/💥", "a:b:v3",
     "v3", "x" * 1024, ".", "..", "", "a%2Fb", "C:\\x", "store://p/k:v1", "latest", "a b\tc"],
)  # fmt: skip
def test_any_key_comes_back_by_its_uri(run: Any, key: str) -> None:
    item = catalog.log_artifact(run, key, body="content of it")
    assert item.key == key
    found = find_artifact(run.store, item.uri)
    assert (found.key, found.version, found.load()) == (key, 1, "content of it")
    assert "<script>" not in found._repr_html_()


@given(st.text(max_size=40), st.text(max_size=40))
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_any_project_and_key_come_back_by_uri(make_run: Any, project: str, key: str) -> None:
    from mlrun.names import clean_text

    run = make_run(project=clean_text(project)[0])
    item = catalog.log_artifact(run, key, body=f"of {key!r}")
    found = find_artifact(run.store, item.uri)
    assert (found.project, found.key, found.sha256) == (
        run.project,
        clean_text(key)[0],
        item.sha256,
    )


def test_a_key_is_cleaned_with_one_warning(run: Any) -> None:
    item = catalog.log_artifact(run, "a\0b", body="x")
    assert item.key == "ab"
    assert len(run.warnings) == 1
    run.warnings.clear()


def test_other_objects_are_pickled_and_need_trust(run: Any) -> None:
    item = catalog.log_artifact(run, "x", body=complex(1, 2))
    assert item.meta["format"] == "pickle"
    with pytest.raises(UntrustedPickle, match="trust=True"):
        item.load()
    assert item.load(trust=True) == complex(1, 2)


def test_what_cannot_be_pickled_warns(run: Any) -> None:
    item = catalog.log_artifact(run, "x", body=(n for n in "abc"))
    assert "pickle" in item.error
    assert run.warnings.pop("artifact:x")


def test_a_pipe_is_refused_and_does_not_block(run: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in catalog.log_artifact(run, tmp_path / "pipe").error
    assert run.warnings.pop("artifact:pipe")


def test_use_artifact_records_who_read_it(run: Any, store: Any) -> None:
    catalog.log_artifact(run, "train", body="rows", aliases=["production"])
    item = catalog.use_artifact(run, "digits/train:production")
    assert item.load() == "rows"
    used = [r for r in store.rows(LINEAGE, project="digits", key="train") if r["role"] == "input"]
    assert [(r["run_id"], r["version"]) for r in used] == [(run.id, 1)]
    assert catalog.use_artifact(run, item).version == 1


def test_use_artifact_suggests(run: Any) -> None:
    catalog.log_artifact(run, "training-set", body="rows", aliases=["production"])
    with pytest.raises(NotFound, match="did you mean 'training-set'"):
        catalog.use_artifact(run, "trainin-set")
    with pytest.raises(NotFound, match="did you mean 'production'"):
        catalog.use_artifact(run, "training-set:prodution")
    with pytest.raises(NotFound, match="newest version is v1"):
        catalog.use_artifact(run, "training-set:v9")


def test_a_big_file_is_stored_without_holding_it_in_memory(tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        for number in range(100):
            file.write(bytes([number]) * 1_000_000)
    code = """
import resource, sys
from pathlib import Path
from mlrun.storage.files import FileObjects
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stored = FileObjects("file://" + sys.argv[1]).put(Path(sys.argv[2]))
print(stored.size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "objects"), str(big)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    size, grown = map(int, out.stdout.split())
    assert size == 100_000_000
    assert grown < 20_000  # kilobytes


def test_tracking_loads_no_heavy_library(tmp_path: Path) -> None:
    code = """
import sys
import mlrun.content.catalog, mlrun.content.media
heavy = {"numpy", "polars", "pyarrow", "pandas", "PIL", "matplotlib", "plotly", "torch", "sklearn", "obstore"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_errors_of_the_object_store_are_ours(run: Any) -> None:
    run.store.objects.close()
    assert catalog.log_artifact(run, "x", body="y").error
    assert issubclass(ObjectError, MlrunError)
    run.warnings.clear()
