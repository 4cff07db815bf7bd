"""What is done before a gateway listens, so that no request waits for it while the event loop is at it.

The first request would build all routes and load what streams stand on (60 and 30 ms of the loop); and garbage would be
looked for, now and then, in the hundred thousand objects that libraries and routes are made of (100 ms a time).
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["build_routes", "keep_what_is_there"]


async def build_routes(app: FastAPI) -> None:
    """Ask every router of an app for what none of them has; past what counts and notes requests."""
    await anyio.lowlevel.checkpoint()  # loads what streams stand on
    scope = {
        "type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"",
        "root_path": "", "headers": [],
    }  # fmt: skip
    await app.router(scope, _nothing, _unheard)


async def _nothing() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _unheard(message: Any) -> None:
    """Take the answer: nobody asked."""


def keep_what_is_there() -> None:
    """Take all objects of the process out of the search for garbage; what is made from now on stays in it.

    For a process that is a gateway and nothing else: what was garbage already is never freed.
    """
    gc.freeze()
