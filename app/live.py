"""News of live runs: what changed since a listener last heard. Nothing happens while nobody listens."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError
from mlrun.lookup.sight import snapshot
from mlrun.lookup.widen import aggregate
from mlrun.tables import RUNS, SUMMARIES

from .logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mlrun.store import Store

    from .gateway import Gateway

__all__ = ["Live"]

_EVERY = 0.25  # seconds between two looks, unless somebody says that there is something new
_LATER: tuple[str, Any] = ("later", None)  # ends a stream whose run has not ended
_LONGEST = 900.0  # seconds of a stream: who listens on comes again, and is asked for a key again
_SILENCE = 15.0  # seconds after which a line says that the connection lives
_LINES = 1000  # printed lines of one event
_BEHIND = 64  # news that a slow listener may be behind, before it is sent the newest only


class _Topic:
    """One run, looked at once however many listen."""

    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[tuple[str, Any] | None]] = set()
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.seen: dict[str, Any] = {}


class Live:
    """Listeners and the runs that they listen to.

    Args:
        gateway: whose store is looked at.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._topics: dict[str, _Topic] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def listeners(self) -> int:
        """How many listen."""
        return sum(len(topic.queues) for topic in self._topics.values())

    def touch(self, run_ids: Iterable[str]) -> None:
        """Say that there is news of these runs, from any thread; costs a dict lookup if nobody listens."""
        if self._topics and self._loop is not None:
            known = [run_id for run_id in run_ids if run_id in self._topics]
            if known:
                self._loop.call_soon_threadsafe(self._wake, known)

    def _wake(self, run_ids: list[str]) -> None:
        for run_id in run_ids:
            if topic := self._topics.get(run_id):
                topic.wake.set()

    async def events(self, run_id: str) -> AsyncIterator[bytes]:
        """Yield server-sent events until the run ends or the listener leaves.

        `state` tells `{"state", "error"}`; `points` tells, by key, `{"last", "step", "count", "time"}` of the series
        that grew; `end` is the last one. The first of each tells everything.
        """
        self._loop = asyncio.get_running_loop()
        topic = self._topics.setdefault(run_id, _Topic())
        queue: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue(_BEHIND)
        for name in ("state", "points"):
            if topic.seen.get(name):
                queue.put_nowait((name, topic.seen[name]))
        topic.queues.add(queue)
        if topic.task is None or topic.task.done():
            topic.task = asyncio.create_task(self._watch(run_id, topic))
        until = time.monotonic() + _LONGEST
        try:
            yield b"retry: 2000\n\n"
            while time.monotonic() < until:
                try:
                    news = await asyncio.wait_for(queue.get(), _SILENCE)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if news is None:
                    yield b"event: end\ndata: {}\n\n"
                    return
                if news == _LATER:
                    return
                yield _event(*news)
        finally:
            topic.queues.discard(queue)
            if not topic.queues:
                self._drop(run_id, topic)

    def _drop(self, run_id: str, topic: _Topic) -> None:
        if topic.task is not None:
            topic.task.cancel()
        if self._topics.get(run_id) is topic:
            del self._topics[run_id]

    async def lines(self, run_id: str) -> AsyncIterator[bytes]:
        """Yield what a run prints, those lines first that it has printed, until it ends or the listener leaves.

        An event `lines` holds `[time, stream, line]` of each; `end` is the last one.
        """
        seen, silent, ended = 0, 0.0, False
        until = time.monotonic() + _LONGEST
        yield b"retry: 2000\n\n"
        while not ended and not self._gateway.draining and time.monotonic() < until:
            ended, lines = await self._gateway.work(_printed, self._gateway.store, run_id, seen)
            seen, silent = seen + len(lines), 0.0 if lines else silent + _EVERY
            for start in range(0, len(lines), _LINES):
                yield _event("lines", lines[start : start + _LINES])
            if silent > _SILENCE:
                yield b": still here\n\n"
                silent = 0.0
            if not ended:
                await asyncio.sleep(_EVERY)
        if ended:
            yield b"event: end\ndata: {}\n\n"

    async def _watch(self, run_id: str, topic: _Topic) -> None:
        ended = False
        last: tuple[str, Any] | None = None
        while not ended:
            topic.wake.clear()
            try:
                state, points, ended = await self._gateway.work(_look, self._gateway.store, run_id)
            except MlrunError as error:
                log.warning("a live run could not be looked at: %s", error)
                state, points = None, {}  # too busy, or a lock: the next look tells
            except Exception:  # noqa: BLE001 - its listeners are told to come again
                log.exception("a live run cannot be looked at")
                last = _LATER
                break
            _tell(topic, state, points)
            if not ended:
                with suppress(TimeoutError):
                    await asyncio.wait_for(topic.wake.wait(), _EVERY)
                await asyncio.sleep(0.02)  # news that come in a burst are told at once
        for queue in topic.queues:
            _put(queue, last)

    def close(self) -> None:
        """End every stream; the runs have not ended, so listeners come back, here or elsewhere."""
        for run_id, topic in list(self._topics.items()):
            for queue in topic.queues:
                _put(queue, _LATER)
            self._drop(run_id, topic)


def _tell(topic: _Topic, state: Any, points: dict[str, Any]) -> None:
    if state is not None and state != topic.seen.get("state"):
        topic.seen["state"] = state
        for queue in topic.queues:
            _put(queue, ("state", state))
    known = topic.seen.setdefault("points", {})
    news = {key: value for key, value in points.items() if known.get(key) != value}
    if news:
        known.update(news)
        for queue in topic.queues:
            _put(queue, ("points", news))


def _put(queue: asyncio.Queue[tuple[str, Any] | None], news: tuple[str, Any] | None) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(news)


def _look(store: Store, run_id: str) -> tuple[Any, dict[str, Any], bool]:
    """Return state, series and whether the run has ended; runs in a thread."""
    from mlrun.view import TERMINAL_STATES

    with snapshot(store) as sight:
        tables = sight.each((RUNS, SUMMARIES), [run_id])
    rows = tables[RUNS.name].to_dicts()
    if not rows:
        return None, {}, True
    last = aggregate("last").alias("value")
    found = tables[SUMMARIES.name].select("key", last, "last_step", "count", "last_time")
    points = {
        key: {"last": value, "step": step, "count": count, "time": time.isoformat()}
        for key, value, step, count, time in found.iter_rows()
    }
    state = {"state": rows[0]["state"], "error": rows[0]["error"]}
    return state, points, rows[0]["state"] in TERMINAL_STATES


def _printed(store: Store, run_id: str, seen: int) -> tuple[bool, list[list[str]]]:
    """Return whether the run has ended, and its lines behind those that were seen; runs in a thread."""
    from mlrun.query import logs
    from mlrun.view import TERMINAL_STATES

    with snapshot(store) as sight:
        states = sight.rows(RUNS, [run_id], ["run_id", "state"])["state"].to_list()
    # looked at before reading: nothing comes after
    ended = not states or states[0] in TERMINAL_STATES
    frame = logs(store, run_id)[seen:].select("time", "stream", "line")
    return ended, [[time.isoformat(), stream, line] for time, stream, line in frame.iter_rows()]


def _event(name: str, told: Any) -> bytes:
    text = json.dumps(_finite(told), ensure_ascii=False)  # JSON has no line breaks of its own
    return f"event: {name}\ndata: {text}\n\n".encode("utf-8", "replace")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value
