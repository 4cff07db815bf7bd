"""One Ray session a process: joined where there is one, else started on the loopback address and behind a token.

A session that we start is nobody else's: it listens on 127.0.0.1 only, its token lies in a 0600 file of its temporary
folder, nothing is written into the user's home, and no usage is reported. It ends when the last executor of this
process closes, or with the process.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import sysconfig
import tempfile
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.advisorylock import FileLock
from mlrun.errors import ExecutorError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RayOptions", "acquire", "dashboard_url", "release"]

_ATTEMPTS = 3  # Ray gives a raylet 30 s to come up, which a busy host can miss
_FOLDER = "mlrun-ray-"
_TIDY = 5.0  # seconds that Ray's processes have to leave their folder
_LOOK_TIMEOUT = 1.0  # seconds for the connection that tells whether a noted cluster is still there


@dataclass(frozen=True)
class RayOptions:
    """What a started session is like; a joined one is as it is.

    Attributes:
        address: `host:port` of a cluster to join; None for `RAY_ADDRESS`, else what runs here, else a new one.
        num_cpus: cores of a new one; None for this host's.
        object_store_memory: bytes of a new one's shared memory; None for Ray's choice (30 % of the memory).
        dashboard: whether a new one serves its web page and the Jobs API, on 127.0.0.1.
    """

    address: str | None = None
    num_cpus: int | None = None
    object_store_memory: int | None = None
    dashboard: bool = False


@dataclass
class _Session:
    users: int = 0
    ours: bool = False
    pid: int = 0
    folder: str = ""
    dashboard: str = ""
    owner: FileLock | None = None
    environment: dict[str, str | None] = field(default_factory=dict)


_session = _Session()
_lock = threading.RLock()


def acquire(options: RayOptions) -> None:
    """Have a Ray session in this process; every call wants a `release`.

    Raises:
        ExecutorError: the cluster cannot be reached or started.
    """
    with _lock:
        # registered before Ray's own, so that it runs after it: the folder goes when its users are gone
        atexit.register(_forget_folder)
        import ray

        if not ray.is_initialized():
            address = options.address or os.environ.get("RAY_ADDRESS") or _running_here()
            _session.users, _session.ours = 0, not address
            if address:
                _join(address)
            else:
                _start(options)
        _session.users += 1


def release() -> None:
    """Give the session back; ends it when nobody else uses it and this process started it."""
    with _lock:
        _session.users = max(0, _session.users - 1)
        if _session.users or not _session.ours or _session.pid != os.getpid():
            return
        import ray

        ray.shutdown()
        _restore()
        _forget_folder()
        _session.ours = False


def dashboard_url() -> str:
    """Return where the Jobs API of this process's session is; empty if there is none."""
    import ray

    if not ray.is_initialized():
        return ""
    if _session.dashboard:
        return _session.dashboard
    node: Any = ray._private.worker._global_node
    url = getattr(node, "webui_url", "") or ""
    return url if not url or "://" in url else f"http://{url}"


def _running_here() -> str:
    """Return the address of a cluster that `ray start` left running on this host, if it still answers."""
    from ray._common import utils

    default: Any = utils.get_default_ray_temp_dir
    try:
        address = Path(default(), "ray_current_cluster").read_text("utf-8").strip()
    except OSError:
        return ""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _LOOK_TIMEOUT).close()
    except (OSError, ValueError):
        return ""
    return address


def _join(address: str) -> None:
    import ray

    if address.startswith(("http://", "https://")):
        raise ExecutorError(f"{address} is a Jobs API: take executor='ray-job' for it")
    if address.startswith("ray://"):
        raise ExecutorError(
            f"{address} is Ray's client protocol, which shares no memory: run this on a node of the cluster, or take "
            "executor='ray-job' with its http:// address"
        )
    try:
        with _undisturbed():
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except Exception as error:
        raise ExecutorError(f"no Ray cluster at {address}: {_first_line(error)}") from error


def _start(options: RayOptions) -> None:
    import ray

    _session.folder, _session.pid = _new_folder(), os.getpid()
    _prepare(_session.folder)
    for attempt in range(_ATTEMPTS):
        try:
            with _undisturbed(), _path_for_workers(), _own_parameters():
                context = ray.init(
                    address="local",
                    num_cpus=options.num_cpus,
                    object_store_memory=options.object_store_memory,
                    include_dashboard=options.dashboard,
                    dashboard_host="127.0.0.1",
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                    _temp_dir=_session.folder,
                )
        except Exception as error:
            with suppress(Exception):
                ray.shutdown()
            if attempt + 1 == _ATTEMPTS or "timed out" not in str(error):
                _restore()
                _forget_folder()
                raise ExecutorError(f"Ray could not be started: {_first_line(error)}") from error
        else:
            url = context.dashboard_url
            _session.dashboard = f"http://{url}" if url else ""
            return


