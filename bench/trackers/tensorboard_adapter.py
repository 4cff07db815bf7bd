"""Event files: tensorboardX writes them, TensorBoard reads them."""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TensorBoard"]


class TensorBoard:
    """A value of each metric is a call of its own; `flush` is asked twice, for the first one may come too early."""

    script = """
from tensorboardX import SummaryWriter
writer = SummaryWriter(FOLDER)
writer.add_scalar("loss", 0.3, 0)
"""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.join(folder, "events")
        self._long = 0
        self.run_id = ""

    def start(self) -> None:
        self._writer: Any = import_module("tensorboardX").SummaryWriter(self._folder)

    def log(self, values: dict[str, float], step: int) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def flush(self) -> None:
        self._writer.flush()
        time.sleep(0.002)  # its thread takes the event from a queue
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()

    def points(self) -> int:
        events = self._events()
        return sum(len(events.Scalars(tag)) for tag in events.Tags()["scalars"])

    def latest(self, run_id: str) -> Callable[[], float | None]:
        events = self._events()

        def ask() -> float | None:
            events.Reload()
            return float(events.Scalars("x")[-1].value) if "x" in events.Tags()["scalars"] else None

        return ask

    def load_series(self, points: int, budget: float) -> int:
        writing = import_module("tensorboardX.record_writer")
        event_pb2 = import_module("tensorboardX.proto.event_pb2")
        summary_pb2 = import_module("tensorboardX.proto.summary_pb2")
        os.makedirs(self._folder, exist_ok=True)
        writer = writing.RecordWriter(f"{self._folder}/events.out.tfevents.1.bench")
        writer.write(
            event_pb2.Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString()
        )
        for step in range(points):
            value = summary_pb2.Summary.Value(tag="loss", simple_value=step * 0.5)
            event = event_pb2.Event(
                wall_time=1.7e9 + step, step=step, summary=summary_pb2.Summary(value=[value])
            )
            writer.write(event.SerializeToString())
        writer.close()
        return points

    def read_series(self) -> int:
        return len(self._events().Scalars("loss"))

    def _events(self) -> Any:
        reading = import_module("tensorboard.backend.event_processing.event_accumulator")
        events = reading.EventAccumulator(self._folder, size_guidance={"scalars": 0})
        events.Reload()
        return events
