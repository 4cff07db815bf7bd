from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import StoreUnreachable
from mlrun.journal.spool import uploader_lives, waiting_bytes
from mlrun.storage.sqlite import SQLiteRecords
from mlrun.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://127.0.0.1:9"  # the port of nobody


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLRUN_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("MLRUN_CONSOLE", "0")
    monkeypatch.setenv("MLRUN_SYSTEM_METRICS", "0")
    return tmp_path / "spool"


def test_offline_everything_that_writes_works(spool: Path) -> None:
    run = mlrun.init("p", store=URL, mode="offline", config={"lr": 0.1})
    run.log({"loss": 0.5})
    run.log_result("best", 1)
    run.log_artifact("notes", body="hello")
    run.flush()
    run.finish()
    assert run.state == "completed"
    store = open_store(URL)
    assert waiting_bytes(spool, store.journal) > 0
    assert not uploader_lives(spool)
    assert oct(spool.stat().st_mode)[-3:] == "700"


def test_offline_a_question_says_so() -> None:
    mlrun.init("p", store=URL, mode="offline").finish()
    with pytest.raises(StoreUnreachable, match="offline"):
        mlrun.runs("p", store=URL)


def test_offline_bytes_that_wait_can_be_read() -> None:
    run = mlrun.init("p", store=URL, mode="offline")
    run.log_artifact("notes", body="hello")
    store = open_store(URL)
    waiting = (store.folder / "objects").glob("??/*")  # the list of packages may be there, too
    [found] = [path for path in waiting if path.read_bytes() == b"hello"]
    with store.objects.open(found.name) as file:
        assert file.read() == b"hello"
    run.finish()


@pytest.mark.parametrize("resume", ["never", "allow"])
def test_offline_a_run_id_counts_as_new(resume: str) -> None:
    with pytest.warns(UserWarning, match="counts as new"):
        run = mlrun.init("p", id="night-1", resume=resume, store=URL, mode="offline")
    assert (run.id, run.step) == ("night-1", 0)
    run.finish()


@pytest.mark.parametrize("resume", ["allow", "must"])
def test_a_gateway_that_goes_while_a_run_is_looked_up_ends_only_who_needs_it(
    resume: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlrun.init("p", id="night-1") as run:
        run.log({"a": 1})
    ask = SQLiteRecords.lookup

    def gone(self: Any, table: Any, key: Any) -> Any:
        if table.name != "runs":
            raise StoreUnreachable("the line is cut")
        return ask(self, table, key)

    with monkeypatch.context() as cut:
        cut.setattr(SQLiteRecords, "lookup", gone)
        if resume == "must":
            with pytest.raises(StoreUnreachable):
                mlrun.init("p", id="night-1", resume=resume)
            return
        with pytest.warns(UserWarning, match="counts as new"):
            run = mlrun.init("p", id="night-1", resume=resume)
    run.log({"a": 2})
    run.finish()
    assert mlrun.metrics("night-1")["value"].to_list() == [1.0, 2.0]


def test_offline_a_run_that_must_be_there_cannot_be() -> None:
    with pytest.raises(StoreUnreachable):
        mlrun.init("p", id="night-1", resume="must", store=URL, mode="offline")