def _prepare(folder: str) -> None:
    """Set what Ray reads from the environment: no usage reports, a token of our own, the loopback address."""
    token = Path(folder, "token")
    with os.fdopen(os.open(token, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    wanted = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # by default Linux listens on every address; this switch, named for two other systems, is what decides
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_enable_metrics_collection": "0",  # an open port of its own, and nobody asks there
        "RUNTIME_ENV_RETRY_TIMES": "1",  # what cannot be installed once cannot be installed three times
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_TRAIN_V2_ENABLED": "1",
    }
    if not _has_token():
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    _session.environment = {name: os.environ.get(name) for name in (*wanted, "RAY_AUTH_TOKEN")}
    if not _has_token():
        os.environ.pop("RAY_AUTH_TOKEN", None)  # another cluster's, and preferred to the file
    os.environ.update(wanted)
    _reread(loopback=True)


def _has_token() -> bool:
    """Whether the user has seen to Ray's authentication: without a token, Ray would leave one in the user's home."""
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode.lower() != "token":
        return bool(mode)
    given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(given) or Path("~/.ray/auth_token").expanduser().exists()


def _restore() -> None:
    for name, value in _session.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _session.environment, _session.dashboard = {}, ""
    _reread(loopback=False)


def _reread(*, loopback: bool) -> None:
    """Have a Ray that is already imported look at the environment again: it reads it when it is loaded."""
    with suppress(ImportError, AttributeError):
        from ray import _raylet
        from ray._private import ray_constants

        native: Any = _raylet
        native.Config.initialize("")
        native.AuthenticationTokenLoader.instance().reset_cache()
        ray_constants.ENABLE_RAY_CLUSTER = not loopback and sys.platform not in ("darwin", "win32")


def _new_folder() -> str:
    base = tempfile.gettempdir()
    if len(base) > 30:  # sockets lie in it, and their paths are at most 107 bytes long
        base = "/tmp"
    for old in Path(base).glob(_FOLDER + "*"):  # of processes that were killed
        with suppress(OSError, StoreError):
            lock = FileLock(old / "owner")
            if old.stat().st_uid == os.getuid() and lock.acquire(wait=False):
                shutil.rmtree(old, ignore_errors=True)
                lock.release()
    folder = tempfile.mkdtemp(prefix=_FOLDER, dir=base)
    _session.owner = FileLock(Path(folder, "owner"))
    _session.owner.acquire()
    return folder


def _forget_folder() -> None:
    if not _session.folder or _session.pid != os.getpid():
        return
    until = time.monotonic() + _TIDY
    while os.path.exists(
        _session.folder
    ):  # Ray's processes end a little later than it says, and write until then
        shutil.rmtree(_session.folder, ignore_errors=True)
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    _session.folder = ""
    if _session.owner is not None:
        _session.owner.release()
        _session.owner = None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the caller's SIGTERM handler, which Ray replaces, and Ray's warnings about itself to Ray."""
    main = threading.current_thread() is threading.main_thread()
    handler: Any = signal.getsignal(signal.SIGTERM) if main else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def _own_parameters() -> Iterator[None]:
    """Set what `ray.init` takes no word for.

    The Jobs API's agent gets a free port: it would take a fixed one, which a second Ray of the host lacks. The process
    that reads all logs ten times a second, to print them at the driver, is left out: ours prints none.
    """
    from ray._private import parameter

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    patched: Any = parameter
    params = patched.RayParams
    patched.RayParams = partial(params, dashboard_agent_listen_port=port, include_log_monitor=False)
    try:
        yield
    finally:
        patched.RayParams = params


@contextmanager
def _path_for_workers() -> Iterator[None]:
    """Let the workers find what this process finds: a checkout of mlrun, the folder of the user's code."""
    stock = {os.path.realpath(p) for p in sysconfig.get_paths().values()}
    own = [p for p in sys.path if p and os.path.isdir(p) and os.path.realpath(p) not in stock]
    before = os.environ.get("PYTHONPATH")
    parts = [*own, *(before or "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(p for p in parts if p))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
