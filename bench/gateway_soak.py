"""`python -m bench.gateway_soak [--minutes 10]`: a gateway, two machines and the network between them fail at random.

Every round starts trackers on two machines (two spools) that log to runs of their own and to one in common, through a
proxy that cuts, delays, loses and doubles. Meanwhile the gateway, the uploaders and the trackers are killed with
SIGKILL, and in every third round (as root on Linux) the gateway's disk is full for some seconds. Then the network is
whole again, `mlrun sync` sends what is left, and every call that had returned must be there once, in order. Prints
JSON; exit code 1 if one is not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.children import ROOT
from bench.rounds import say
from mlrun.testing.faultproxy import FaultProxy
from mlrun.testing.gatewayserver import GatewayServer

__all__ = ["main"]

_TRACK = """
import os, sys, time, mlrun
url, own, common = sys.argv[1:4]
run = mlrun.init("soak", id=own, store=url, system_metrics=False, git=False, console=False, resume="allow")
both = mlrun.tracking.start.open_run(run.store, run.settings, run_id=common, resume="allow")
step = 0
while True:
    run.log({"a": float(step), "b": -float(step), "c/d": 0.5}, step)
    os.write(1, b".")
    if step % 10 == 0:
        both.log({own: float(step)}, step)
    if step % 100 == 0:
        run.log_result("step", step)
        time.sleep(0.01)
    step += 1
