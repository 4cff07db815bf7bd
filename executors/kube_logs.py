"""The log of a job on Kubernetes: followed while it runs, and kept here, so that no TTL can take it away.

In K8sJobMode the submitter's pod prints it, in SidecarMode a container beside the head; both are read through the API
server, each line behind its time, so that after a break only new lines are taken. In HTTPMode nobody prints it: then
the dashboard is asked, again through the API server.
"""

from __future__ import annotations

import base64
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .kube_client import KubeClient

__all__ = ["BROKEN", "DashboardLog", "KeptLog", "PodLog", "why_waiting"]

BROKEN = (ApiException, HTTPError, OSError, ValueError)
_KEPT = 200_000  # lines in memory
_PORT = 8265


class KeptLog:
    """Lines that one thread adds and others read, also while they are added."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._count = 0  # of all lines, those let go included
        self._ended = False

    def add(self, line: str) -> None:
        """Put a line behind the others."""
        with self._changed:
            self._lines.append(line)
            self._count += 1
            self._changed.notify_all()

    def end(self) -> None:
        """Say that no line will follow."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _beyond(self, at: int) -> bool:
        return self._ended or self._count > at

    def tail(self, count: int) -> list[str]:
        """Return the last lines."""
        with self._changed:
            return list(self._lines)[-count:]

    def lines(self, *, follow: bool) -> Iterator[str]:
        """Yield the lines; with `follow`, until the end."""
        at = 0
        while True:
            with self._changed:
                if follow:
                    self._changed.wait_for(partial(self._beyond, at))
                first = self._count - len(self._lines)
                at, found = max(at, first), list(self._lines)
                found = found[at - first :]
                ended = self._ended
            yield from found
            at += len(found)
            if not found and (ended or not follow):
                return


class PodLog:
    """The log of a container in the newest pod with some labels.

    Args:
        client: of the namespace.
        selector: the labels.
        container: empty for the pod's first.
    """

    def __init__(self, client: KubeClient, selector: str, container: str = "") -> None:
        self._client, self._selector, self._container = client, selector, container
        self._pod = ""
        self._last = ""  # time of the last line taken
        self._same = 0  # lines taken of that time
        self._response: Any = None

    def read(self, *, follow: bool, over: Callable[[], bool]) -> Iterator[str]:
        """Yield lines that were not yielded before; with `follow`, until the container ends or the line breaks.

        `over` is asked once the log is open, so that an `interrupt` just before is not missed.

        Raises:
            ApiException, HTTPError, OSError, ValueError: broken; call it again later.
        """
        container = self._find()
        if not container:
            return
        seen, same = self._last, self._same
        response = self._client.pod_log(self._pod, container, since=self._last, follow=follow)
        self._response = response
        try:
            if response.status != 200:
                raise ApiException(status=response.status, reason="log")
            if follow and over():
                return
            told = 0  # lines of the time `seen` that are told again
            for line in _text_lines(response, whole=follow):
                time, _, text = line.partition(" ")
                if seen and (time < seen or (time == seen and told < same)):
                    told += time == seen
                    continue
                self._same = self._same + 1 if time == self._last else 1
                self._last = time
                yield text
        finally:
            self._response = None
            response.close()

    def interrupt(self) -> None:
        """Break a `read` that waits in another thread."""
        if (response := self._response) is not None:
            try:
                response.shutdown()
            except Exception:  # noqa: BLE001 - it may end by itself at the same moment
                return

    def _find(self) -> str:
        """Choose the pod; returns the container to read, empty while it has printed nothing."""
        pods = self._client.pods(self._selector)
        if not pods:
            return ""
        pod = pods[-1]
        if pod["metadata"]["name"] != self._pod:
            self._pod, self._last, self._same = pod["metadata"]["name"], "", 0
        statuses = pod.get("status", {}).get("containerStatuses") or []
        name = self._container or pod["spec"]["containers"][0]["name"]
        states = {s["name"]: s.get("state", {}) for s in statuses}
        return name if {"running", "terminated"} & set(states.get(name, ())) else ""


class DashboardLog:
    """The log as Ray's dashboard has it, read through the API server.

    Args:
        client: of the namespace.
        cluster: the RayCluster.
        job_id: the Ray job's submission id.
    """

    def __init__(self, client: KubeClient, cluster: str, job_id: str) -> None:
        self._client, self._cluster, self._job_id = client, cluster, job_id
        self._taken = 0

    def read(self, *, follow: bool, over: Callable[[], bool]) -> Iterator[str]:
        """Yield the whole lines that were not yielded before; errors as `PodLog.read`."""
        text = str(self._ask(f"api/jobs/{self._job_id}/logs").get("logs", ""))
        whole = text if not follow else text[: text.rfind("\n") + 1]
        new, self._taken = whole[self._taken :], max(self._taken, len(whole))
        yield from new.splitlines()

    def state(self) -> str:
        """Return the Ray job's status, as Ray says it; errors as `PodLog.read`."""
        return str(self._ask(f"api/jobs/{self._job_id}").get("status", ""))

    def interrupt(self) -> None:
        """Nothing waits here."""

    def _ask(self, path: str) -> Any:
        headers = {}
        if token := self._client.secret(self._cluster).get("auth_token"):
            # `Authorization` is for the API server; Ray reads this one behind a proxy
            headers["X-Ray-Authorization"] = f"Bearer {base64.b64decode(token).decode()}"
        return self._client.proxied(f"{self._cluster}-head-svc:{_PORT}", path, headers)


def why_waiting(client: KubeClient, selector: str) -> str:
    """Return what the pods with these labels wait for (an image, a node), empty if for nothing."""
    found = []
    for pod in client.pods(selector):
        status = pod.get("status", {})
        waits = [
            c["state"]["waiting"]
            for c in status.get("containerStatuses") or []
            if "waiting" in c.get("state", {})
        ]
        waits += [c for c in status.get("conditions") or [] if c.get("reason") == "Unschedulable"]
        found += [f"{w.get('reason')}: {w.get('message', '')}".rstrip(": ") for w in waits]
    return "; ".join(dict.fromkeys(found))[:1000]


def _text_lines(response: Any, *, whole: bool) -> Iterator[str]:
    rest = b""
    for chunk in response.stream(amt=65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
    if rest and not whole:  # half a line, where more may come, is told again
        yield rest.decode("utf-8", "replace")
