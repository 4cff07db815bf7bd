"""One watch for all jobs of an executor: what the API server last said of each, kept current through any break.

The watch begins with a list and goes on from its version. A broken or silent connection is opened again from the last
version heard; a version that the server has forgotten (410 Gone) makes it list anew, and what is missing there is gone.
Between attempts it waits, longer each time and never in step with others.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from .kube_client import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .kube_client import KubeClient

__all__ = ["KubeWatch"]

_SECONDS = (
    240  # after which the server ends a watch by itself: middleboxes forget quiet connections
)


class KubeWatch:
    """The current state of all resources of a kind with some labels; from any thread.

    Args:
        client: of the namespace.
        plural: the kind.
        selector: the labels.

    Attributes:
        lists, opens: how often it has listed, and opened a watch.
    """

    def __init__(self, client: KubeClient, plural: str, selector: str) -> None:
        self.lists = self.opens = 0
        self._client, self._plural, self._selector = client, plural, selector
        self._changed = threading.Condition()
        self._known: dict[str, dict[str, Any]] = {}
        self._gone: set[str] = set()
        self._listeners: dict[str, Callable[[], object]] = {}
        self._closed = False
        self._response: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch, if it has not begun."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(
                    target=self._run, name="mlrun-kube-watch", daemon=True
                )
                self._thread.start()

    def note(self, found: dict[str, Any]) -> None:
        """Take in what a request has answered, if it is newer than what is known."""
        with self._changed:
            self._take(found)
            self._changed.notify_all()

    def get(self, name: str) -> tuple[dict[str, Any] | None, bool]:
        """Return what is known of a resource, and whether it is gone."""
        with self._changed:
            return self._known.get(name), name in self._gone

    def wait(self, seconds: float, until: Callable[[], bool]) -> bool:
        """Wait for `until()`, asked after every change; False when the time is over or the watch closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or until(), seconds)
            return until()

    def listen(self, name: str, heard: Callable[[], object]) -> None:
        """Call `heard()` after every change of a resource, from the watch's thread."""
        with self._changed:
            self._listeners[name] = heard

    def forget(self, name: str) -> None:
        """Let go of a resource that nobody asks for any more."""
        with self._changed:
            self._known.pop(name, None)
            self._listeners.pop(name, None)
            self._gone.discard(name)

    def close(self) -> None:
        """End the watch and its thread."""
        with self._changed:
            self._closed = True
            response, thread = self._response, self._thread
            self._changed.notify_all()
        if response is not None:
            with suppress(Exception):  # it may end by itself at the same moment
                response.shutdown()
        if thread is not None and thread is not threading.current_thread():
            thread.join(10.0)

    def _run(self) -> None:
        version, attempt = "", 0
        while not self._closed:
            try:
                if not version:
                    items, version = self._client.listed(self._plural, self._selector)
                    self._relisted(items, version)
                for event in self._events(version):
                    attempt = 0
                    version = self._heard(event)
                    if not version:
                        break
                else:
                    continue  # the server has ended it in its own time
            except ApiException as error:
                if error.status == 410:
                    version = ""
            except (HTTPError, OSError, ValueError):
                pass  # broken off, perhaps in the middle of a line: go on from the last version
            attempt += 1
            self.wait(pause(attempt - 1), lambda: False)

    def _relisted(self, items: list[dict[str, Any]], version: str) -> None:
        self.lists += 1
        with self._changed:
            names = {item["metadata"]["name"] for item in items}
            # what was made after the list was drawn up is missing in it, and not gone
            missing = {
                name
                for name, item in self._known.items()
                if name not in names and _version(item) <= int(version)
            }
            self._gone |= missing
            for item in items:
                self._take(item)
            self._changed.notify_all()
            listeners = list(self._listeners.values())
        for heard in listeners:
            heard()

    def _take(self, found: dict[str, Any], *, gone: bool = False) -> None:
        name = found["metadata"]["name"]
        old = self._known.get(name)
        if old is not None and _version(found) < _version(old):
            return
        self._known[name] = found
        if gone:
            self._gone.add(name)
        elif old is None or _version(found) > _version(old):
            self._gone.discard(name)

    def _events(self, version: str) -> Iterator[dict[str, Any]]:
        response = self._client.watch(self._plural, self._selector, version, _SECONDS)
        self.opens += 1
        with self._changed:
            self._response = response
            closed = self._closed
        try:
            if closed:
                return
            if response.status != 200:
                raise ApiException(status=response.status, reason="watch")
            yield from _json_lines(response)
        finally:
            with self._changed:
                self._response = None
            response.close()

    def _heard(self, event: dict[str, Any]) -> str:
        """Take in one event; returns the version to go on from, empty to list anew."""
        kind, found = event["type"], event["object"]
        if kind == "ERROR":
            if found.get("code") == 410:
                return ""
            raise ApiException(status=found.get("code", 500), reason=found.get("message"))
        version = str(found["metadata"]["resourceVersion"])
        if kind != "BOOKMARK":
            with self._changed:
                self._take(found, gone=kind == "DELETED")
                self._changed.notify_all()
                heard = self._listeners.get(found["metadata"]["name"])
            if heard is not None:
                heard()
        return version


def _version(found: dict[str, Any]) -> int:
    # versions of one kind are compared as numbers, which Kubernetes promises since 1.35 and always kept
    text = str(found["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


def _json_lines(response: Any) -> Iterator[dict[str, Any]]:
    rest = b""
    for chunk in response.stream(amt=65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
