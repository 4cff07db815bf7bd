from __future__ import annotations

import io
import json
import math
import signal
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mlrun
from mlrun.care.arrival import import_runs
from mlrun.care.doctor import examine
from mlrun.care.transfer import export_runs
from mlrun.contracts import PointFilter
from mlrun.errors import NotFound, ObjectError, StoreError
from mlrun.store import Store, open_store
from mlrun.tables import METRICS, ROLLUPS, SUMMARIES, SYSTEM_METRICS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUIET: dict[str, Any] = {"quiet": True, "console": False, "system_metrics": False, "git": False}


def fill(store: Store) -> dict[str, str]:
    """Three runs: `one` with everything, its child `kid`, and `two`; returns name -> id."""
    ids = {}
    with mlrun.init(
        project="p/../x",
        name="one",
        config={"lr": 0.1, "deep": {"a": [1, None]}},
        tags=["t"],
        store=store,
        **QUIET,
    ) as run:
        ids["one"] = run.id
        for step in range(200):
            run.log(
                {"loss": math.nan if step == 7 else 1.0 / (step + 1), "big": math.inf}, step=step
            )
        run.log({"loss": 5.0}, step=3)
        run.log_results({"acc": 0.97, "nan": math.nan, "text": "née\u202e"})
        run.log_artifact("note", body="first", aliases=["best"])
        folder = store.folder.parent / "made"
        (folder / "sub").mkdir(parents=True, exist_ok=True)
        (folder / "sub" / "a.txt").write_text("inside a folder")
        run.log_artifact("files", local_path=folder)
        store.writer().text(
            "p/../x", run.id, [(1_000_000, "stdout", "a line"), (2_000_000, "stderr", "trouble")]
        )
        store.writer().channel("p/../x", run.id, SYSTEM_METRICS.name).log({"cpu/percent": 50.0}, 1)
    with mlrun.init(project="p/../x", name="kid", parent=ids["one"], store=store, **QUIET) as run:
        ids["kid"] = run.id
        run.log({"loss": 1.0}, step=1)
    with mlrun.init(project="other", name="two", store=store, **QUIET) as run:
        ids["two"] = run.id
        run.log({"x": 2.0}, step=1)
        run.log_artifact("note", body="another")
    return ids


@pytest.fixture
def source(tmp_path: Path) -> Store:
    store = open_store(tmp_path / "source")
    fill(store)
    return store


@pytest.fixture
def target(tmp_path: Path) -> Store:
    return open_store(tmp_path / "target")


def everything(store: Store, ids: list[str]) -> list[list[dict[str, Any]]]:
    """All that users see of these runs, NaN made comparable."""
    frames = [
        mlrun.runs(order_by="run_id", children=True, store=store).filter(
            pl.col("run_id").is_in(ids)
        ),
        mlrun.params(ids, store=store),
        mlrun.metrics(ids, store=store),
        mlrun.logs(ids, store=store),
        mlrun.artifacts(store=store).filter(pl.col("run_id").is_in(ids)),
    ]
    return [[{k: str(v) for k, v in row.items()} for row in f.to_dicts()] for f in frames]


