"""The one door to the wings: URL scheme or name -> class, ours first, then entry points.

mlrun itself imports no storage and no executor. A stranger's package registers under the entry-point groups
`mlrun.storages` and `mlrun.executors` and is reached in the same way.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlrun.errors import ConfigError, MissingExtra, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

__all__ = ["app_entry", "executor_class", "series_url", "storage_class"]

# scheme -> (module:class, extra that brings the driver)
_STORAGES = {
    "sqlite": ("mlrun.storage.sqlite:SQLiteRecords", ""),
    "delta": ("mlrun.storage.delta:DeltaSeries", ""),
    "delta+s3": ("mlrun.storage.delta:DeltaSeries", ""),
    "delta+gs": ("mlrun.storage.delta:DeltaSeries", ""),
    "delta+az": ("mlrun.storage.delta:DeltaSeries", ""),
    "file": ("mlrun.storage.files:FileObjects", ""),
    "s3": ("mlrun.storage.objectstore:BucketObjects", ""),
    "gs": ("mlrun.storage.objectstore:BucketObjects", ""),
    "az": ("mlrun.storage.objectstore:BucketObjects", ""),
    "http": ("mlrun.storage.gateway:Gateway", ""),
    "https": ("mlrun.storage.gateway:Gateway", ""),
    "clickhouse": ("mlrun.storage.clickhouse:ClickHouseSeries", "clickhouse"),
    "clickhouse+chdb": ("mlrun.storage.clickhouse:ClickHouseSeries", "chdb"),
    "postgresql": ("mlrun.storage.postgres:PostgresRecords", "postgres"),
}
_EXECUTORS = {
    "local": ("mlrun.executors.local:LocalExecutor", ""),
    "ray": ("mlrun.executors.ray_cluster:RayExecutor", "ray"),
    "ray-job": ("mlrun.executors.ray_job:RayJobExecutor", "ray"),
    "kuberay": ("mlrun.executors.kuberay:KubeRayExecutor", "k8s"),
}
_APPS = {
    "keys": ("mlrun.app.keys:Keys", ""),
    "project-secrets": ("mlrun.app.projectsecrets:ProjectSecrets", "server"),
    "server": ("mlrun.app.start:start", "server"),
    "ui": ("mlrun.app.ui:start", "dashboard"),
}


def series_url(url: str) -> str:
    """Return the URL of a series store; series in a bucket are Delta tables, whether their URL says so or not."""
    return f"delta+{url}" if urlsplit(url).scheme in {"s3", "gs", "az"} else url


def storage_class(url: str) -> Any:
    """Return the class that serves the scheme of `url`; call it with the whole URL.

    Raises:
        ConfigError: no storage has this scheme.
        MissingExtra: its driver is not installed; the message says which extra brings it.
    """
    scheme = urlsplit(url).scheme
    return _find(scheme, _STORAGES, "mlrun.storages", "storage", url=scheme)


def executor_class(name: str) -> Any:
    """Return the executor of that name; errors as `storage_class`."""
    return _find(name, _EXECUTORS, "mlrun.executors", "executor", url=name)


def app_entry(name: str) -> Any:
    """Return what starts a server of ours; errors as `storage_class`."""
    return _find(name, _APPS, "mlrun.apps", "server", url=name)


def _find(name: str, ours: dict[str, tuple[str, str]], group: str, what: str, *, url: str) -> Any:
    if name in ours:
        target, extra = ours[name]
        module, _, attribute = target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not extra or (error.name or "").startswith("mlrun"):
                raise
            raise MissingExtra.of(error.name or name, extra) from error
    for entry in _entry_points(group):
        if entry.name == name:
            return entry.load()
    known = sorted({*ours, *(e.name for e in _entry_points(group))})
    raise ConfigError(
        f"no {what} for {url!r}{did_you_mean(name, known)}; known: {', '.join(known)}"
    )


def _entry_points(group: str) -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points  # 25 ms, and seldom asked

    return entry_points(group=group)
