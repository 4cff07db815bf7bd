"""The worker process of `local` by itself, its driver played by the test."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socketpair

import pytest

from mlrun.execution.pickling import dump

ROOT = Path(__file__).parents[2]
SLOW_TO_BEGIN = """
import queue, sys, time
from mlrun.executors import localworker

class Slow(queue.SimpleQueue):
    def get(self):
        found = super().get()
        time.sleep(1.0)  # the driver dies meanwhile
        return found

queue.SimpleQueue = Slow
localworker.main(int(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs pairs of sockets")
def test_a_call_that_nobody_waits_for_any_more_is_not_begun() -> None:
    ours, theirs = socketpair()
    with theirs:
        driver = Connection(ours.detach())
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        worker = subprocess.Popen(
            [sys.executable, "-c", SLOW_TO_BEGIN, str(theirs.fileno())], env=env, pass_fds=[theirs.fileno()]
        )  # fmt: skip
    driver.send_bytes(pickle.dumps((sys.path, ())))
    assert driver.recv_bytes() == b"ready"
    driver.send_bytes(dump((Path.touch, (Path("begun").absolute(),), ({}, {}, None))))
    driver.close()
    assert worker.wait(60) == 0
    assert not Path("begun").exists()
