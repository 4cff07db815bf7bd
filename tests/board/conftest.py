from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import streamlit
import streamlit.logger
from streamlit.testing.v1 import AppTest

from mlrun.app.board import address, session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_SHELL = """
from mlrun.app.board.shell import open_page
open_page({page!r})()
"""


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """Take back what Streamlit does to the loggers of servers: other tests of this process start some."""
    yield
    for name in ("uvicorn", "uvicorn.access", "uvicorn.asgi", "uvicorn.error", "websockets"):
        found = logging.getLogger(name)
        if name in streamlit.logger._loggers:
            del streamlit.logger._loggers[name]
            found.removeHandler(vars(found).pop("streamlit_console_handler"))
            found.propagate = True
            found.setLevel(logging.NOTSET)


def _noted(page: str, **given: Any) -> None:
    """Note where a page went, instead of going there."""
    streamlit.session_state["_went"] = (page, given)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Draw one page, as the shell would, with parameters in its address; the page it went to is `_went`."""

    def draw(page: str, /, **parameters: Any) -> AppTest:
        test = AppTest.from_string(_SHELL.format(page=page), default_timeout=60)
        for name, value in parameters.items():
            test.query_params[name] = value
        monkeypatch.setattr(session, "_alone", lambda: True)
        monkeypatch.setattr(address, "go", _noted)
        return test.run()

    return draw


def shown(test: AppTest) -> str:
    """Return all text of a page."""
    kinds = (
        "title",
        "header",
        "subheader",
        "markdown",
        "caption",
        "code",
        "text",
        "error",
        "warning",
        "info",
    )
    found: list[Any] = [e for kind in kinds for e in test.get(kind)]
    return "\n".join(str(e.value) for e in found)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a headless Chromium, for one module: while it is open an event loop runs, which other tests cannot use."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=_QUIET)
        yield chromium
        chromium.close()


def free_port() -> int:
    """Return a port of this host that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class Dashboard:
    """`mlrun ui` over a store, in a process of its own."""

    def __init__(self, dbpath: str, port: int = 0, **environ: str) -> None:
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            sys.executable,
            "-m",
            "mlrun.cli",
            "ui",
            "--no-browser",
            "--port",
            str(port),
        ]
        env = {**os.environ, "MLRUN_DBPATH": dbpath, **environ}
        self.process = subprocess.Popen(command, env=env)
        until = time.monotonic() + 60
        while True:
            try:
                urlopen(f"{self.url}/_stcore/health", timeout=2).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def at(self, page: str, **parameters: Any) -> str:
        """Return the address of a page."""
        told = urlencode(parameters, doseq=True)
        return f"{self.url}/{page}" + (f"?{told}" if told else "")

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Shared:
    """One dashboard for all tests, over a link that leads to the store of the test: a start takes seconds."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.running: Dashboard | None = None

    def over(self, folder: str) -> Dashboard:
        """Return the dashboard over a store; it opens the store anew, because another one is at its place."""
        self.place.unlink(missing_ok=True)
        self.place.symlink_to(folder, target_is_directory=True)
        self.running = self.running or Dashboard(str(self.place))
        return self.running


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    found = Shared(tmp_path_factory.mktemp("dashboard") / "store")
    yield found
    if found.running:
        found.running.close()


@pytest.fixture
def dashboard(browser: Any, shared: Shared) -> Callable[[str], Dashboard]:
    """Show a store in a dashboard, one after the other. Without a Chromium the test is skipped."""
    return shared.over


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """Return a page of a fresh browser session, 1280 pixels wide."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made = context.new_page()
    made.set_default_timeout(30_000)
    yield made
    context.close()
