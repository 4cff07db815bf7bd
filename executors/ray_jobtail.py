"""The log of a running job, as its cluster sends it."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["tail"]


def tail(client: Any, job_id: str) -> Iterator[str]:
    """Yield whole lines until the job ends or the connection breaks.

    The client speaks asyncio only. It gets a loop in a thread of its own, so that callers may be in a loop too.
    """
    heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    listening = loop.create_task(_listen(client, job_id, heard))

    def run() -> None:
        try:
            loop.run_until_complete(asyncio.gather(listening, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            heard.put(None)
            loop.close()

    thread = threading.Thread(target=run, name=f"mlrun-tail-{job_id[-6:]}", daemon=True)
    thread.start()
    rest = ""
    try:
        while (text := heard.get()) is not None:
            *lines, rest = (rest + text).split("\n")
            yield from lines
        if rest:
            yield rest
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(listening.cancel)
            thread.join(5.0)


async def _listen(client: Any, job_id: str, heard: queue.SimpleQueue[str | None]) -> None:
    async for text in client.tail_job_logs(job_id):
        heard.put(text)
