"""Real processes: a gateway, trackers, their uploader, and a network that fails between them."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mlrun
from mlrun.journal.spool import uploader_lives
from mlrun.store import Store
from mlrun.testing.faultproxy import FaultProxy
from mlrun.testing.gatewayserver import GatewayServer

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME = str(Path(mlrun.__file__).parents[1])
TRACK = """
import sys, os, time, mlrun
url, run_id, calls, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
run = mlrun.init("p", id=run_id, store=url, system_metrics=False, git=False, resume="allow")
out = os.dup(1)
first = run.step
for step in range(first, first + calls):
    run.log({"a": float(step), "b": -float(step)}, step)
    os.write(out, b".")
    if pause and not step % 50:
        time.sleep(pause)
run.log_result("calls", calls)
print("said by", run_id)
run.finish()
"""


class World:
    """A gateway, and machines that write to it."""

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        self.folder = folder
        self.place = store or folder / "store"
        self.gateway = GatewayServer(
            self.place,
            "--no-flight",
            state=folder / "state",
            environ={"MLRUN_RESERVE_BYTES": "1000000"},
            answer_processes=0,
        )
        (folder / "state").mkdir(exist_ok=True)
        self.gateway.start()
        self.url = self.gateway.url
        self.children: list[subprocess.Popen[bytes]] = []
        self.spools: set[Path] = set()

    def start(
        self, code: str, *words: str, machine: str = "one", url: str = "", **env: str
    ) -> subprocess.Popen[bytes]:
        spool = self.folder / machine
        self.spools.add(spool)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MLRUN_")}
        told = {
            **kept, "PYTHONPATH": HOME, "XDG_STATE_HOME": str(self.folder / "state"), "MLRUN_SPOOL": str(spool),
            "MLRUN_QUIET": "1", **env,
        }  # fmt: skip
        command = [sys.executable, "-P", "-c", code, url or self.url, *words]
        child = subprocess.Popen(
            command, env=told, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.children.append(child)
        return child

    def sync(self, machine: str = "one", **env: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MLRUN_")}
        told = {
            **kept, "PYTHONPATH": HOME, "XDG_STATE_HOME": str(self.folder / "state"), "MLRUN_DBPATH": self.url,
            "MLRUN_SPOOL": str(self.folder / machine), **env,
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-P", "-m", "mlrun.cli", "sync"],
            env=told,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
        )

    def restart(self) -> None:
        self.gateway.start(int(self.url.rpartition(":")[2]))

    @property
    def store(self) -> Store:
        return Store(self.place)

    def steps(self, run_id: str, key: str = "a") -> list[int]:
        return mlrun.metrics(run_id, keys=[key], store=self.store)["step"].to_list()

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.communicate()
        for (
            spool
        ) in self.spools:  # it would look for another few seconds whether somebody writes again
            for pid in _uploaders(spool):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + 20
            while uploader_lives(spool) and time.monotonic() < end:
                time.sleep(0.01)
        self.gateway.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.close()


def finish(child: subprocess.Popen[bytes], code: int = 0) -> bytes:
    out, error = child.communicate(timeout=120)
    assert child.returncode == code, error.decode()
    return out


def test_a_script_that_ends_has_arrived_whole(world: World) -> None:
    finish(world.start(TRACK, "r", "3000", "0"))
    assert world.steps("r") == list(range(3_000))
    found = mlrun.runs("p", store=world.store, columns=["run_id", "state", "results.calls"])
    assert found.rows() == [("r", "completed", 3_000)]
    assert "said by r" in mlrun.logs("r", store=world.store)["line"].to_list()


def test_a_gateway_that_is_killed_again_and_again_loses_nothing(world: World) -> None:
    child = world.start(TRACK, "r", "4500", "0.03")
    for _ in range(3):
        time.sleep(0.8)
        world.gateway.kill()
        time.sleep(0.2)
        world.restart()
    finish(child)
    assert world.sync().returncode == 0
    assert world.steps("r") == list(range(4_500))
    assert mlrun.runs("p", store=world.store)["state"].to_list() == ["completed"]


def test_what_a_killed_script_left_is_sent_by_sync(world: World) -> None:
    child = world.start(TRACK, "r", "100000", "0.01", MLRUN_MODE="offline")
    assert child.stdout is not None
    seen = child.stdout.read(2_000)
    child.send_signal(signal.SIGKILL)
    seen += child.communicate()[0]
    assert world.steps("r") == []
    done = world.sync()
    assert done.returncode == 0, done.stderr
    assert len(seen) <= len(world.steps("r")) <= len(seen) + 1
    assert world.steps("r") == list(range(len(world.steps("r"))))
    assert mlrun.runs("p", store=world.store)["state"].to_list() == ["lost"]


def test_an_offline_run_is_whole_after_sync(world: World) -> None:
    finish(world.start(TRACK, "r", "100", "0", MLRUN_MODE="offline"))
    assert mlrun.runs("p", store=world.store).is_empty()
    assert world.sync().returncode == 0
    found = mlrun.runs("p", store=world.store, columns=["run_id", "state", "results.calls"])
    assert found.rows() == [("r", "completed", 100)]
    assert world.steps("r") == list(range(100))
    again = world.sync()
    assert (again.returncode, "nothing" in again.stderr + again.stdout) == (0, True)


def test_a_network_that_fails_for_a_while_loses_nothing(world: World) -> None:
    with FaultProxy(world.url, seed=1) as proxy:
        port = proxy.url.rpartition(":")[2]
        token = world.folder / "state" / "mlrun" / "gateways" / f"{port}.token"
        token.write_text(world.gateway.token)
        token.chmod(0o600)
        child = world.start(TRACK, "r", "4000", "0.02", url=proxy.url)
        for faults in (
            {"cut": 0.5},
            {"half": 0.5},
            {"twice": 0.5},
            {"refuse": True},
            {"delay": 0.3},
            {"deaf": 0.5},
        ):
            time.sleep(0.4)
            proxy.set(**faults)
        time.sleep(0.4)
        proxy.set()
        finish(child)
        assert proxy.faults
    assert world.sync().returncode == 0
    assert world.steps("r") == list(range(4_000))
    assert mlrun.runs("p", store=world.store)["state"].to_list() == ["completed"]


def test_two_machines_write_to_one_run(world: World) -> None:
    finish(world.start(TRACK, "r", "500", "0", machine="one"))
    finish(world.start(TRACK, "r", "500", "0", machine="two"))
    assert world.steps("r") == list(range(1_000))
    assert mlrun.runs("p", store=world.store)["state"].to_list() == ["completed"]


def test_a_killed_uploader_is_replaced(world: World) -> None:
    code = TRACK.replace("run.finish()", "time.sleep(0.2); run.flush(); run.finish()")
    child = world.start(code, "r", "3000", "0.02")
    time.sleep(0.6)
    for pid in _uploaders(world.folder / "one"):
        os.kill(pid, signal.SIGKILL)
    finish(child)
    assert world.steps("r") == list(range(3_000))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB in memory, where we may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "mlrun-test", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_of_the_gateway_holds_everything_up_and_loses_nothing(
    small_disk: Path, tmp_path: Path
) -> None:
    world = World(tmp_path, small_disk / "store")
    try:
        child = world.start(TRACK, "r", "200000", "0", MLRUN_FINISH_TIMEOUT="2")
        _, error = child.communicate(timeout=120)
        assert child.returncode == 0
        assert b"disk is full" in error
        grown = ["mount", "-o", "remount,size=400m", str(small_disk)]
        subprocess.run(grown, check=True)
        done = world.sync()
        assert done.returncode == 0, done.stderr
        assert world.steps("r") == list(range(200_000))
        found = mlrun.runs("p", store=world.store, columns=["state", "dropped"])
        assert found.rows() == [("completed", None)]
    finally:
        world.close()


def _uploaders(spool: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            spools = (entry / "environ").read_bytes()
        except OSError:
            continue
        if b"mlrun.journal.uploader" in words and f"MLRUN_SPOOL={spool}\0".encode() in spools:
            found.append(int(entry.name))
    return found


def test_artifacts_arrive_before_their_records_and_come_back_whole(
    world: World, tmp_path: Path
) -> None:
    data = os.urandom(20_000_000)
    (tmp_path / "weights.bin").write_bytes(data)
    code = """
