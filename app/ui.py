"""The server of the dashboard: Streamlit on the loopback address, telling nobody anything.

Beyond this host it serves a gateway's store only, and every session signs in; see `board.session`.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from streamlit import config
from streamlit.web import bootstrap

from mlrun.asking import answering
from mlrun.errors import ConfigError

from .options import is_loopback
from .warming import warm

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.store import Store

__all__ = ["start"]

_SCRIPT = Path(__file__).with_name("dashboard.py")
_WAIT = 60.0  # seconds for the server to come up
# captions are the text at 60 %: it is as dark as that needs
_LIGHT = {"primaryColor": "#1a66b5", "linkColor": "#1a63b0", "textColor": "#0b131b"}
_DARK = {"primaryColor": "#5aa7f0", "linkColor": "#7bb8f3", "textColor": "#e8edf2"}


def start(
    store: Store,
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    browser: bool = True,
    allow_host: tuple[str, ...] = (),
    tls_cert: str = "",
    tls_key: str = "",
    listening: Callable[[dict[str, Any]], None] = lambda told: None,
) -> None:
    """Serve the dashboard of a store until it is interrupted.

    Args:
        store: what is shown.
        host: address to listen at.
        port: of it; 0 takes any that is free.
        browser: whether to open it in the user's browser.
        allow_host: names by which others reach it.
        tls_cert: certificate and its chain, PEM.
        tls_key: its private key, PEM.
        listening: told `url` once it answers.

    Raises:
        ConfigError: others could reach a store that has no gateway to tell them apart.
    """
    alone = is_loopback(host)
    if not alone and answering(store) is None:
        raise ConfigError(
            f"at {host} others reach the dashboard, and this store could not tell them apart: start `mlrun server`, "
            "make keys with `mlrun keys create`, and set MLRUN_DBPATH to its URL"
        )
    os.environ["MLRUN_DBPATH"] = store.url
    if not alone:
        os.environ["MLRUN_UI_SIGN_IN"] = "1"
        os.environ.pop(
            "MLRUN_API_KEY", None
        )  # it is the user's who started this, not the visitors'
    port = port or _free_port(host)
    scheme = "https" if tls_cert else "http"
    shown = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{shown}:{port}"
    _configure(host, port, alone, allow_host, tls_cert, tls_key)
    threading.Thread(target=_tell, args=(url, browser, listening), daemon=True).start()
    threading.Thread(target=warm, args=(store,), daemon=True).start()
    bootstrap.run(str(_SCRIPT), False, [], {})


def _configure(
    host: str, port: int, alone: bool, allow_host: tuple[str, ...], tls_cert: str, tls_key: str
) -> None:
    names = ["localhost", "127.0.0.1", "[::1]", *allow_host] if alone or allow_host else []
    options: dict[str, Any] = {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        "logger.hideWelcomeMessage": True,
        "logger.level": "warning",
        "runner.magicEnabled": False,
        "global.developmentMode": False,
        # pages set what a widget shows, from the address and from kept views, and that is as meant
        "global.disableWidgetStateDuplicationWarning": True,
        **({"server.allowedHosts": names} if names else {}),
        **({"server.sslCertFile": tls_cert, "server.sslKeyFile": tls_key} if tls_cert else {}),
        **{f"theme.light.{name}": value for name, value in _LIGHT.items()},
        **{f"theme.dark.{name}": value for name, value in _DARK.items()},
    }
    for name, value in options.items():
        config.set_option(name, value)


def _tell(url: str, browser: bool, listening: Callable[[dict[str, Any]], None]) -> None:
    """Say where the dashboard is as soon as it answers."""
    anyone = ssl._create_unverified_context() if url.startswith("https") else None
    end = time.monotonic() + _WAIT
    while time.monotonic() < end:
        try:
            urlopen(f"{url}/_stcore/health", timeout=2, context=anyone).close()
        except OSError:
            time.sleep(0.05)
            continue
        listening({"url": url})
        if browser:
            webbrowser.open(url)
        return


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        free.bind((host, 0))
        port: int = free.getsockname()[1]
        return port
