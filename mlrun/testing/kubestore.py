"""The resources of the test API server, with versions and the changes that watches are told."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from typing import Any, TypeAlias

__all__ = ["KubeError", "KubeStore"]

Resource: TypeAlias = dict[str, Any]
Resources: TypeAlias = list[Resource]
_REASONS = {401: "Unauthorized", 404: "NotFound", 409: "Conflict", 410: "Expired", 422: "Invalid"}


class KubeError(Exception):
    """An answer that is an error, as the API server tells it."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.reason = status, reason or _REASONS.get(status, "InternalError")

    def body(self) -> Resource:
        """Return it as the resource `Status`."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.status,
        }


class KubeStore:
    """All resources by kind, namespace and name; from any thread."""

    def __init__(self) -> None:
        self.closed = False
        self._changed = threading.Condition()
        self._items: dict[tuple[str, str, str], Resource] = {}
        self._version = 100
        self._oldest = 0
        self._events: list[tuple[int, str, str, str, Resource]] = []

    def close(self) -> None:
        """Wake and end everything that waits."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def create(self, plural: str, namespace: str, body: Resource) -> Resource:
        """Keep a new resource."""
        with self._changed:
            name = body["metadata"]["name"]
            if (plural, namespace, name) in self._items:
                raise KubeError(409, f'{plural} "{name}" already exists', "AlreadyExists")
            item = copy.deepcopy(body)
            item["metadata"] |= {
                "namespace": namespace,
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "creationTimestamp": now(),
            }
            return self._put("ADDED", plural, namespace, item)

    def get(self, plural: str, namespace: str, name: str) -> Resource:
        """Return a copy of a resource."""
        with self._changed:
            return copy.deepcopy(self._find(plural, namespace, name))

    def list(self, plural: str, namespace: str, selector: str = "") -> tuple[Resources, str]:
        """Return copies of all with these labels, and the version of the store."""
        with self._changed:
            found = [
                copy.deepcopy(item)
                for (kind, space, _), item in self._items.items()
                if kind == plural and space == namespace and _matches(item, selector)
            ]
            return found, str(self._version)

    def all(self, plural: str) -> Resources:
        """Return copies of all of a kind, whatever their namespace."""
        with self._changed:
            return [copy.deepcopy(i) for (kind, _, _), i in self._items.items() if kind == plural]

    def replace(self, plural: str, namespace: str, name: str, body: Resource) -> Resource:
        """Put a resource in the place of another; the version it was read at must be the current one."""
        with self._changed:
            old = self._find(plural, namespace, name)
            given = body["metadata"].get("resourceVersion")
            if given and given != old["metadata"]["resourceVersion"]:
                raise KubeError(409, f'{plural} "{name}": the object has been modified')
            item = {**copy.deepcopy(body), "status": old.get("status", {})}
            kept = ("namespace", "uid", "creationTimestamp", "generation")
            item["metadata"] |= {k: old["metadata"][k] for k in kept}
            item["metadata"]["generation"] += 1
            return self._put("MODIFIED", plural, namespace, item)

    def patch(
        self, plural: str, namespace: str, name: str, body: Resource, *, status: bool = False
    ) -> Resource:
        """Merge a patch (RFC 7386) into a resource, or into its status."""
        with self._changed:
            item = copy.deepcopy(self._find(plural, namespace, name))
            given = {"status": body.get("status", {})} if status else body
            return self._put("MODIFIED", plural, namespace, _merge(item, given))

    def delete(self, plural: str, namespace: str, name: str, *, uid: str = "") -> Resource:
        """Delete a resource: at once, or once its finalizers are gone."""
        with self._changed:
            item = copy.deepcopy(self._find(plural, namespace, name))
            if uid and item["metadata"]["uid"] != uid:
                raise KubeError(409, f"the UID in the precondition does not match {name}")
            if item["metadata"].get("finalizers"):
                if "deletionTimestamp" in item["metadata"]:
                    return item
                item["metadata"]["deletionTimestamp"] = now()
                return self._put("MODIFIED", plural, namespace, item)
            return self._drop(plural, namespace, item)

    def finalize(self, plural: str, namespace: str, name: str) -> None:
        """Let go of a resource that is being deleted."""
        with self._changed:
            item = copy.deepcopy(self._find(plural, namespace, name))
            item["metadata"].pop("finalizers", None)
            self._drop(plural, namespace, item)

    def events(
        self, plural: str, namespace: str, version: int, selector: str, seconds: float
    ) -> tuple[Resources, int]:
        """Return the changes after a version, waiting for one, and the version to go on from.

        Raises:
            KubeError: 410, the version is forgotten.
        """
        with self._changed:
            if version < self._oldest:
                raise KubeError(410, f"too old resource version: {version} ({self._oldest})")
            self._changed.wait_for(lambda: self.closed or self._version > version, seconds)
            found = [
                {"type": kind, "object": item}
                for at, kind, what, space, item in self._events
                if at > version
                and what == plural
                and space == namespace
                and _matches(item, selector)
            ]
            return found, self._version

    def forget(self) -> None:
        """Forget all changes until now."""
        with self._changed:
            self._events.clear()
            self._version += 1
            self._oldest = self._version

    def _find(self, plural: str, namespace: str, name: str) -> Resource:
        try:
            return self._items[plural, namespace, name]
        except KeyError:
            raise KubeError(404, f'{plural} "{name}" not found') from None

    def _put(self, kind: str, plural: str, namespace: str, item: Resource) -> Resource:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self._items[plural, namespace, item["metadata"]["name"]] = item
        return self._tell(kind, plural, namespace, item)

    def _drop(self, plural: str, namespace: str, item: Resource) -> Resource:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        del self._items[plural, namespace, item["metadata"]["name"]]
        return self._tell("DELETED", plural, namespace, item)

    def _tell(self, kind: str, plural: str, namespace: str, item: Resource) -> Resource:
        self._events.append((self._version, kind, plural, namespace, copy.deepcopy(item)))
        self._changed.notify_all()
        return copy.deepcopy(item)


def now() -> str:
    """Return the time as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _merge(into: Any, patch: Any) -> Any:
    if not isinstance(patch, dict) or not isinstance(into, dict):
        return copy.deepcopy(patch)
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        else:
            into[key] = _merge(into.get(key), value)
    return into


def _matches(item: Resource, selector: str) -> bool:
    labels = item["metadata"].get("labels", {})
    pairs = (part.split("=", 1) for part in selector.split(",") if part)
    return all(labels.get(key.strip()) == value.strip() for key, value in pairs)
