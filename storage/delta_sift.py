"""Pick few rows out of many in a parquet file: Polars decodes the filter's columns first, and of others what matches.

Where most row groups hold some rows that match (one level of the rollups of a thousand runs), PyArrow would decode all
columns of all of them, which takes three times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    import pyarrow as pa

    from .delta_scan import Predicate

__all__ = ["sifted"]


def sifted(file: IO[bytes], where: Predicate, columns: Sequence[str]) -> pa.Table | None:
    """Return the matching rows of a file, text as text; None if it has to be read in another way.

    Args:
        file: opened, on this host.
        where: which rows.
        columns: names, in the order wanted.
    """
    import polars as pl

    try:
        found = pl.scan_parquet(file, parallel="auto").filter(_expression(where)).select(columns)
        return found.collect().rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return None  # a damaged file: the other reader says what is wrong with it


def _expression(where: Predicate) -> Any:
    """Return the predicate as Polars knows it."""
    import polars as pl

    terms = [pl.lit(value=True)]
    for column, values in where.members.items():
        plain = [_text(v) if isinstance(v, bytes) else v for v in values]
        known = [v for v in plain if v is not None]
        one = len(known) == 1
        terms.append(pl.col(column) == known[0] if one else pl.col(column).is_in(known))
    for limits, least in ((where.at_least, True), (where.at_most, False)):
        for column, limit in limits.items():
            end = pl.lit(limit, pl.Int64)
            if column.endswith("time"):
                end = end.cast(pl.Datetime("us", "UTC"))
            terms.append(pl.col(column) >= end if least else pl.col(column) <= end)
    return pl.all_horizontal(terms)


def _text(word: bytes) -> str | None:
    """Return a word of a filter; None if no file can hold it."""
    try:
        return word.decode()
    except UnicodeDecodeError:
        return None
