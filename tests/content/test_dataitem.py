from __future__ import annotations

import http.server
import pickle
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.content import catalog
from mlrun.content.dataitem import DataItem, find_artifact
from mlrun.errors import NotFound, ObjectError
from mlrun.tables import ALIASES, ARTIFACTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import polars as pl


def test_every_way_to_name_an_artifact(run: Any) -> None:
    catalog.log_artifact(run, "val/roc", body="one", aliases=["best"])
    catalog.log_artifact(run, "val/roc", body="two")
    for name, content in {
        "digits/val/roc": "two",
        "digits/val/roc:latest": "two",
        "digits/val/roc:v1": "one",
        "digits/val/roc:best": "one",
        "store://digits/val/roc:v1": "one",
        "store://digits/val/roc": "two",
        "val/roc": "two",
        "val/roc:best": "one",
    }.items():
        assert find_artifact(run.store, name, "digits").load() == content, name
    with pytest.raises(NotFound):
        find_artifact(run.store, "val/roc", "elsewhere")
    with pytest.raises(NotFound):
        find_artifact(run.store, "store://val/roc", "digits")


def test_the_project_of_the_settings_is_the_current_one(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.log_artifact(run, "x", body="y")
    monkeypatch.setenv("MLRUN_PROJECT", "digits")
    assert find_artifact(run.store, "x").load() == "y"


def test_an_alias_moves(run: Any, store: Any) -> None:
    first = catalog.log_artifact(run, "x", body="one")
    second = catalog.log_artifact(run, "x", body="two")
    first.set_alias("production")
    assert find_artifact(run.store, "digits/x:production").load() == "one"
    second.set_alias("production")
    assert find_artifact(run.store, "digits/x:production").load() == "two"
    assert (first.aliases, second.aliases) == ([], ["latest", "production"])
    assert len(store.rows(ALIASES, project="digits")) == 1
    second.remove_alias("production")
    with pytest.raises(NotFound):
        find_artifact(run.store, "digits/x:production")


@pytest.mark.parametrize("alias", ["latest", "v3", "a:b", ""])
def test_some_names_are_no_alias(run: Any, alias: str) -> None:
    with pytest.raises(ValueError, match=r"alias|latest"):
        catalog.log_artifact(run, "x", body="y").set_alias(alias)


def test_an_alias_set_now_wins_over_one_that_waits_in_the_journal(run: Any) -> None:
    catalog.log_artifact(run, "x", body="one").set_alias("best")
    catalog.log_artifact(run, "x", body="two", aliases=["best"])
    find_artifact(run.store, "digits/x:v1").set_alias("best")
    assert find_artifact(run.store, "digits/x:best").load() == "one"


def test_parts_of_the_bytes(run: Any) -> None:
    item = catalog.log_artifact(run, "x", body="0123456789")
    assert item.get(3) == b"012"
    assert item.get(3, offset=8) == b"89"
    assert item.get(encoding="utf-8") == "0123456789"
    with item.open() as file:
        assert file.read() == b"0123456789"


def test_what_an_item_says_of_itself(run: Any) -> None:
    before = datetime.now(UTC)
    item = catalog.log_artifact(run, "x", body="y")
    assert before <= item.created_at <= datetime.now(UTC)
    assert repr(item) == "DataItem('digits/x', type='text', size=1)"
    assert (
        repr(find_artifact(run.store, item.uri)) == "DataItem('digits/x:v1', type='text', size=1)"
    )
    assert item.url == f"objects/{item.sha256[:2]}/{item.sha256}"


def test_a_copy_of_ones_own(run: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    item = catalog.log_artifact(run, tmp_path / "notes.txt")
    target = tmp_path / "target"
    target.mkdir()
    copy = item.download(target)
    assert (copy, copy.read_text()) == (target / "notes.txt", "hello")
    copy.write_text("mine to change")
    assert item.load() == "hello"
    with pytest.raises(ObjectError, match="exists"):
        item.download(target)
    assert copy.read_text() == "mine to change"
    assert [p.name for p in target.iterdir()] == ["notes.txt"]
    assert item.download(target / "new" / "name.txt").read_text() == "hello"


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "..", ".", "", "a\0b", "x" * 500, "a\\b", "🦄" * 100]
)
def test_a_hostile_name_never_becomes_a_path(run: Any, tmp_path: Path, name: str) -> None:
    item = catalog.log_artifact(run, "x", body="y")
    target = tmp_path / "target"
    target.mkdir()
    for hostile in (
        DataItem(run.store, {**vars_of(item), "key": name}),
        DataItem(run.store, {**vars_of(item), "meta": {"format": "text", "name": name}}),
    ):
        copy = hostile.download(target)
        assert copy.parent == target
        copy.unlink()


def vars_of(item: DataItem) -> dict[str, Any]:
    return {
        name: getattr(item, name) for name in ("project", "key", "type", "size", "sha256", "meta")
    }


def test_damaged_bytes_are_told(run: Any) -> None:
    item = catalog.log_artifact(run, "x", body="content")
    item.path().chmod(0o600)
    item.path().write_text("cont")
    with pytest.raises(ObjectError, match="4 bytes of 7"):
        item.open()
    item.path().write_text("")
    with pytest.raises(ObjectError, match="damaged"):
        item.load()
    run.store.objects.delete(item.sha256)
    with pytest.raises(NotFound):
        item.load()


