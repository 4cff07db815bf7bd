"""The absorber's last step: keep the rollup files few, for a chart opens each that has something of its series.

The points are in the stores by now, and the slots of dead writers are free again: what happens here costs time only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.contracts import CanGather
from mlrun.errors import StoreError
from mlrun.notices import warn
from mlrun.tables import ROLLUPS

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["gather_rollups"]


def gather_rollups(store: Store) -> None:
    """Merge small rollup files if many have gathered, in a store that can.

    A failure is told and does not fail what was absorbed: a damaged file stays as it is, for `doctor`.
    """
    if isinstance(store.series, CanGather):
        try:
            store.series.gather(ROLLUPS)
        except StoreError as error:
            warn(f"rollup files are not merged: {error}")
