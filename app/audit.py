"""The audit log: who changed what, from where, what it was before and what it is after."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.ids import now_us, uuid7
from mlrun.redact import redact_mapping
from mlrun.tables import AUDIT

from .logs import request_id

if TYPE_CHECKING:
    from mlrun.contracts import Op

    from .auth import Caller

__all__ = ["audit_op"]

_BYTES = 8_000  # of a value that is kept


def audit_op(
    caller: Caller,
    action: str,
    target: str,
    *,
    project: str | None = None,
    before: Any = None,
    after: Any = None,
) -> Op:
    """Return the op that notes a change; it goes into the transaction of the change itself.

    Args:
        caller: who.
        action: what was done, as `run.update`.
        target: to what: an id or a name.
        project: where.
        before: what the change found.
        after: what it left.
    """
    row = {
        "id": uuid7(),
        "time": now_us(),
        "actor": caller.name,
        "action": action,
        "project": project,
        "target": target[:1000],
        "before": _text(before),
        "after": _text(after),
        "address": caller.address,
        "request_id": request_id.get(),
    }
    return ("put", AUDIT.name, row)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    shown = redact_mapping(value) if isinstance(value, dict) else value
    text = json.dumps(shown, ensure_ascii=False, default=str)
    return text if len(text) <= _BYTES else json.dumps(f"{len(text)} characters")
