"""What became of the notifications of a run, recorded with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.errors import MlrunError
from mlrun.ids import now_us
from mlrun.notices import warn
from mlrun.tables import RUNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrun.store import Store

__all__ = ["record_sent"]


def record_sent(store: Store, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what `push` returned into the provenance of a run that has ended, as `notifications`; never raises."""
    from mlrun.execution.states import read_row

    try:
        kept = json.loads(read_row(store, run_id)["provenance"] or "{}")
        kept["notifications"] = [dict(row) for row in rows]
        new = {"run_id": run_id, "provenance": json.dumps(kept), "updated_at": now_us()}
        store.records.apply([("put", RUNS.name, new)])
    except (MlrunError, OSError) as error:
        warn(f"what became of the notifications of run {run_id} is not recorded: {error}")
