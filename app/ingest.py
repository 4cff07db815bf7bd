"""Taking uploads: the gateway's side of the law in `mlrun.journal.upload`.

One thread commits. What arrives while it is at it waits, and is committed together: one sync per file, one transaction
of the records store, however many senders there are. A sender is answered when its upload is durable and visible.
A writer that is refused (its token, its rights, its content) holds up nobody else; what came before the fault
stays.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlrun.contracts import CanRollUp, Mark
from mlrun.errors import (
    AccessDenied,
    MarkConflict,
    MlrunError,
    SchemaMismatch,
    StoreBusy,
    UploadRefused,
)
from mlrun.journal.absorb import apply_or_set_aside, set_aside
from mlrun.journal.files import DICT, LOG, SEGMENT, TEXT
from mlrun.journal.upload import parse_upload
from mlrun.lookup.opcheck import misfit

from .ingest_batch import Batch, Job
from .ingest_direct import Direct
from .ingest_forget import farewell, need_unknown
from .ingest_life import Life
from .ingest_mirror import Mirror
from .ingest_rights import Rights
from .ingest_session import Session, read_lines, read_names, read_records, skip_of
from .logs import log

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from mlrun.contracts import Op
    from mlrun.journal.upload import Part, Speaker, Upload
    from mlrun.store import Store

    from .auth import Caller
    from .ingest_guard import Guard

__all__ = ["Ingest"]

_Admit = Callable[["Caller", int, "dict[str, tuple[int, float]]"], None]
_QUEUE_BYTES = 256 << 20
_BATCH_BYTES = 64 << 20
_TOLD_RUNS = 64  # of a writer, whose listeners are told at once; of others they look a moment later
_Refusal = (AccessDenied, UploadRefused, SchemaMismatch)


class Ingest:
    """Takes uploads of many senders.

    Args:
        store: the gateway's.
        silence: seconds without a sign after which a writer's runs are lost.
        patience: … after which its open files are sealed.
        reserve: bytes of the gateway's disk that stay free.
        touched: is told ids of runs that have news.
        guard: leaves out what is too much; none for no bounds.
        admit: asked before an upload is queued: how many points it brings, and by project how many and how many a
            second that may send; refuses it by an error.
    """

    def __init__(
        self,
        store: Store,
        *,
        silence: float = 60.0,
        patience: float = 900.0,
        reserve: int = 1 << 30,
        touched: Callable[[Iterable[str]], None] = lambda run_ids: None,
        guard: Guard | None = None,
        admit: _Admit = lambda caller, points, shares: None,
    ) -> None:
        self._store = store
        self._touched = touched
        direct = isinstance(store.series, CanRollUp)  # commits of a few rows are its business
        self._way: Mirror | Direct = Direct(store) if direct else Mirror(store, reserve)
        self._rights = Rights(store.records)
        self._guard, self._admit = guard, admit
        self._sessions: dict[str, Session] = {}
        self._life = Life(store, self._way, self._sessions, silence, patience)
        self._jobs: deque[Job] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="mlrun-ingest", daemon=True)
        self.points = self.records = self.uploads = 0
        self._open_left_behind()
        self._thread.start()

    # -- for routes ------------------------------------------------------------------------------

    def offer(self, caller: Caller, body: bytes | memoryview) -> Future[dict[str, Any]]:
        """Check an upload and queue it.

        Returns:
            The answer, once everything in it is durable: `positions` and `refused`, by writer.

        Raises:
            UploadRefused, StoreVersionError: it is no upload.
            StoreBusy: too much waits, or (RateLimited) too much comes of this caller; it was not taken.
        """
        upload = parse_upload(body)
        self._admit_upload(caller, upload)
        job = Job(caller, upload, len(body))
        with self._changed:
            if self._closing:
                raise StoreBusy("the gateway is stopping: try again")
            if self._waiting + job.size > _QUEUE_BYTES:
                raise StoreBusy("the gateway has more uploads than it can take: try again")
            self._waiting += job.size
            self._jobs.append(job)
            self._changed.notify()
        return job.answer

    def _admit_upload(self, caller: Caller, upload: Upload) -> None:
        points, by_project = 0, dict[str, int]()
        for part in upload.parts:
            if part.kind == SEGMENT:
                points += part.last - part.first
                session = self._sessions.get(part.writer)
                for project in tuple(session.projects) if session is not None else ():
                    by_project[project] = by_project.get(project, 0) + part.last - part.first
        shares = {}
        if self._guard is not None:
            for project, count in by_project.items():
                if rate := self._guard.policy(project, "points_per_second"):
                    shares[project] = (count, float(rate))
        self._admit(caller, points, shares)

    def close(self) -> None:
        """Take no more, finish what was taken, let go of the slots. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._way.close()

    # -- the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._jobs and not self._closing:
                    self._changed.wait(1.0)
                jobs = self._take_jobs()
                if not jobs and self._closing:
                    return
            try:
                if jobs:
                    self._commit(jobs)
                self._life.look()
            except Exception as error:  # noqa: BLE001  every sender is told; the thread goes on
                log.exception("an upload could not be stored")
                self._drop_sessions(jobs)
                self._commit_alone(jobs, error)

    def _commit_alone(self, jobs: list[Job], error: Exception) -> None:
        """Commit one by one what failed together, so that an upload that no store takes harms its sender only."""
        waiting = [job for job in jobs if not job.answer.done()]
        for job in waiting:
            if len(jobs) > 1:
                try:
                    job.refused.clear()
                    self._commit([job])
                    continue
                except Exception as alone:  # noqa: BLE001  its sender is told
                    self._drop_sessions([job])
                    error = alone
            job.answer.set_exception(_as_ours(error))

    def _take_jobs(self) -> list[Job]:
        jobs: list[Job] = []
        size = 0
        while self._jobs and (not jobs or size + self._jobs[0].size <= _BATCH_BYTES):
            job = self._jobs.popleft()
            size += job.size
            jobs.append(job)
        self._waiting -= size
        return jobs

    def _commit(self, jobs: list[Job]) -> None:
        batch = Batch()
        for job in jobs:
            sends = {part.writer for part in job.upload.parts}
            for name, speaker in job.upload.writers.items():
                self._hear(job, name, speaker)
                if name not in job.refused and speaker.claim == self._sessions[name].claim:
                    ended = not speaker.alive and name not in sends
                    farewell(self._sessions[name], batch, ended=ended)
            for part in job.upload.parts:
                if part.writer not in job.refused:
                    self._take(job, part, batch)
        summaries = self._way.commit(batch.move)
        if self._guard is not None:
            batch.ops[:0] = self._guard.take_dropped()  # what a run says itself counts for more
        if batch.aside:
            set_aside(self._store, batch.aside)
        if batch.after or batch.ops:
            points = list(summaries or ())
            apply_or_set_aside(self._store, batch.ops, points, batch.before, batch.after)
        self.records += len(batch.ops)
        self.uploads += len(jobs)
        for job in jobs:
            self._reply(job)
        self._touched(batch.touched)

    def _reply(self, job: Job) -> None:
        names = list(job.upload.writers)
        if job.refused and len(job.refused) == len(names):
            job.answer.set_exception(job.refused[names[0]])
            return
        told = {n: self._sessions[n].told() for n in names if n in self._sessions}
        refused = {n: str(e) for n, e in job.refused.items()}
        dropped = self._dropped(told)
        self._life.ended([self._sessions[n] for n in told if not self._sessions[n].alive])
        job.answer.set_result({"positions": told, "refused": refused, "dropped": dropped})

    def _dropped(self, writers: Iterable[str]) -> dict[str, int]:
        """Return by run how many points of these writers were left out, as far as this gateway knows."""
        known = {} if self._guard is None else self._guard.dropped
        if not known:
            return {}
        runs = {run_id for name in writers for run_id in self._sessions[name].runs}
        return {run_id: known[run_id] for run_id in runs if known.get(run_id)}

    # -- sessions --------------------------------------------------------------------------------

    def _hear(self, job: Job, name: str, speaker: Speaker) -> None:
        bound = _bound(job.upload.token)
        try:
            session = self._sessions.get(name)
            if session is None or session.stale:
                session = self._begin(name, speaker, bound)
            if session.record.segment != bound:
                raise AccessDenied(f"writer {name} belongs to another spool")
            self._life.hear(session, speaker)
        except _Refusal as error:
            job.refused[name] = error

    def _begin(self, name: str, speaker: Speaker, bound: int) -> Session:
        marks = self._store.records.marks()
        own = f"{name}/records"
        if own not in marks:
            need_unknown(self._store.records, name, speaker.claim)
            fresh = Mark(segment=bound)
            self._store.records.apply([], expected={own: Mark()}, marks={own: fresh})
            marks[own] = fresh
        record = marks[own]
        if record.segment != bound:
            raise AccessDenied(f"writer {name} belongs to another spool")
        session = Session(name, speaker.claim, speaker.host, record=record)
        session.positions[LOG] = (record.log, record.offset)
        self._way.open(session, marks)
        self._sessions[name] = session
        return session

    def _open_left_behind(self) -> None:
        """Take up the writers of the gateway before this one: they have time to be heard again."""
        if not isinstance(self._way, Mirror):
            return
        marks = self._store.records.marks()
        for name, claim, host in self._way.mirrored():
            record = marks.get(f"{name}/records")
            if record is None:
                continue
            session = Session(name, claim, host, record=record)
            session.positions[LOG] = (record.log, record.offset)
            self._way.open(session, marks)
            self._sessions[name] = session
        self._way.tidy()

    def _drop_sessions(self, jobs: list[Job]) -> None:
        """Forget what writers were thought to have: it is found out anew from what was stored."""
        self._way.forget()
        if self._guard is not None:
            self._guard.forget()
        for job in jobs:
            for name in job.upload.writers:
                self._sessions.pop(name, None)

    # -- parts -----------------------------------------------------------------------------------

    def _take(self, job: Job, part: Part, batch: Batch) -> None:
        session = self._sessions[part.writer]
        try:
            skip = skip_of(session, part)
            if skip is None:
                skip = self._go_on(session, part)
            if skip is None or (skip == part.last - part.first and not part.final):
                return
            if part.end() <= session.positions[part.kind]:
                return
            if not _is_in_turn(session, part):
                return
            self._take_kind(job, session, part, skip, batch)
        except _Refusal as error:
            job.refused[part.writer] = error

    def _go_on(self, session: Session, part: Part) -> int | None:
        """Go on behind a gap, if the sender says that there is one; None if it shall send what is missing."""
        if not part.gap:
            session.stale = True  # perhaps another gateway has heard the writer meanwhile
            return None
        log.warning(
            "rows or records that were acknowledged are gone",
            extra={
                "writer": session.writer,
                "file": part.kind,
                "have": session.positions[part.kind],
            },
        )
        if part.kind == SEGMENT:
            self._way.points_start(session, part)
        elif part.kind == TEXT:
            self._way.text_start(session, part)
        return 0

    def _take_kind(self, job: Job, session: Session, part: Part, skip: int, batch: Batch) -> None:
        if part.kind == LOG:
            self._take_records(job, session, part, skip, batch)
        elif part.kind == DICT:
            for project, run_id in read_names(part, skip):
                self._rights.check_run(job.caller, project, run_id, batch.fresh)
                if len(session.runs) < _TOLD_RUNS:
                    session.runs.add(run_id)
                    session.projects.add(project)
            self._way.names(session, part, skip)
        elif part.kind == SEGMENT:
            if self._guard is not None and part.last - part.first > skip:
                part = self._guard.passed(session, part, skip, self._way.names_of(session, part))
            self._way.points(session, part, skip)
            batch.touched |= session.runs
            self.points += part.last - part.first - skip
        else:
            for _, project, run_id, _ in read_lines(part, skip):
                self._rights.check_run(job.caller, project, run_id, batch.fresh)
            self._way.text(session, part, skip)

    def _take_records(
        self, job: Job, session: Session, part: Part, skip: int, batch: Batch
    ) -> None:
        """Add the records of a part to the batch; those before one that is refused are kept."""
        name = f"{session.writer}/records"
        at = (part.number, part.first + skip)
        try:
            for end, ops in read_records(part, skip):
                taken: list[Op] = []
                for op in ops:
                    if why := misfit(op):
                        batch.aside.append((op, why))
                        continue
                    self._rights.check_op(job.caller, op, batch.fresh)
                    taken.append(op if self._guard is None else self._guard.counted(op))
                    batch.touched.add(str(op[2].get("run_id")))
                batch.ops += taken
                at = (part.number, end)
            at = part.end()
        finally:
            if at > session.positions[LOG]:
                after = session.record._replace(log=at[0], offset=at[1])
                batch.move(name, session.record, after)
                session.record, session.positions[LOG] = after, at


def _is_in_turn(session: Session, part: Part) -> bool:
    """Whether rows have their names, and names are those of the rows that come next."""
    if part.kind == SEGMENT:
        number, at = session.positions[DICT]
        return not part.names or (number == part.number and at >= part.names)
    number, at = session.positions[SEGMENT]
    return part.kind != DICT or part.number == number or (part.number > number and not at)


def _bound(token: str) -> int:
    """Return the number by which a writer's mark remembers its spool."""
    return int.from_bytes(hashlib.sha256(token.encode()).digest()[:7], "big") + 1


def _as_ours(error: Exception) -> MlrunError:
    if isinstance(error, MarkConflict):
        return StoreBusy("another gateway heard this writer too: try again")
    if isinstance(error, MlrunError):
        return error
    if isinstance(error, OSError):
        return StoreBusy(f"the gateway cannot write: {error.strerror}; try again")
    return StoreBusy("the gateway failed to store an upload; its log says why")
