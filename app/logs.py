"""Structured logs: one JSON object a line on stderr, each with the id of the request that it is about."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from mlrun.redact import redact_text

__all__ = ["JsonLines", "log", "request_id", "set_up"]

request_id: ContextVar[str] = ContextVar("request_id", default="")
log = logging.getLogger("mlrun.gateway")


class JsonLines(logging.Formatter):
    """Writes a record as JSON: time, level, event, request id, and the fields given as `extra={"fields": {…}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": redact_text(record.getMessage()),
        }
        if current := request_id.get():
            found["request_id"] = current
        found |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            found["traceback"] = redact_text(
                "".join(traceback.format_exception(record.exc_info[1]))
            )
        return json.dumps(found, ensure_ascii=False, default=str)


def set_up(level: str = "info") -> None:
    """Send what the gateway and its server log to stderr, as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("mlrun.gateway", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
    logging.getLogger("uvicorn.access").handlers = []
    logging.getLogger("uvicorn.access").propagate = False
