"""The logger of a run: lines on stderr, where the run's console hears them."""

from __future__ import annotations

import logging
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["RunLogger"]


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger of the standard library whose calls take further facts by name: `logger.info("read", rows=3)`.

    Everything from INFO on goes to stderr, in one line; `setLevel` of the logger `mlrun.run` says otherwise.
    """

    def __init__(self) -> None:
        found = logging.getLogger("mlrun.run")
        if not found.handlers:
            found.addHandler(_ToStderr())
            found.propagate = False
        if found.level == logging.NOTSET:
            found.setLevel(logging.INFO)
        super().__init__(found)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Put the facts behind the message."""
        known = {k: kwargs.pop(k) for k in ("exc_info", "stack_info", "stacklevel") if k in kwargs}
        facts = {**(kwargs.pop("extra", None) or {}), **kwargs}
        return msg, {**known, "extra": {"facts": facts}}


class _ToStderr(logging.Handler):
    """Writes to what `sys.stderr` is at that moment: the console of a run may have taken its place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            at = datetime.fromtimestamp(record.created).strftime("%Y-%m-%d %H:%M:%S")
            facts = getattr(record, "facts", None)
            said = f"{self.format(record)} {facts}" if facts else self.format(record)
            sys.stderr.write(f"> {at} [{record.levelname.lower()}] {said}\n")
        except Exception:  # noqa: BLE001  a line that cannot be written must not end a training run
            self.handleError(record)
