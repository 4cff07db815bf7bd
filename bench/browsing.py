"""A dashboard in a real browser: started over a store, opened, and waited for until it can be used."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from bench.children import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["browser", "chromium", "free_port", "interactive", "served"]

_QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
# the script of the page has run, nothing is on its way, and there is something to see
_INTERACTIVE = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  if (!app || app.dataset.testScriptState !== "notRunning") return false;
  if (document.querySelector('[data-testid="stSkeleton"], [data-testid="stSpinner"]')) return false;
  return !!document.querySelector('[data-testid="stMain"] h1');
}"""


def chromium() -> str | None:
    """Return the Chromium of this host; None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browser() -> Iterator[Any]:
    """Return a page of a headless Chromium, 1280 pixels wide."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=_QUIET)
        page = running.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(60_000)
        yield page
        running.close()


def interactive(page: Any, act: Callable[[], Any]) -> float:
    """Return the seconds from an action until the page that it leads to can be used."""
    begin = time.perf_counter()
    act()
    page.wait_for_function(_INTERACTIVE, polling=10)
    return time.perf_counter() - begin


def free_port() -> int:
    """Return a port of this host that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def served(command: Sequence[str], url: str, extra: Mapping[str, str]) -> Iterator[None]:
    """Run a server until the block ends; waits until `url` answers."""
    process = subprocess.Popen(
        list(command), env=environment(extra), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urlopen(url, timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):  # workers that a server leaves when it ends
            os.killpg(process.pid, signal.SIGKILL)
