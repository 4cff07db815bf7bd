"""System metrics: one daemon thread a process samples CPU, memory, disk, network and GPUs for every open run.

Keys are `cpu/…`, `memory/…`, `process/…`, `disk/…`, `network/…` and `gpu/<n>/…`, each ending in its unit. The step of a
sample is its time in whole seconds since the epoch, so that the newest sample of a resumed run has the highest step.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from mlrun.tracking.importing import importing

if TYPE_CHECKING:
    from mlrun.config import Settings
    from mlrun.tracking.gpu import GPU

__all__ = ["Sampler", "SystemMonitor", "start"]

_SHORTEST = 0.1  # seconds between two samples, at least
_TICK = 1.0  # seconds between two looks at the channels
_RATES = 0.2  # seconds between the two readings that make the first rates


class Channel(Protocol):
    """Where samples go: a journal channel of the table `system_metrics`."""

    def log(self, data: dict[str, Any], step: int, /) -> bool:
        """Write one sample."""
        ...


class SystemMonitor:
    """Samples while at least one channel is attached; never raises into its caller.

    A channel gets its first sample a second or two after it is attached (or one interval, if that is shorter): neither
    the start of a script nor a short run pays for sampling. `attach` and `detach` take microseconds; once the last
    channel is gone, the thread ends by itself. A forked child starts with no channel and no thread.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._reset()
        _monitors.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._channels: dict[int, tuple[Channel, float]] = {}  # with the time of attaching
        self._running = False

    def attach(self, channel: Channel) -> None:
        """Log samples to `channel` from here on."""
        with self._lock:
            self._channels.setdefault(id(channel), (channel, time.monotonic()))
            if self._running:
                return
            self._running = True
            self._stopped = threading.Event()
            watch = threading.Thread(
                target=self._watch, args=(self._stopped,), name="mlrun-sysmon", daemon=True
            )
            try:
                watch.start()
            except RuntimeError:  # no thread to be had (limit, interpreter exit): no samples
                self._running = False

    def detach(self, channel: Channel) -> None:
        """Log no more to `channel`; a sample being written at this moment may still come."""
        with self._lock:
            self._channels.pop(id(channel), None)

    def stop(self) -> None:
        """Detach everything and end the thread; `attach` starts anew."""
        with self._lock:
            self._channels.clear()
            self._running = False
            self._stopped.set()

    def _watch(self, stopped: threading.Event) -> None:
        sampler: Sampler | None = None
        due = 0.0  # when all channels get the next sample
        while not stopped.wait(tick := min(_TICK, max(_SHORTEST, self.interval))):
            with self._lock:
                channels = list(self._channels.values())
                if not channels and not stopped.is_set():
                    self._running = False
                    return
            now = time.monotonic()
            if now < due and not any(
                due - self.interval < since <= now - tick for _, since in channels
            ):
                continue
            if sampler is None:
                sampler = Sampler()
                stopped.wait(min(_RATES, tick))
            self._log(sampler.sample(), stopped)
            due = now + self.interval

    def _log(self, data: dict[str, float], stopped: threading.Event) -> None:
        step = int(time.time())
        with self._lock:
            channels = [channel for channel, _ in self._channels.values()]
        for channel in channels:
            if stopped.is_set():
                return
            try:
                channel.log(data, step)
            except Exception:  # noqa: BLE001 - a full disk or a run that closes now: the next sample tries again
                continue


class Sampler:
    """Reads the counters of this host and process; keeps the last reading for rates."""

    def __init__(self) -> None:
        self._psutil: Any = None
        self._gpus: list[GPU] = []
        self._last: dict[str, tuple[float, float]] = {}
        try:
            with importing():
                import psutil

            self._psutil = psutil
            self._process = psutil.Process()
        except Exception:  # noqa: BLE001 - not installed, or /proc is not there: no host figures
            self._psutil = None
        from mlrun.tracking.gpu import gpus

        self._gpus = gpus()
        self.sample()

    def sample(self) -> dict[str, float]:
        """Return one reading, all floats; what this machine does not tell is left out.

        `cpu/process_percent` counts 100 for each core. Rates are over the time since the previous reading.
        """
        out: dict[str, float] = {}
        readers = (self._cpu, self._memory, self._own, self._disk, self._network)
        for read in readers if self._psutil is not None else ():
            try:
                read(out)
            except Exception:  # noqa: BLE001 - containers and platforms hide one counter or another
                continue
        for gpu in self._gpus:
            out |= {f"gpu/{gpu.index}/{name}": value for name, value in gpu.sample().items()}
        return out

    def _cpu(self, out: dict[str, float]) -> None:
        out["cpu/percent"] = float(self._psutil.cpu_percent(None))
        out["cpu/process_percent"] = float(self._process.cpu_percent(None))
        out["cpu/load_1m"] = float(os.getloadavg()[0])

    def _memory(self, out: dict[str, float]) -> None:
        memory = self._psutil.virtual_memory()
        out["memory/percent"] = float(memory.percent)
        out["memory/used_bytes"] = float(memory.total - memory.available)

    def _own(self, out: dict[str, float]) -> None:
        out["process/memory_bytes"] = float(self._process.memory_info().rss)
        out["process/threads"] = float(self._process.num_threads())

    def _disk(self, out: dict[str, float]) -> None:
        out["disk/used_percent"] = float(self._psutil.disk_usage(os.getcwd()).percent)
        counters = self._psutil.disk_io_counters()
        if counters is not None:
            self._rate(out, "disk/read_bytes_per_second", counters.read_bytes)
            self._rate(out, "disk/written_bytes_per_second", counters.write_bytes)

    def _network(self, out: dict[str, float]) -> None:
        counters = self._psutil.net_io_counters()
        if counters is not None:
            self._rate(out, "network/sent_bytes_per_second", counters.bytes_sent)
            self._rate(out, "network/received_bytes_per_second", counters.bytes_recv)

    def _rate(self, out: dict[str, float], name: str, total: float) -> None:
        now = time.monotonic()
        before, then = self._last.get(name, (total, now))
        self._last[name] = (total, now)
        if now > then:
            # a counter that wrapped or was reset tells nothing of this interval
            out[name] = max(0.0, total - before) / (now - then)


def start(settings: Settings) -> SystemMonitor:
    """Return the monitor of this process, made at the first call; `attach` the channels of runs to it."""
    global _monitor  # one thread a process, whatever the number of runs
    with _starting:
        if _monitor is None:
            _monitor = SystemMonitor(settings.system_interval)
        _monitor.interval = settings.system_interval
        return _monitor


_monitor: SystemMonitor | None = None
_monitors: weakref.WeakSet[SystemMonitor] = weakref.WeakSet()
_starting = threading.Lock()


def _renew_after_fork() -> None:
    global _starting  # may have been held by another thread at the fork
    _starting = threading.Lock()
    for monitor in list(_monitors):
        monitor._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
