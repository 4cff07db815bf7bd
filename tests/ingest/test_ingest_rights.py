"""Who may upload what: writers are bound to spools, and everything belongs to a project."""

from __future__ import annotations

from typing import Any

import pytest

import mlrun
from mlrun.app.auth import Caller
from mlrun.errors import AccessDenied, UploadRefused
from mlrun.journal.upload import Speaker, Upload, pack_upload
from mlrun.journal.writer import Writer
from tests.ingest.conftest import House, run_ops, send_all


def test_another_spool_may_not_speak_for_a_writer(house: House) -> None:
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    send_all(uploader)
    upload = Upload("x" * 32, {writer.name: Speaker(1, "evil", True)}, [])
    with pytest.raises(AccessDenied, match="another spool"):
        house.take(b"".join(pack_upload(upload)))
    assert house.ingest is not None
    house.kill()
    house.begin()
    with pytest.raises(AccessDenied, match="another spool"):
        house.take(b"".join(pack_upload(upload)))
    writer.close()


def test_a_caller_writes_only_where_it_may(house: House) -> None:
    house.caller = Caller("key", roles={"mine": "editor", "theirs": "viewer"})
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer, "mine"))
    writer.channel("mine", "r").log({"loss": 1.0}, 0)
    send_all(uploader)
    assert mlrun.metrics("r", store=house.store)["step"].to_list() == [0]
    writer.record(run_ops("s", writer, "theirs"))
    with pytest.raises(AccessDenied, match="may not write in project 'theirs'"):
        uploader.step()
    assert mlrun.runs("theirs", store=house.store).is_empty()
    writer.close()


@pytest.mark.parametrize(
    "op",
    [
        ("put", "runs", {"run_id": "victim", "project": "mine"}),
        ("put", "params", {"run_id": "victim", "key": "k", "value": "1", "type": "int"}),
        ("put", "tags", {"run_id": "victim", "tag": "x"}),
        ("del", "tags", {"tag": "x"}),
        ("del", "runs", {}),
        ("put", "projects", {"name": "theirs"}),
        (
            "put",
            "summaries",
            {"run_id": "r", "key": "k", "count": 1, "nan": 0, "first_step": 0, "last_step": 0},
        ),
        ("put", "aliases", {"project": "theirs", "key": "k", "alias": "a", "version": 1}),
    ],
    ids=lambda op: f"{op[0]} {op[1]}",
)
def test_a_hostile_record_touches_nothing(house: House, op: Any) -> None:
    house.store.records.apply(
        [
            ("put", "runs", {"run_id": "victim", "project": "theirs", "name": "v"}),
            ("put", "tags", {"run_id": "victim", "tag": "x"}),
        ]
    )
    house.caller = Caller("key", roles={"mine": "editor"})
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.record([op])
    with pytest.raises((AccessDenied, UploadRefused)):
        send_all(uploader)
    found = mlrun.runs("theirs", store=house.store)
    assert found.select("run_id", "project", "name").rows() == [("victim", "theirs", "v")]
    assert found["tags"].to_list() == [["x"]]
    assert mlrun.runs("mine", store=house.store).is_empty()
    writer.close()


def test_points_of_a_foreign_run_are_refused(house: House) -> None:
    house.store.records.apply([("put", "runs", {"run_id": "victim", "project": "theirs"})])
    house.caller = Caller("key", roles={"mine": "editor"})
    spool, uploader = house.spool()
    writer = Writer.open(spool.journal)
    writer.channel("mine", "victim").log({"loss": 1.0}, 0)
    with pytest.raises(AccessDenied, match="not in project"):
        send_all(uploader)
    assert mlrun.metrics("victim", store=house.store).is_empty()
    writer.close()