@pytest.mark.parametrize("suffix", ["json", "parquet", "png", "wav", "npy", "npz"])
def test_bytes_that_are_not_what_they_claim(run: Any, tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x.{suffix}").write_bytes(b"\xff\x00 nothing of the kind")
    item = catalog.log_artifact(run, tmp_path / f"x.{suffix}")
    with pytest.raises(ObjectError, match=f"not the {suffix}"):
        item.load()
    assert item.get() == b"\xff\x00 nothing of the kind"


def test_metadata_that_is_damaged_leaves_the_bytes(run: Any) -> None:
    item = catalog.log_artifact(run, "x", body="y")
    for meta in ("{no json", "[1]", None, "7"):
        found = DataItem(run.store, {**vars_of(item), "meta": meta})
        assert found.load() == b"y"
        assert "x" in found._repr_html_()


def test_notebooks_show_escaped_text_and_pictures(run: Any) -> None:
    import numpy as np
    import polars as pl

    evil = "<img src=x onerror=alert(1)>"
    shown = [
        catalog.log_artifact(run, evil, body=evil, type=evil),
        catalog.log_image(run, "i", np.zeros((5, 5)), caption=evil),
        catalog.log_dataset(run, "d", pl.DataFrame({evil: [evil]})),
        catalog.log_artifact(run, "m", body="x", metadata={"a": evil}),
    ]
    pages = [item._repr_html_() for item in shown]
    assert not any("<img src=x" in page for page in pages)
    assert "data:image/png;base64," in pages[1]
    assert "&lt;img src=x" in pages[2]


def test_versions_are_known_as_soon_as_somebody_asks(run: Any) -> None:
    item = catalog.log_artifact(run, "x", body="one")
    assert run.store.pending != []
    assert item.version == 1
    assert run.store.pending == []


def test_an_item_that_was_never_recorded(run: Any) -> None:
    item = DataItem(run.store, {"project": "p", "key": "k", "type": "t", "sha256": "0" * 64})
    with pytest.raises(NotFound, match="no version"):
        item.version  # noqa: B018 - the property raises


def test_rows_of_a_store_that_cannot_absorb(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only store answers from the stored rows with the pending ones laid over."""
    import contextlib

    from mlrun.errors import StoreError
    from mlrun.lookup import sight
    from mlrun.lookup.overlay import record_frame

    item = catalog.log_artifact(run, "x", body="one", aliases=["best"])
    assert item.version == 1
    rows = {
        t: record_frame(t, run.store.records.lookup(t, {"project": "digits"}))
        for t in (ARTIFACTS, ALIASES)
    }

    class Sight:
        def shared(self, table: Any) -> pl.DataFrame:
            return rows[table]

    def refuse() -> None:
        raise StoreError("read-only")

    monkeypatch.setattr(run.store, "flush_records", refuse)
    monkeypatch.setattr(sight, "snapshot", lambda store: contextlib.nullcontext(Sight()))
    found = find_artifact(run.store, "digits/x:best")
    assert (found.load(), found.version, found.created_at) == ("one", 1, item.created_at)


class Site(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 - shared by the requests of one server

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/missing.csv":
            self.send_error(404)
            return
        if self.path == "/to-a-file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a,b\n1,2\n")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    Site.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_fetched_when_somebody_asks_for_its_bytes(run: Any, site: str) -> None:
    item = catalog.log_artifact(run, f"{site}/data.csv", type="dataset")
    assert find_artifact(run.store, item.uri).version == 1
    assert Site.asked == []
    assert item.as_df().to_dict(as_series=False) == {"a": [1], "b": [2]}
    assert item.get(3) == b"a,b"
    assert item.path().read_bytes() == b"a,b\n1,2\n"


def test_a_url_that_cannot_be_read(run: Any, site: str) -> None:
    for path in ("/missing.csv", "/to-a-file"):
        with pytest.raises(ObjectError, match="cannot read"):
            catalog.log_artifact(run, site + path).open()
    for url in ("gopher://x/y", "ftp://127.0.0.1/x"):
        with pytest.raises(ObjectError, match="not read"):
            catalog.log_artifact(run, url).open()


def test_object_stores_answer_for_bytes(run: Any) -> None:
    item = catalog.log_artifact(run, "memory://x/y")
    with pytest.raises(ObjectError):
        item.open()


def test_a_stored_uri_never_opens_a_local_file(run: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    for uri in (
        f"file://{tmp_path}/secret",
        str(tmp_path / "secret"),
        "../secret",
        f"FILE://{tmp_path}/secret",
    ):
        item = DataItem(
            run.store, {"project": "p", "key": "k", "type": "t", "sha256": "f" * 64, "uri": uri}
        )
        with pytest.raises((NotFound, ObjectError)):
            item.get()


def test_an_object_store_travels_with_pickles(run: Any) -> None:
    item = catalog.log_artifact(run, "x", body="y")
    objects = pickle.loads(pickle.dumps(run.store.objects))
    assert objects.path(item.sha256).read_text() == "y"
