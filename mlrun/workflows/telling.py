"""What became of the notifications of a run, recorded with it.

It is a label: the provenance of a run is still being gathered, and written as a whole, when its end is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.change import update_run
from mlrun.errors import MlrunError
from mlrun.notices import warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrun.store import Store

__all__ = ["NOTIFIED", "record_sent"]

NOTIFIED = "mlrun/notifications"


def record_sent(store: Store, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what `push` returned as the label `mlrun/notifications` of a run that has ended; never raises."""
    from mlrun.view import RunView

    try:
        known = RunView(store, run_id).labels
        told = [dict(row) for row in rows]
        update_run(store, run_id, labels={NOTIFIED: told}, known_labels=known)
    except (MlrunError, OSError) as error:
        warn(f"what became of the notifications of run {run_id} is not recorded: {error}")
