from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import flight

import mlrun
from mlrun.journal.upload import START, Speaker, Upload, pack_upload
from mlrun.journal.uploadcut import cut_slot
from mlrun.journal.writer import Writer
from mlrun.store import Store
from mlrun.testing.gatewaythread import GatewayThread
from tests.ingest.conftest import run_ops

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Client:
    """A caller of a gateway's Flight."""

    def __init__(self, gateway: GatewayThread, store: Store, key: str) -> None:
        self.store = store
        self.flight = flight.connect(f"grpc://127.0.0.1:{gateway.gateway.ports['flight']}")
        self.options = flight.FlightCallOptions(
            headers=[(b"authorization", f"Bearer {key}".encode())]
        )

    def put(self, *bodies: bytes, path: bytes = b"ingest") -> list[Any]:
        schema = pa.schema([("upload", pa.large_binary())])
        writer, reader = self.flight.do_put(
            flight.FlightDescriptor.for_path(path), schema, self.options
        )
        answers = []
        with writer:
            for body in bodies:
                writer.write_batch(pa.record_batch([pa.array([body], pa.large_binary())], schema))
                answers.append(json.loads(reader.read().to_pybytes()))
            writer.done_writing()
        return answers

    def ask(self, noun: str, **arguments: Any) -> pa.Table:
        ticket = flight.Ticket(json.dumps({"noun": noun, "arguments": arguments}))
        return self.flight.do_get(ticket, self.options).read_all()


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MLRUN_RESERVE_BYTES", "1")
    store = Store(tmp_path / "store")
    with GatewayThread(store, "token", flight_port=0) as gateway:
        found: list[Client] = []

        def connect(key: str = "token") -> Client:
            found.append(Client(gateway, store, key))
            return found[-1]

        yield connect
        for each in found:
            each.flight.close()


def upload_of(folder: Path) -> bytes:
    writer = Writer.open(folder)
    writer.record(run_ops("r", writer))
    channel = writer.channel("p", "r")
    for step in range(1_000):
        channel.log({"loss": float(step)}, step)
    parts = cut_slot(writer.folder / writer.name, START, 1 << 20).parts
    upload = Upload("x" * 32, {writer.name: Speaker(1, "host", True)}, parts)
    writer.close()
    return b"".join(pack_upload(upload))


def test_uploads_are_taken_and_answers_streamed(client: Any, tmp_path: Path) -> None:
    body = upload_of(tmp_path / "journal")
    caller = client()
    first, again = caller.put(body, body)
    assert first == again
    assert first["refused"] == {}
    assert mlrun.metrics("r", store=caller.store)["step"].to_list() == list(range(1_000))
    found = caller.ask("metrics", run_ids=["r"], keys=["loss"])
    assert found["step"].to_pylist() == list(range(1_000))
    assert caller.ask("runs", project="p")["run_id"].to_pylist() == ["r"]
    assert caller.ask("sql", query="select count(*) as n from metrics")["n"].to_pylist() == [1_000]
    info = caller.flight.get_flight_info(
        flight.FlightDescriptor.for_command(json.dumps({"noun": "projects"})), caller.options
    )
    assert info.total_records == 1
    assert caller.flight.do_get(info.endpoints[0].ticket, caller.options).read_all().num_rows == 1


def test_strangers_are_refused(client: Any, tmp_path: Path) -> None:
    with pytest.raises(flight.FlightUnauthenticatedError):
        client("wrong").ask("projects")
    with pytest.raises(flight.FlightUnauthenticatedError):
        client("").put(b"x")


def test_what_is_no_upload_and_no_question_is_refused(client: Any) -> None:
    caller = client()
    with pytest.raises(flight.FlightServerError, match="no upload"):
        caller.put(b"x" * 100)
    with pytest.raises(flight.FlightServerError, match="path"):
        caller.put(b"x", path=b"elsewhere")
    for noun in ("rows", "secrets"):
        with pytest.raises(flight.FlightServerError, match="no frame is called"):
            caller.ask(noun)
    with pytest.raises(flight.FlightServerError, match="a ticket is"):
        caller.flight.do_get(flight.Ticket(b"[]"), caller.options).read_all()
