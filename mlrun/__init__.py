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
    map_table,
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
    from mlrun.functions.function import Function
    from mlrun.functions.making import code_to_function, import_function, new_function
    from mlrun.functions.module import function_to_module
    from mlrun.functions.template import new_task
    from mlrun.hyper.options import HyperParamOptions
    from mlrun.packing.hints import LogHint
    from mlrun.project.active import get_current_project
    from mlrun.project.open import get_or_create_project, load_project, new_project
    from mlrun.project.project import Project
    from mlrun.project.running import run_function
    from mlrun.view import RunView
    from mlrun.workflows.notification import Notification
    from mlrun.workflows.workflow import on_exit, workflow

__version__ = "0.1.0"

__all__ = [
    "Audio",
    "DataItem",
    "Function",
    "Histogram",
    "Html",
    "HyperParamOptions",
    "Image",
    "LogHint",
    "Notification",
    "Project",
    "Run",
    "RunView",
    "Table",
    "Video",
    "artifacts",
    "code_to_function",
    "compact",
    "current_run",
    "delete_runs",
    "errors",
    "function_to_module",
    "get_artifact",
    "get_current_project",
    "get_or_create_ctx",
    "get_or_create_project",
    "get_run",
    "handler",
    "import_function",
    "init",
    "load_project",
    "log",
    "logs",
    "map_table",
    "metrics",
    "new_function",
    "new_project",
    "new_task",
    "on_exit",
    "open_store",
    "params",
    "projects",
    "run_function",
    "runs",
    "sql",
    "workflow",
]

# classes that the tracking path does not need are loaded when somebody names them
_LAZY = {
    "Audio": "mlrun.content.media",
    "DataItem": "mlrun.content.dataitem",
    "Function": "mlrun.functions.function",
    "Histogram": "mlrun.content.media",
    "Html": "mlrun.content.media",
    "HyperParamOptions": "mlrun.hyper.options",
    "Image": "mlrun.content.media",
    "LogHint": "mlrun.packing.hints",
    "Notification": "mlrun.workflows.notification",
    "Project": "mlrun.project.project",
    "RunView": "mlrun.view",
    "Table": "mlrun.content.media",
    "Video": "mlrun.content.media",
    "code_to_function": "mlrun.functions.making",
    "function_to_module": "mlrun.functions.module",
    "get_current_project": "mlrun.project.active",
    "get_or_create_ctx": "mlrun.execution.context",
    "get_or_create_project": "mlrun.project.open",
    "handler": "mlrun.execution.decorator",
    "import_function": "mlrun.functions.making",
    "load_project": "mlrun.project.open",
    "new_function": "mlrun.functions.making",
    "new_project": "mlrun.project.open",
    "new_task": "mlrun.functions.template",
    "on_exit": "mlrun.workflows.workflow",
    "run_function": "mlrun.project.running",
    "workflow": "mlrun.workflows.workflow",
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
