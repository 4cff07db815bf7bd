"""mlrun: a dataframe-native ML platform in one library.

Track with `init`, `log` and the methods of `Run`; ask with `runs`, `metrics`, `params`, `artifacts`, `logs`, `projects`
and `sql`, whose answers are Polars frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

_HERE = Path(__file__).parent
if not (_HERE / "storage").is_dir():  # a checkout: its wings stand beside mlrun/, not inside
    __path__.append(str(_HERE.parent))

from mlrun import errors
from mlrun.tracking.current import current_run, log
from mlrun.tracking.run import Run
from mlrun.tracking.start import init
from mlrun.verbs import (
    artifacts,
    compact,
    delete_runs,
    get_artifact,
    get_run,
    logs,
    metrics,
    open_store,
    params,
    projects,
    runs,
    sql,
)

if TYPE_CHECKING:
    from mlrun.content.dataitem import DataItem
    from mlrun.content.media import Audio, Histogram, Html, Image, Table, Video
    from mlrun.execution.context import get_or_create_ctx
    from mlrun.execution.decorator import handler
    from mlrun.view import RunView

__version__ = "0.1.0"

__all__ = [
    "Audio",
    "DataItem",
    "Histogram",
    "Html",
    "Image",
    "Run",
    "RunView",
    "Table",
    "Video",
    "artifacts",
    "compact",
    "current_run",
    "delete_runs",
    "errors",
    "get_artifact",
    "get_or_create_ctx",
    "get_run",
    "handler",
    "init",
    "log",
    "logs",
    "metrics",
    "open_store",
    "params",
    "projects",
    "runs",
    "sql",
]

# classes that the tracking path does not need are loaded when somebody names them
_LAZY = {
    "Audio": "mlrun.content.media",
    "DataItem": "mlrun.content.dataitem",
    "Histogram": "mlrun.content.media",
    "Html": "mlrun.content.media",
    "Image": "mlrun.content.media",
    "RunView": "mlrun.view",
    "Table": "mlrun.content.media",
    "Video": "mlrun.content.media",
    "get_or_create_ctx": "mlrun.execution.context",
    "handler": "mlrun.execution.decorator",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(
            f"module 'mlrun' has no attribute {name!r}{errors.did_you_mean(name, __all__)}"
        )
    from importlib import import_module

    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
