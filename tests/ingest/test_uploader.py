"""How often the uploader looks and sends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mlrun.journal import uploader as module
from mlrun.journal.uploader import Uploader
from mlrun.journal.writer import Writer
from tests.ingest.conftest import House, run_ops

if TYPE_CHECKING:
    import pytest


def test_it_looks_twice_as_often_behind_an_upload_and_sends_as_seldom_as_before(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    slept: list[float] = []
    sent: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))
        now[0] += seconds

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep))
    spool, _ = house.spool()
    uploader = Uploader(spool, clock=lambda: now[0])  # type: ignore[arg-type]
    writer = Writer.open(spool.journal)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    real = uploader._deliver

    def deliver(parts: Any) -> None:
        if parts:
            sent.append(now[0])
        real(parts)

    monkeypatch.setattr(uploader, "_deliver", deliver)

    def log() -> None:
        if len(slept) < 10:
            channel.log({"loss": 1.0}, len(slept))

    assert not uploader.run(each=log, seconds=2.5)
    assert slept[:10] == [0.04] * 10
    assert slept[10:58] == [0.02] * 48
    assert set(slept[62:]) == {0.04}
    assert len(sent) == 10
    writer.close()