@pytest.fixture(params=["folder", "tar"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / ("out.tar" if request.param == "tar" else "out.mlrun-export")


@pytest.mark.parametrize("absorbed", [False, True])
def test_all_of_a_store_arrives(source: Store, target: Store, place: Path, absorbed: bool) -> None:
    if absorbed:
        mlrun.compact(store=source)
    manifest = export_runs(source, place)
    assert manifest["runs"] == 3
    assert manifest["tables"]["metrics"]["rows"] == 2 * 200 + 1 + 1 + 1
    counts = import_runs(target, place)
    assert (counts["runs"], counts["runs_present"]) == (3, 0)
    assert (counts["points"], counts["lines"]) == (404, 2)
    ids = mlrun.runs(children=True, store=source)["run_id"].to_list()
    assert everything(target, ids) == everything(source, ids)
    note = mlrun.get_artifact("store://p%2F..%2Fx/note:best", store=target)
    assert note.get(encoding="utf-8") == "first"
    files = mlrun.get_artifact("store://p%2F..%2Fx/files", store=target)
    copied = files.download(place.parent / "copy")
    assert (copied / "sub" / "a.txt").read_text() == "inside a folder"
    assert [f for f in examine(target) if f.severity == "lost"] == []
    assert not list(target.folder.glob(".import.*"))


def test_charts_of_imported_points_have_rollups(source: Store, target: Store, place: Path) -> None:
    export_runs(source, place)
    import_runs(target, place)
    rollups = target.series.snapshot(ROLLUPS).scan(PointFilter(keys=("loss",))).read_all()
    whole = [r for r in rollups.to_pylist() if r["level"] == -1]
    assert sorted(r["count"] for r in whole) == [1, 201]


def test_import_is_idempotent(source: Store, target: Store, place: Path) -> None:
    export_runs(source, place)
    first = import_runs(target, place)
    before = everything(target, mlrun.runs(children=True, store=target)["run_id"].to_list())
    again = import_runs(target, place)
    assert (again["runs"], again["runs_present"], again["points"]) == (0, first["runs"], 0)
    assert everything(target, mlrun.runs(children=True, store=target)["run_id"].to_list()) == before
    assert import_runs(source, place)["runs"] == 0  # back into where it came from


def test_chosen_runs_bring_their_children(source: Store, target: Store, place: Path) -> None:
    one = mlrun.get_run("one", store=source)
    export_runs(source, place, [one.id])
    import_runs(target, place)
    assert mlrun.runs(children=True, store=target)["name"].sort().to_list() == ["kid", "one"]
    assert mlrun.projects(store=target)["name"].to_list() == ["p/../x"]
    assert mlrun.artifacts(store=target)["key"].sort().to_list() == ["files", "note"]
    with pytest.raises(NotFound, match="nobody"):
        export_runs(source, place.with_name("more"), ["nobody"])


def test_runs_are_added_to_what_is_there(source: Store, target: Store, place: Path) -> None:
    with mlrun.init(project="other", name="mine", store=target, **QUIET) as run:
        run.log({"x": 9.0}, step=1)
        run.log_artifact("note", body="mine", aliases=["best"])
        run.log_artifact("note", body="another")
    export_runs(source, place)
    counts = import_runs(target, place)
    assert counts["versions_renumbered"] == 1  # other/note:v1 is v2 here, with the same content
    assert mlrun.runs(store=target).height == 3
    assert mlrun.get_artifact("other/note:v1", store=target).get(encoding="utf-8") == "mine"
    assert mlrun.get_artifact("other/note:v2", store=target).get(encoding="utf-8") == "another"
    two = mlrun.get_run("two", store=target)
    assert two.artifacts()["version"].to_list() == [2]


def test_other_content_under_a_taken_version_gets_the_next(
    source: Store, target: Store, place: Path
) -> None:
    with mlrun.init(project="other", name="mine", store=target, **QUIET) as run:
        run.log_artifact("note", body="mine", aliases=["best"])
    export_runs(source, place)
    assert import_runs(target, place)["versions_renumbered"] == 1
    two = mlrun.get_run("two", store=target)
    assert two.artifact("note").get(encoding="utf-8") == "another"
    assert mlrun.get_artifact("other/note:v1", store=target).get(encoding="utf-8") == "mine"
    assert mlrun.get_artifact("other/note:best", store=target).version == 1


def test_a_live_run_is_exported_as_it_is_now(target: Store, tmp_path: Path) -> None:
    store = open_store(tmp_path / "live")
    run = mlrun.init(project="p", name="live", store=store, **QUIET)
    try:
        for step in range(100):
            run.log({"x": float(step)}, step=step)
        export_runs(store, tmp_path / "out")
        run.log({"x": 100.0}, step=100)
    finally:
        run.finish()
    import_runs(target, tmp_path / "out")
    view = mlrun.get_run("live", store=target)
    assert view.state == "lost"  # nobody writes to it here
    assert view.summary == {"x": 99.0}
    assert view.summaries["count"].to_list() == [100]
    assert mlrun.metrics(view.id, store=target).height == 100


def test_long_series_are_split_and_whole_again(
    source: Store, target: Store, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlrun.care.transfer._CHUNK_ROWS", 60)
    manifest = export_runs(source, place)
    assert len(manifest["tables"]["metrics"]["files"]) >= 6
    assert manifest["tables"]["logs"]["rows"] == 2
    assert manifest["tables"]["system_metrics"]["rows"] == 1
    import_runs(target, place)
    ids = mlrun.runs(children=True, store=source)["run_id"].to_list()
    assert everything(target, ids) == everything(source, ids)


def test_exports_are_not_overwritten_and_failed_ones_leave_nothing(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(StoreError, match="is there already"):
        export_runs(source, taken)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlrun.care.transferfile.Sink.manifest", full)
    before = sorted(p.name for p in tmp_path.iterdir())
    for name in ("gone.tar", "gone"):
        with pytest.raises(StoreError, match="No space left"):
            export_runs(source, tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_store_that_has_lost_bytes_is_exported_without_them(
    source: Store, target: Store, place: Path
) -> None:
    note = mlrun.get_artifact("other/note", store=source)
    path = source.objects.path(note.sha256)
    path.unlink()
    manifest = export_runs(source, place)
    assert manifest["missing"] == {note.sha256: "artifact other/note:v1"}
    assert import_runs(target, place)["runs"] == 3
    assert [f.what for f in examine(target) if f.severity == "lost"] == [
        "missing: the bytes of artifact other/note:v1"
    ]


def _flip(path: Path, at: int = -20) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.chmod(0o600)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "pattern", ["tables/metrics-*", "tables/runs-*", "tables/logs-*", "objects/*/*"]
)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "link"])
def test_damage_is_found_before_any_run_arrives(
    source: Store, target: Store, tmp_path: Path, pattern: str, damage: str
) -> None:
    place = tmp_path / "out"
    export_runs(source, place)
    victim = sorted(place.glob(pattern))[0]
    if damage == "flip":
        _flip(victim)
    elif damage == "cut":
        victim.write_bytes(victim.read_bytes()[:-1])
    else:
        content = victim.read_bytes()
        victim.unlink()
        if damage == "link":
            (tmp_path / "elsewhere").write_bytes(content)
            victim.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ObjectError, match=victim.name):
        import_runs(target, place)
    assert mlrun.runs(store=target).height == 0
    assert mlrun.artifacts(store=target).height == 0


def _edit(place: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((place / "manifest.json").read_text())
    change(manifest)
    (place / "manifest.json").write_text(json.dumps(manifest))


def test_hostile_and_broken_manifests_are_refused(
    source: Store, target: Store, tmp_path: Path
) -> None:
    place = tmp_path / "out"
    export_runs(source, place)
    sound = (place / "manifest.json").read_text()
    outside = tmp_path / "outside.parquet"
    outside.write_bytes(b"not for you")

    def lead_out(manifest: dict[str, Any]) -> None:
        manifest["tables"]["runs"]["files"][0]["path"] = "../outside.parquet"

    def wrong_count(manifest: dict[str, Any]) -> None:
        manifest["tables"]["metrics"]["rows"] += 1

    changes: list[tuple[Callable[[dict[str, Any]], object], str]] = [
        (lead_out, "outside|leads|refused"),
        (wrong_count, "403 rows of 404"),
        (lambda m: m["objects"].update({"../../x": 1}), "not a SHA-256"),
        (lambda m: m["tables"]["runs"].pop("files"), "damaged"),
        (lambda m: m.update(tables=[]), "damaged"),
        (lambda m: m.update(format="mlrun-export/9"), "upgrade"),
        (lambda m: m.pop("objects"), "damaged"),
    ]
    for change, message in changes:
        (place / "manifest.json").write_text(sound)
        _edit(place, change)
        with pytest.raises((ObjectError, StoreError), match=message):
            import_runs(target, place)
    (place / "manifest.json").unlink()
    with pytest.raises(StoreError, match="no export"):
        import_runs(target, place)
    with pytest.raises(StoreError, match="not there"):
        import_runs(target, tmp_path / "nowhere")
    assert mlrun.runs(store=target).height == 0


def test_a_tar_that_climbs_is_refused(target: Store, tmp_path: Path) -> None:
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as tar:
        info = tarfile.TarInfo("../../escaped")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    target.prepare()
    with pytest.raises(ObjectError):
        import_runs(target, evil)
    assert not list(tmp_path.rglob("escaped"))
    assert not list(target.folder.glob(".import.*"))


_KILLED = """
import os, signal, sys
import mlrun
from mlrun.care import arrival
from mlrun.store import open_store
at = sys.argv[3]
real = getattr(arrival, at)
def killed(*args, **kwargs):
    done = real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(arrival, at, killed)
arrival.import_runs(open_store(sys.argv[1]), __import__("pathlib").Path(sys.argv[2]))
"""


@pytest.mark.parametrize("moment", ["_put_objects", "_put_series", "_put_artifacts", "_put_runs"])
def test_an_import_killed_half_way_is_finished_by_the_next(
    source: Store, target: Store, tmp_path: Path, moment: str
) -> None:
    place = tmp_path / "out"
    export_runs(source, place)
    code = [sys.executable, "-c", _KILLED, str(target.folder), str(place), moment]
    assert subprocess.run(code, timeout=120).returncode == -signal.SIGKILL
    import_runs(target, place)
    ids = mlrun.runs(children=True, store=source)["run_id"].to_list()
    assert everything(target, ids) == everything(source, ids)
    with target.records.read() as view:
        counts = {(r["run_id"], r["key"]): r["count"] for r in view.scan(SUMMARIES).to_pylist()}
    stored = target.series.snapshot(METRICS).scan(columns=["run_id", "key"]).read_all().to_pylist()
    assert sum(counts.values()) == len(stored) == 403


def test_two_imports_at_once_double_nothing(source: Store, target: Store, tmp_path: Path) -> None:
    place = tmp_path / "out"
    export_runs(source, place)
    code = "import sys, pathlib; from mlrun.care.arrival import import_runs; from mlrun.store import open_store\n"
    code += "print(import_runs(open_store(sys.argv[1]), pathlib.Path(sys.argv[2]))['runs'])"
    command = [sys.executable, "-c", code, str(target.folder), str(place)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = sorted(p.communicate(timeout=120)[0].strip() for p in running)
    assert told == ["0", "3"]
    ids = mlrun.runs(children=True, store=source)["run_id"].to_list()
    assert everything(target, ids) == everything(source, ids)


def test_versions_of_functions_come_along_and_tags_that_are_there_stay(
    target: Store, tmp_path: Path
) -> None:
    from mlrun.functions.store import find_version

    source = open_store(tmp_path / "functions")
    double = mlrun.new_function("double", project="p", handler=lambda x: 2 * x)
    uri = str(double.run(params={"x": 1}, store=source).record["function"])
    export_runs(source, tmp_path / "out")
    import_runs(target, tmp_path / "out")
    assert str(find_version(target, "double", "p")) == uri
    treble = mlrun.new_function("double", project="p", handler=lambda x: 3 * x)
    newer = str(treble.run(params={"x": 1}, store=target).record["function"])
    import_runs(target, tmp_path / "out")
    assert str(find_version(target, "double", "p")) == newer
    assert str(find_version(target, uri)) == uri