import sys, mlrun
run = mlrun.init("p", id="r", store=sys.argv[1], system_metrics=False, git=False)
run.log_artifact(sys.argv[2], type="model")
run.log_artifact("notes", body="hello")
run.finish()
view = mlrun.get_run("r", store=sys.argv[1])
assert view.artifact("notes").get() == b"hello", view.artifact("notes").get()
import hashlib
print(hashlib.sha256(view.artifact("weights.bin").path().read_bytes()).hexdigest())
"""
    out = finish(world.start(code, str(tmp_path / "weights.bin")))
    assert out.decode().strip() == hashlib.sha256(data).hexdigest()
    elsewhere = "import sys, mlrun\nprint(mlrun.get_artifact('p/notes', store=sys.argv[1]).get())"
    assert finish(world.start(elsewhere, machine="two")) == b"b'hello'\n"


@pytest.mark.soak
def test_a_run_that_nobody_answers_for_ends_with_a_word(world: World) -> None:
    world.gateway.stop()
    child = world.start(TRACK, "r", "10", "0", MLRUN_FINISH_TIMEOUT="0.5")
    _, error = child.communicate(timeout=60)
    assert child.returncode == 0
    assert b"mlrun sync" in error
    world.restart()
    assert world.sync().returncode == 0
    assert world.steps("r") == list(range(10))


def test_a_key_that_is_not_known_is_told_and_ends_the_wait(world: World) -> None:
    """The wait would take longer than the test waits for it."""
    code = TRACK.replace("id=run_id", "name=run_id").replace(', resume="allow"', "")
    child = world.start(code, "r", "10", "0", MLRUN_FINISH_TIMEOUT="500", MLRUN_API_KEY="wrong")
    _, error = child.communicate(timeout=100)
    assert child.returncode == 0
    assert b"does not know this key" in error
    for pid in _uploaders(world.folder / "one"):
        os.kill(pid, signal.SIGKILL)
    done = world.sync(MLRUN_API_KEY="wrong")
    assert done.returncode == 1
    assert "does not know this key" in done.stderr
    assert world.sync().returncode == 0
    assert mlrun.runs("p", store=world.store)["state"].to_list() == ["completed"]
