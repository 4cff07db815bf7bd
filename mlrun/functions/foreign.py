"""Functions that mlrun/mlrun has exported: their `spec`, read into ours."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError
from mlrun.functions.resources import read_quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_foreign"]

_GPUS = ("nvidia.com/gpu", "amd.com/gpu")


def read_foreign(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `spec` with the fields of mlrun/mlrun renamed; one of ours comes back as it is.

    Its code lies in `build.functionSourceCode`, requests and limits in Kubernetes' own words, and `env` is a list.

    Raises:
        ConfigError: its code cannot be decoded.
    """
    out = dict(spec)
    if isinstance(out.get("env"), list):
        out["env"], out["secrets"] = _variables(out["env"], out.get("secrets") or {})
    if "default_handler" in out:
        out["handler"] = out.pop("default_handler") or out.get("handler") or ""
    resources = out.get("resources")
    if isinstance(resources, dict) and resources.keys() & {"limits", "requests"}:
        out["resources"] = _resources(resources)
    build = out.pop("build", None)
    if isinstance(build, dict):
        _read_build(out, dict(build))
    command, args = out.pop("command", ""), out.pop("args", [])
    if command and not out.get("code"):
        out["code"] = {"kind": "command", "path": command, "args": list(args or [])}
    return {k: v for k, v in out.items() if v not in (None, "", [], {})}


def _read_build(out: dict[str, Any], build: dict[str, Any]) -> None:
    text = build.pop("functionSourceCode", "")
    if text and not out.get("code"):
        origin = str(build.get("code_origin") or "").rpartition("/")[2].rpartition(":")[2]
        out["code"] = {
            "kind": "source", "text": _decoded(text),
            "filename": origin if origin.endswith(".py") else "handler.py",
        }  # fmt: skip
    if not out.get("image"):
        out["image"] = build.pop("image", "") or build.pop("base_image", "")
    if found := build.pop("requirements", None):
        out["requirements"] = list(found)
    if found := build.pop("source", None):
        out["source"] = found
    build.pop("code_origin", None)
    if rest := {k: v for k, v in build.items() if v not in (None, "", [], {})}:
        out["build"] = rest


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"functionSourceCode is no base64 of UTF-8 text: {error}") from error


def _variables(
    listed: list[Any], secrets: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    plain: dict[str, str] = {}
    found = dict(secrets)
    for item in listed:
        if not isinstance(item, dict) or "name" not in item:
            raise ConfigError(f"env is a mapping, or a list of name and value, not {item!r:.60}")
        held = (item.get("valueFrom") or {}).get("secretKeyRef")
        if held:
            found[item["name"]] = f"k8s:{held.get('name')}/{held.get('key')}"
        else:
            plain[item["name"]] = str(item.get("value", ""))
    return plain, found


def _resources(given: Mapping[str, Any]) -> dict[str, Any]:
    """Take the request of CPU and memory, which is what a scheduler counts, and the limit where there is none."""
    limits, requests = dict(given.get("limits") or {}), dict(given.get("requests") or {})
    wanted = {**limits, **{k: v for k, v in requests.items() if v not in (None, "", "0")}}
    out: dict[str, Any] = {}
    if wanted.get("cpu"):
        out["num_cpus"] = read_quantity(wanted.pop("cpu"))
    if wanted.get("memory"):
        out["memory"] = int(read_quantity(wanted.pop("memory")))
    for name in _GPUS:
        if wanted.get(name):
            out["num_gpus"] = read_quantity(wanted.pop(name))
    return out
