"""Answers worked out in processes beside the gateway's, or in its own threads.

Questions wait in one line. Each process has a thread here that takes the next one, so that a long answer holds up
nobody else. What waited when a process began to look at the store is answered by that one look
(`mlrun.lookup.look`), and the same question of several callers with the same rights is worked out once: so the more
ask at a time, the less each of them costs.
"""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from mlrun.errors import QueryError, StoreBusy
from mlrun.wire import error_of

from .answered import Answered, finished
from .answering import ANSWERS
from .child import GROWN, Child, ChildDied, Limits

if TYPE_CHECKING:
    from mlrun.store import Store

    from .answered import Form
    from .auth import Caller
    from .options import Options
    from .pool import Pool

__all__ = ["AnswerPool", "Asked", "packed"]

_SECONDS = 120.0
_BYTES = 8 << 30
_NEVER = float("-inf")


class Asked(NamedTuple):
    """A question: which of `app.answering.ANSWERS`, for whom (their projects, the gateway's URL for them), how sent."""

    name: str
    arguments: tuple[Any, ...]
    only: frozenset[str] | None
    url: str
    form: Form


@dataclass
class _Job:
    """A question that waits, and those who wait for it; `at`: when the last of them asked, monotonic."""

    asked: Asked
    at: float
    answers: list[Future[Answered]] = field(default_factory=list)
    tries: int = 0


class AnswerPool:
    """Works out answers.

    Args:
        store: what is asked.
        options: how many processes, 0 for none; how many questions may wait.
        threads: where answers are worked out if there are no processes.
    """

    def __init__(self, store: Store, options: Options, threads: Pool) -> None:
        self._store = store
        self._pool = threads
        self._most = options.answer_processes + options.waiting
        self._jobs: deque[_Job] = deque()
        self._busy = 0
        self._changed = threading.Condition()
        self._closing = False
        self._hands = [_Hand(self, store) for _ in range(options.answer_processes)]

    @property
    def busy(self) -> int:
        """Questions that wait or are being answered by processes."""
        return self._busy

    def processes(self) -> list[int]:
        """Return the ids of the processes that live."""
        return [hand.pid for hand in self._hands if hand.pid]

    async def ask(self, caller: Caller, form: Form, name: str, *arguments: Any) -> Answered:
        """Return an answer as this caller may see it.

        Raises:
            StoreBusy: too much waits already.
        """
        if not self._hands:
            seen = caller.seen(self._store)
            return await self._pool.run(lambda: finished(ANSWERS[name](seen, *arguments), form))
        import asyncio

        asked = Asked(name, arguments, caller.projects("read"), caller.at, form)
        return await asyncio.wrap_future(self._queued(asked))

    def _queued(self, asked: Asked) -> Future[Answered]:
        found: Future[Answered] = Future()
        with self._changed:
            if self._closing:
                raise StoreBusy("the gateway is stopping: try again")
            if self._busy >= self._most:
                raise StoreBusy(f"the gateway has {self._busy} requests in hand: try again")
            self._busy += 1
            found.add_done_callback(self._done)
            same = next((job for job in self._jobs if job.asked == asked), None)
            if same is None:
                self._jobs.append(_Job(asked, time.monotonic(), [found]))
            else:
                same.answers.append(found)
                same.at = time.monotonic()
            self._changed.notify()
        return found

    def _done(self, _: Future[Answered]) -> None:
        with self._changed:
            self._busy -= 1

    # -- for the threads -------------------------------------------------------------------------

    def next_job(self, *, patient: bool) -> _Job | None:
        """Take the next question; None if there is none, or, for the patient, none will come."""
        with self._changed:
            while not self._jobs and patient and not self._closing:
                self._changed.wait()
            return self._jobs.popleft() if self._jobs and not self._closing else None

    def put_back(self, job: _Job) -> None:
        """Have a question answered by another process."""
        with self._changed:
            self._jobs.appendleft(job)
            self._changed.notify()

    def warm(self) -> None:
        """Start the processes before somebody asks; called in a thread."""
        for hand in self._hands:
            hand.start()

    def close(self) -> None:
        """Finish what is in hand, refuse what waits, end the processes."""
        with self._changed:
            self._closing = True
            left = list(self._jobs)
            self._jobs.clear()
            self._changed.notify_all()
        for job in left:
            _fail(job, StoreBusy("the gateway is stopping: try again"))
        for hand in self._hands:
            hand.join()


class _Hand:
    """One process and the thread that asks it."""

    def __init__(self, pool: AnswerPool, store: Store) -> None:
        self._pool = pool
        self._store = store
        self._limits = Limits(_SECONDS, _BYTES, _too_much)
        self._child: Child | None = None
        self._looked = _NEVER  # when the process began the look that it still has
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="mlrun-answers", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        child = self._child
        return child.pid if child is not None and child.lives() else 0

    def start(self) -> None:
        """Start the process, if there is none that lives."""
        with self._lock:
            if self._child is not None and not self._child.lives():
                self._end()
            if self._child is None:
                self._child, self._looked = Child("mlrun.app.answerchild", self._store), _NEVER

    def join(self) -> None:
        self._thread.join()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            if time.monotonic() - job.at > _SECONDS:
                _fail(job, StoreBusy("others' questions are being answered: try again"))
                continue
            try:
                answer = self._answer(job)
            except ChildDied as error:
                job.tries += 1
                if job.tries > 1:
                    _fail(job, error)
                else:
                    self._pool.put_back(job)  # it changes nothing: another may answer
            except Exception as error:  # noqa: BLE001 - whoever asked is told
                _fail(job, error)
            else:
                for future in job.answers:
                    if future.set_running_or_notify_cancel():
                        future.set_result(answer)
        with self._lock:
            self._end()

    def _next(self) -> _Job | None:
        """Return the next question; while none waits, the process keeps no look."""
        job = self._pool.next_job(patient=False)
        if job is not None:
            return job
        if self._looked > _NEVER and self._child is not None:
            with suppress(Exception):  # the next question finds out, and starts another process
                self._child.ask(pickle.dumps((None, True)), self._limits)
            self._looked = _NEVER
        return self._pool.next_job(patient=True)

    def _answer(self, job: _Job) -> Answered:
        self.start()
        assert self._child is not None
        anew = job.at >= self._looked
        if anew:
            self._looked = time.monotonic()
        try:
            kind, body = self._child.ask(pickle.dumps((job.asked, anew)), self._limits)
        except BaseException:
            with self._lock:
                self._end()
            raise
        if self._child.memory() > self._limits.bytes * GROWN:
            with self._lock:
                self._end()
        if kind == 0:
            return _unpacked(body)
        if kind == 1:
            raise error_of(json.loads(body))
        raise RuntimeError(body.decode("utf-8", "replace"))

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._child, self._looked = None, _NEVER


def _fail(job: _Job, error: Exception) -> None:
    for future in job.answers:
        if future.set_running_or_notify_cancel():
            future.set_exception(error)


def packed(found: Answered) -> bytes:
    """Return an answer as bytes: a line of JSON, then the body."""
    return json.dumps([found.kind, found.headers]).encode() + b"\n" + found.body


def _unpacked(body: bytes) -> Answered:
    head, _, rest = body.partition(b"\n")
    kind, headers = json.loads(head)
    return Answered(rest, kind, headers)


def _too_much(what: str) -> QueryError:
    return QueryError(f"the answer took more than {what} and was given up: ask for less")
