"""Keep what a job printed: the lines that its run has not recorded itself are stored in the run.

A run hears its own `print`s. It does not hear what was printed before it began (an image, a requirement, an import that
fails) nor what native code wrote before it died; that stands in the executor's log only, and a TTL takes it away.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from mlrun.ids import now_us

if TYPE_CHECKING:
    from mlrun.execution.law import Job
    from mlrun.store import Store

__all__ = ["keep_log"]

_KEPT = 10_000  # lines, the last ones


def keep_log(store: Store, project: str, run_id: str, job: Job) -> int:
    """Store the lines of a job that has ended which its run does not have; returns how many.

    Args:
        store: where the run is.
        project: of the run.
        run_id: the run.
        job: who performed it.
    """
    from mlrun.query import logs
    from mlrun.redact import redact_text

    kept = 0
    with suppress(Exception):  # a log that cannot be had must not hide how the job ended
        printed = list(job.logs())[-_KEPT:]
        if not printed:
            return 0
        known = Counter(logs(store, run_id)["line"].to_list())
        fresh = []
        for line in printed:
            if known[line] > 0:
                known[line] -= 1
            else:
                fresh.append((now_us(), "stdout", redact_text(line)))
        if fresh:
            store.writer().text(project, run_id, fresh)
            kept = len(fresh)
    return kept
