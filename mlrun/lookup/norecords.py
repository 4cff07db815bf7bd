"""The records of a store that is not there: questions about it are answered, and make nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrun.contracts import Mark, RunQuery
    from mlrun.tables import Table

__all__ = ["NoRecords"]


class NoRecords:
    """A `RecordsView` without a row."""

    def marks(self) -> dict[str, Mark]:
        """No writer was ever absorbed."""
        return {}

    def scan(
        self,
        table: Table,
        *,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Sequence[Any]] | None = None,
    ) -> pa.Table:
        """Return no row, in the table's types."""
        none = pa.Table.from_batches([], table.schema)
        return none if columns is None else none.select(list(columns))

    def find(self, query: RunQuery) -> pa.Table:
        """Find nothing."""
        return pa.Table.from_batches([], pa.schema([("run_id", pa.string())]))
