"""Leases: what only one host may do at a time, kept in the records store; whoever stops renewing one loses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.contracts import CanRollUp
from mlrun.errors import ConfigError, RowConflict
from mlrun.ids import now_us
from mlrun.journal.host import host_name, machine_id
from mlrun.tables import LEASES

if TYPE_CHECKING:
    from typing import Any

    from mlrun.contracts import Op, Records
    from mlrun.store import Store

__all__ = [
    "COMPACT",
    "MIRROR",
    "RENEW",
    "SECONDS",
    "give_back",
    "holder_of",
    "need_no_other_host",
    "take",
]

MIRROR = "mirror"  # to have a journal of writers elsewhere, before a series store that commits no small batches
COMPACT = "compact"  # until when nobody has to do so again
SECONDS = 90.0
RENEW = 20.0


def holder_of(store: Store) -> str:
    """Return the name under which gateways of this host hold leases of a store; those of one folder share it."""
    return f"{machine_id()}:{store.journal}"


def take(
    records: Records, name: str, holder: str, seconds: float = SECONDS, *, place: str = ""
) -> str:
    """Take a lease, or renew it.

    Args:
        records: where leases are.
        name: of the lease.
        holder: who takes it.
        seconds: how long it lasts if it is not renewed.
        place: where the holder is, for people.

    Returns:
        Where somebody else is who has it; empty if it was taken.
    """
    while True:
        found = _held(records, name)
        now = now_us()
        if found["holder"] not in (None, holder) and found["expires_at"] > now:
            return str(found["place"] or found["holder"])
        taken = found["taken_at"] if found["holder"] == holder else now
        row = {
            "name": name, "holder": holder, "place": place or host_name(), "taken_at": taken,
            "expires_at": now + int(seconds * 1e6),
        }  # fmt: skip
        seen: Op = ("expect", LEASES.name, {"name": name, **found})
        try:
            records.apply([seen, ("put", LEASES.name, row)])
        except RowConflict:
            continue  # somebody else was first: who is it?
        return ""


def give_back(records: Records, name: str, holder: str) -> None:
    """Let go of a lease; nothing happens when somebody else has it."""
    seen: Op = ("expect", LEASES.name, {"name": name, "holder": holder})
    try:
        records.apply([seen, ("del", LEASES.name, {"name": name})])
    except RowConflict:
        return


def need_no_other_host(store: Store) -> None:
    """Refuse to serve a store for which another host keeps a journal.

    Raises:
        ConfigError: one does; several hosts may serve a store whose series store commits every batch.
    """
    if isinstance(store.series, CanRollUp):
        return
    found = _held(store.records, MIRROR)
    if found["holder"] not in (None, holder_of(store)) and found["expires_at"] > now_us():
        raise ConfigError(
            f"a gateway at {found['place'] or 'another place'} serves this store already, and what is uploaded there "
            "is not seen here before it is absorbed: stop it, or keep the series in ClickHouse, which several may serve"
        )


def _held(records: Records, name: str) -> dict[str, Any]:
    rows = records.lookup(LEASES, {"name": name})
    return {c: rows[0][c] if rows else None for c in ("holder", "place", "taken_at", "expires_at")}