"""
_FAULTS = ("cut", "half", "deaf", "twice", "delay", "refuse")


@dataclass
class Soak:
    """What happened."""

    rounds: int = 0
    calls: int = 0
    gateways_killed: int = 0
    uploaders_killed: int = 0
    trackers_killed: int = 0
    disks_full: int = 0
    starts_failed: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway_soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="gateway-soak-"))
    soak, end = Soak(), time.monotonic() + 60 * given.minutes
    chance = random.Random(given.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leaves no process behind
    say(f"seed {given.seed}")
    try:
        while time.monotonic() < end:
            place = folder / str(soak.rounds)
            place.mkdir()
            _Round(place, chance, soak).play(full=soak.rounds % 3 == 0)
            soak.rounds += 1
            say(f"{soak.rounds} rounds, {soak.calls:,} calls, {len(soak.violations)} violations")
            if not soak.violations:
                shutil.rmtree(place)
    finally:
        if not soak.violations:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(soak.__dict__, indent=1))
    return 1 if soak.violations else 0


class _Tracker:
    """A process that logs, and how many of its calls have returned."""

    def __init__(self, name: str, command: list[str], env: dict[str, str]) -> None:
        self.name = name
        self.calls = 0
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._count)
        self._reader.start()

    def _count(self) -> None:
        assert self.process.stdout is not None
        while block := self.process.stdout.read1(1 << 16):  # type: ignore[attr-defined]  # it is buffered
            self.calls += len(block)

    def kill(self) -> None:
        """End it; idempotent."""
        if self.process.poll() is not None and not self._reader.is_alive():
            return
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


class _Round:
    """One gateway, two machines, some seconds of faults, and the reckoning."""

    def __init__(self, folder: Path, chance: random.Random, soak: Soak) -> None:
        self.folder, self.chance, self.soak = folder, chance, soak
        self.state = folder / "state"
        self.state.mkdir()
        words = ("--no-flight", "--log-level", "warning")
        environ = {"MLRUN_RESERVE_BYTES": "1000000"}
        self.gateway = GatewayServer(folder / "store", *words, state=self.state, environ=environ)
        self.trackers: list[_Tracker] = []

    def play(self, *, full: bool) -> None:
        """Play it, with a disk that is full for a while if that can be done here."""
        disk = _small_disk(self.folder / "store") if full else None
        try:
            try:
                self._play(disk)
            finally:
                for tracker in self.trackers:
                    tracker.kill()
                self.gateway.stop()
            self._reckon()
        finally:
            if disk is not None:
                subprocess.run(
                    ["umount", "--lazy", str(disk)], check=True
                )  # an absorber may be at it

    def _play(self, disk: Path | None) -> None:
        self.gateway.start()
        with FaultProxy(self.gateway.url, seed=self.chance.getrandbits(30)) as proxy:
            self.proxy = proxy
            self._let_in()
            if disk is not None:
                filling = threading.Thread(target=self._fill, args=(disk,))
                filling.start()
            self._fail(time.monotonic() + self.chance.uniform(5, 12))
            if disk is not None:
                filling.join()
            proxy.set()
            for tracker in self.trackers:
                tracker.kill()
            for machine in ("one", "two"):
                self._sync(machine)
            for name, number in proxy.faults.items():
                self.soak.faults[name] = self.soak.faults.get(name, 0) + number

    def _fill(self, disk: Path) -> None:
        """Leave nothing free on the gateway's disk for some seconds."""
        time.sleep(2.0)
        filler = disk / "filler"
        end = time.monotonic() + 3.0
        with filler.open("wb", buffering=0) as file:
            while time.monotonic() < end:  # what others free meanwhile is taken, too
                try:
                    file.write(bytes(64 << 10))
                except OSError:
                    time.sleep(0.05)
        filler.unlink()
        self.soak.disks_full += 1

    def _let_in(self) -> None:
        """Give the proxy's port the gateway's token."""
        port = self.proxy.url.rpartition(":")[2]
        token = self.state / "mlrun" / "gateways" / f"{port}.token"
        fresh = token.with_suffix(".new")
        fresh.write_text(self.gateway.token)
        fresh.chmod(0o600)
        os.replace(fresh, token)

    def _env(self, machine: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MLRUN_")}
        return {
            **kept, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(self.state), "MLRUN_QUIET": "1",
            "MLRUN_SPOOL": str(self.folder / machine), "PYTHONWARNINGS": "ignore",
        }  # fmt: skip

    def _start(self) -> None:
        machine = self.chance.choice(("one", "two"))
        name = f"run-{len(self.trackers)}"
        command = [sys.executable, "-P", "-c", _TRACK, self.proxy.url, name, "common"]
        self.trackers.append(_Tracker(name, command, self._env(machine)))

    def _fail(self, until: float) -> None:
        for _ in range(3):
            self._start()
        while time.monotonic() < until:
            time.sleep(self.chance.uniform(0.1, 1.0))
            what = self.chance.random()
            if what < 0.2:
                self._kill_gateway()
            elif what < 0.35:
                self._kill_uploader()
            elif what < 0.5 and self.trackers:
                self.chance.choice(self.trackers).process.send_signal(signal.SIGKILL)
                self.soak.trackers_killed += 1
                self._start()
            else:
                self.proxy.set(**{self.chance.choice(_FAULTS): self.chance.choice((0.2, 0.6))})

    def _kill_gateway(self) -> None:
        self.gateway.kill()
        self.soak.gateways_killed += 1
        time.sleep(self.chance.uniform(0, 0.5))
        port, until = int(self.gateway.url.rpartition(":")[2]), time.monotonic() + 30
        while True:
            try:
                self.gateway.start(port)
                break
            except RuntimeError:  # on a full disk: a supervisor tries again
                self.soak.starts_failed += 1
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)
        self._let_in()

    def _kill_uploader(self) -> None:
        ours = f"MLRUN_SPOOL={self.folder}/".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"mlrun.journal.uploader" in words and ours in (entry / "environ").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
                    self.soak.uploaders_killed += 1
            except OSError:
                continue  # it has just ended

    def _sync(self, machine: str) -> None:
        env = {**self._env(machine), "MLRUN_DBPATH": self.proxy.url}
        command = [sys.executable, "-P", "-m", "mlrun.cli", "sync", "--timeout", "120"]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode:
            self.soak.violations.append(f"sync: {done.stderr.strip()[-300:]}")

    def _reckon(self) -> None:
        import mlrun

        store = mlrun.open_store(self.folder / "store")
        for tracker in self.trackers:
            self.soak.calls += tracker.calls
            points = mlrun.metrics(tracker.name, store=store)
            for key in ("a", "b", "c/d"):
                found = points.filter(points["key"] == key)["step"].to_list()
                if found != list(range(len(found))):
                    self._note(f"{tracker.name}, {key}: steps are missing or doubled")
                if not tracker.calls <= len(found) <= tracker.calls + 1:
                    self._note(
                        f"{tracker.name}, {key}: {tracker.calls} returned, {len(found)} stored"
                    )
            shared = mlrun.metrics("common", keys=[tracker.name], store=store)["step"].to_list()
            if shared != list(range(0, 10 * len(shared), 10)):
                self._note(f"{tracker.name}: steps of the common run are missing or doubled")
        # one that never logged was refused, by a gateway that had just begun and had another token: it says `error`
        killed = {
            t.name for t in self.trackers if t.calls and t.process.returncode == -signal.SIGKILL
        }
        states = mlrun.runs("soak", store=store, columns=["run_id", "state"]).rows()
        for run_id, state in states:
            if run_id in killed and state != "lost":
                self._note(f"{run_id} is {state} although its process was killed")
        store.close()

    def _note(self, violation: str) -> None:
        say(f"VIOLATION {violation}")
        self.soak.violations.append(f"{self.folder}: {violation}")


def _small_disk(place: Path) -> Path | None:
    """Mount a small file system there; None where that is not allowed."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return None
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256m", "mlrun-soak", str(place)]
    return place if subprocess.run(command, capture_output=True).returncode == 0 else None


if __name__ == "__main__":
    raise SystemExit(main())
