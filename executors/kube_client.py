"""The connection to a Kubernetes API server: how it is found, what is retried, what its errors say.

Requests that change nothing, and those that can be made twice, are made again after a broken connection, 429 or 5xx,
with growing, jittered pauses. A RayJob's name is made once, so that creating it is such a request too: if it is there
with our mark, the first attempt had come through.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernetes import client as api, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from mlrun.errors import ExecutorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .kube_options import KubeOptions

__all__ = ["MARK", "KubeClient", "pause"]

MARK = "mlrun/submission"  # annotation that tells our object from another of the same name

_GROUP, _VERSION = "ray.io", "v1"
_TIMEOUT = (5.0, 30.0)  # seconds to connect, seconds without a byte
_TRIES = 6
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_BROKEN = (HTTPError, OSError)
_config: Any = config  # typed in some releases only


def pause(attempt: int, *, first: float = 0.2, most: float = 10.0) -> float:
    """Return seconds to wait before another attempt: doubling, and anything between half of that and all of it."""
    return min(most, first * 2.0 ** min(attempt, 16)) * random.uniform(0.5, 1.0)


class KubeClient:
    """KubeRay's resources, pods and logs of one namespace.

    Raises:
        ExecutorError: there is no configuration, or no such context.
    """

    def __init__(self, options: KubeOptions) -> None:
        settings, namespace = _configuration(options)
        settings.retries = False  # ours know what can be made twice
        self.namespace = options.namespace or namespace or "default"
        self._api = api.ApiClient(settings)
        self.custom: Any = api.CustomObjectsApi(self._api)
        self.core: Any = api.CoreV1Api(self._api)

    def close(self) -> None:
        """Give the connections back."""
        self._api.rest_client.pool_manager.clear()

    def create(self, plural: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Make a resource, once: an object with our mark is ours, whatever the answers were.

        Raises:
            ExecutorError: refused, or not reached.
        """
        name, mark = manifest["metadata"]["name"], manifest["metadata"]["annotations"][MARK]

        def attempt() -> Any:
            try:
                return self.custom.create_namespaced_custom_object(
                    **self._place(plural), body=dict(manifest), _request_timeout=_TIMEOUT
                )
            except ApiException as error:
                if error.status != 409:
                    raise
                found = self.get(plural, name)
                if found is None:  # neither made nor there: somebody's lock, ask again
                    raise ApiException(status=503, reason=_reason(error)) from error
                if found["metadata"].get("annotations", {}).get(MARK) != mark:
                    raise
                return found

        found: dict[str, Any] = self.retried(f"create {plural} {name}", attempt)
        return found

    def replace(self, plural: str, manifest: Mapping[str, Any]) -> None:
        """Make a resource, or put the manifest in the place of the one that has its name."""
        name = manifest["metadata"]["name"]

        def attempt() -> Any:
            found = self.get(plural, name)
            if found is None:
                return self.create(plural, manifest)
            version = found["metadata"]["resourceVersion"]
            body = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}}
            try:
                return self.custom.replace_namespaced_custom_object(
                    **self._place(plural), name=name, body=body, _request_timeout=_TIMEOUT
                )
            except ApiException as error:
                if error.status in (404, 409):  # somebody was faster: read it again
                    raise ApiException(status=503, reason=_reason(error)) from error
                raise

        self.retried(f"replace {plural} {name}", attempt)

    def get(self, plural: str, name: str) -> dict[str, Any] | None:
        """Return a resource, None if there is none."""

        def attempt() -> Any:
            try:
                return self.custom.get_namespaced_custom_object(
                    **self._place(plural), name=name, _request_timeout=_TIMEOUT
                )
            except ApiException as error:
                if error.status == 404:
                    return None
                raise

        found: dict[str, Any] | None = self.retried(f"get {plural} {name}", attempt)
        return found

    def delete(self, plural: str, name: str, uid: str = "") -> bool:
        """Ask for the deletion of a resource after all that it owns; False if it is not there.

        Args:
            plural: its kind.
            name: its name.
            uid: its uid: another one that has got the name since is left alone.
        """
        body: dict[str, Any] = {"propagationPolicy": "Foreground"}
        if uid:
            body["preconditions"] = {"uid": uid}

        def attempt() -> bool:
            try:
                self.custom.delete_namespaced_custom_object(
                    **self._place(plural), name=name, body=body, _request_timeout=_TIMEOUT
                )
            except ApiException as error:
                if error.status == 404 or (
                    uid and error.status == 409 and self._is_other(plural, name, uid)
                ):
                    return False
                if error.status == 409:
                    raise ApiException(status=503, reason=_reason(error)) from error
                raise
            return True

        return bool(self.retried(f"delete {plural} {name}", attempt))

    def _is_other(self, plural: str, name: str, uid: str) -> bool:
        found = self.get(plural, name)
        return found is None or found["metadata"].get("uid") != uid

    def listed(self, plural: str, selector: str) -> tuple[list[dict[str, Any]], str]:
        """Return the resources with these labels, and the version to watch from; one attempt."""
        found: Any = self.custom.list_namespaced_custom_object(
            **self._place(plural), label_selector=selector, _request_timeout=_TIMEOUT
        )
        return found["items"], found["metadata"]["resourceVersion"]

    def watch(self, plural: str, selector: str, version: str, seconds: int) -> Any:
        """Return the open response of a watch, lines of JSON; one attempt."""
        return self.custom.list_namespaced_custom_object(
            **self._place(plural),
            label_selector=selector,
            resource_version=version,
            watch=True,
            allow_watch_bookmarks=True,
            timeout_seconds=seconds,
            _preload_content=False,
            _request_timeout=(_TIMEOUT[0], seconds + 10.0),
        )

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Return the pods with these labels, oldest first."""

        def attempt() -> Any:
            answer = self.core.list_namespaced_pod(
                namespace=self.namespace,
                label_selector=selector,
                _preload_content=False,
                _request_timeout=_TIMEOUT,
            )
            return _json(answer)

        items = self.retried("list pods", attempt)["items"]
        return sorted(items, key=lambda p: str(p["metadata"].get("creationTimestamp", "")))

    def pod_log(self, pod: str, container: str, *, since: str, follow: bool) -> Any:
        """Return the open response of a pod's log, each line behind its time; one attempt.

        Args:
            pod: its name.
            container: in it.
            since: RFC 3339 time; empty for the beginning.
            follow: until the container ends.
        """
        from datetime import datetime

        more: dict[str, Any] = {}
        if since:
            begin = datetime.fromisoformat(since[:19] + "+00:00")
            seconds = time.time() - begin.timestamp()
            more["since_seconds"] = max(1, int(seconds) + 2)  # told again lines are left out
        return self.core.read_namespaced_pod_log(
            name=pod,
            namespace=self.namespace,
            container=container,
            timestamps=True,
            follow=follow,
            _preload_content=False,
            _request_timeout=(_TIMEOUT[0], 60.0 if follow else _TIMEOUT[1]),
            **more,
        )

    def secret(self, name: str) -> dict[str, str]:
        """Return the data of a secret, in base64; empty if it is not there or not for us."""
        try:
            answer = self.core.read_namespaced_secret(
                name=name,
                namespace=self.namespace,
                _preload_content=False,
                _request_timeout=_TIMEOUT,
            )
            return dict(_json(answer).get("data") or {})
        except (ApiException, *_BROKEN):
            return {}

    def proxied(self, service: str, path: str, headers: Mapping[str, str]) -> Any:
        """Return what a service in the cluster answers to a GET through the API server, as JSON; one attempt."""
        answer = self.core.connect_get_namespaced_service_proxy_with_path(
            name=service,
            namespace=self.namespace,
            path=path,
            _preload_content=False,
            _request_timeout=_TIMEOUT,
            _headers=dict(headers),
        )
        return _json(answer)

    def retried(self, what: str, attempt: Callable[[], Any]) -> Any:
        """Make a request that can be made twice, again and again where that may help.

        Raises:
            ExecutorError: refused, or not reached in six attempts.
        """
        for number in range(_TRIES):
            try:
                return attempt()
            except ApiException as error:
                last = _reason(error)
                if error.status not in (0, 429) and (error.status or 0) < 500:
                    raise ExecutorError(f"Kubernetes refused to {what}: {last}") from error
            except _BROKEN as error:
                last = f"{type(error).__name__}: {error}"
            if number + 1 < _TRIES:
                time.sleep(pause(number))
        raise ExecutorError(f"could not {what}, the API server gave no answer: {last}")

    def _place(self, plural: str) -> dict[str, str]:
        return {
            "group": _GROUP,
            "version": _VERSION,
            "namespace": self.namespace,
            "plural": plural,
        }


def _json(answer: Any) -> Any:
    try:
        return json.loads(answer.data)
    finally:
        answer.release_conn()


def _reason(error: ApiException) -> str:
    """Return what the server said, without the headers and the body that the client's own text has."""
    try:
        body = json.loads(error.body or "")
        text = str(body.get("message") or error.reason)
    except (TypeError, ValueError, AttributeError):
        text = str(error.reason)
    return f"{error.status} {text[:1000]}"


def _configuration(options: KubeOptions) -> tuple[Any, str]:
    """Return the client's configuration and the namespace that goes with it."""
    import os

    settings = api.Configuration()
    given = options.kubeconfig or options.context or os.environ.get("KUBECONFIG")
    try:
        if not given and "KUBERNETES_SERVICE_HOST" in os.environ:
            _config.load_incluster_config(client_configuration=settings)
            return settings, _ACCOUNT.read_text().strip() if _ACCOUNT.exists() else ""
        file = options.kubeconfig or None
        _config.load_kube_config(
            config_file=file,
            context=options.context or None,
            client_configuration=settings,
            persist_config=False,
        )
        contexts, active = _config.list_kube_config_contexts(config_file=file)
    except _config.ConfigException as error:
        raise ExecutorError(f"kuberay: no cluster to talk to: {error}") from error
    chosen = next((c for c in contexts if c["name"] == options.context), active)
    return settings, str(chosen["context"].get("namespace") or "")
