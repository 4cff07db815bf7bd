"""Which writers elsewhere live: their runs are lost when they are silent, and found when they are heard again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mlrun.ids import now_us
from mlrun.lookup.liveness import OPEN_STATES, state_without_writer
from mlrun.tables import RUNS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlrun.contracts import Op
    from mlrun.journal.upload import Speaker
    from mlrun.store import Store

    from .ingest_direct import Direct
    from .ingest_mirror import Mirror
    from .ingest_session import Session

__all__ = ["Life"]

_LOOK = 1.0  # seconds
_TIDY = 60.0


class Life:
    """Watches the sessions of an ingest; used by its thread alone.

    Args:
        store: the gateway's.
        way: how rows are stored.
        sessions: by writer; those that are let go of are removed.
        silence: seconds until runs are lost.
        patience: seconds until a session is let go of.
    """

    def __init__(
        self,
        store: Store,
        way: Mirror | Direct,
        sessions: dict[str, Session],
        silence: float,
        patience: float,
    ) -> None:
        self._store = store
        self._way = way
        self._sessions = sessions
        self._silence = silence
        self._patience = patience
        self._looked = 0.0
        self._tidied = time.monotonic()

    def hear(self, session: Session, speaker: Speaker) -> None:
        """Take note of what an upload says of a writer."""
        if speaker.claim < session.claim:
            return  # an upload that was long under way
        session.heard, session.heard_us = time.monotonic(), now_us()
        session.alive = speaker.alive
        if speaker.claim != session.claim:
            self._lose(session)  # whoever held the slot before has ended
            session.claim, session.host = speaker.claim, speaker.host
        elif not (session.silenced and speaker.alive):
            self._way.sign(session)
            return
        session.silenced = session.lost = False
        self._way.tell_claim(session.writer, session)
        self._revive(session)

    def ended(self, sessions: Iterable[Session]) -> None:
        """Let go of writers whose uploader says that they have ended and that nothing of theirs waits."""
        for session in sessions:
            if self._sessions.get(session.writer) is session:
                self._let_go(session)

    def look(self) -> None:
        """Look for silence, once a second."""
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        for session in list(self._sessions.values()):
            quiet = now - session.heard
            if quiet > self._patience:
                self._let_go(session)
            elif quiet > self._silence and not session.lost:
                session.silenced = session.lost = True
                self._way.silence(session)
                self._lose(session)
        if now - self._tidied > _TIDY:
            self._tidied = now
            self._way.tidy()

    def _let_go(self, session: Session) -> None:
        del self._sessions[session.writer]
        self._way.release(session)
        if not session.lost:
            self._lose(session)

    def _lose(self, session: Session) -> None:
        owner = f"{session.writer}#{session.claim}"
        ops: list[Op] = []
        for state in OPEN_STATES:
            for row in self._store.records.lookup(RUNS, {"writer": owner, "state": state}):
                lost = {
                    "run_id": row["run_id"],
                    "state": state_without_writer(state),
                    "finished_at": session.heard_us,
                    "updated_at": now_us(),
                }
                ops.append(("put", RUNS.name, lost))
        if ops:
            self._store.records.apply(ops)

    def _revive(self, session: Session) -> None:
        owner = f"{session.writer}#{session.claim}"
        ops: list[Op] = []
        for row in self._store.records.lookup(RUNS, {"writer": owner, "state": "lost"}):
            back = {"run_id": row["run_id"], "state": "running", "finished_at": None}
            ops.append(("put", RUNS.name, {**back, "updated_at": now_us()}))
        if ops:
            self._store.records.apply(ops)
