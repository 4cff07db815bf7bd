"""Weights & Biases in offline mode: there is no server to ask, so only writing is measured."""

from __future__ import annotations

import glob
import struct
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Wandb"]

_HEADER = 7  # of the file: magic and version; and of every chunk: checksum, length, type
_BLOCK = 32_768


class Wandb:
    """Points are counted in the transaction log that it leaves behind."""

    script = """
import wandb
run = wandb.init(project="bench", dir=FOLDER, mode="offline")
run.log({"loss": 0.3}, step=0)
"""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.run_id = ""
        self.log: Any = None

    def start(self) -> None:
        wandb = import_module("wandb")
        settings = wandb.Settings(x_disable_stats=True, console="off")
        self._wandb = wandb
        self._run = wandb.init(project="bench", dir=self._folder, mode="offline", settings=settings)
        self.run_id, self.log = self._run.id, self._run.log

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        self._run.finish()
        self._wandb.teardown()

    def points(self) -> int:
        wire: Any = import_module("wandb.proto.wandb_internal_pb2")
        total = 0
        for path in glob.glob(f"{self._folder}/wandb/offline-run-*/*.wandb"):
            with open(path, "rb") as file:
                records = map(wire.Record.FromString, _messages(file.read()))
                for record in records:
                    keys = [i.key or i.nested_key[0] for i in record.history.item]
                    total += sum(not key.startswith("_") for key in keys)
        return total

    def latest(self, run_id: str) -> Callable[[], float | None]:
        raise TypeError("an offline run of wandb is read by nobody until it is synced")


def _messages(data: bytes) -> Iterator[bytes]:
    """Put together the messages of a LevelDB-style log: blocks of chunks that are whole, first, middle or last."""
    at, message = _HEADER, b""
    while at + _HEADER <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:  # the rest of a block is padding
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        body = data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        message = body if kind in (1, 2) else message + body
        if kind in (1, 4):
            yield message
