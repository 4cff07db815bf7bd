"""Functions of a project: entries of `project.yaml` made into functions, and back.

An entry points at a file (`url: trainer.py`, with what else was said of the function beside it), or holds the whole
function (`spec:`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.content.references import is_url, local_path
from mlrun.errors import ConfigError
from mlrun.functions.making import code_of_file, make
from mlrun.functions.requirements import read_requirements
from mlrun.functions.spec import FIELDS, FunctionSpec
from mlrun.project.source import inside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.functions.function import Function
    from mlrun.project.project import Project

__all__ = ["entry_of", "from_anything", "function_of", "refresh", "requirements_of"]

_SOURCES = (".py", ".ipynb")
# of an entry, and no field of a function
_OWN = ("url", "spec", "with_repo", "hash", "embed_code")
_NO_FIELDS = ("name", "project", "code", "context", "kind")


def function_of(project: Project, entry: Mapping[str, Any]) -> Function:
    """Return the function that an entry means.

    Raises:
        ConfigError: it has neither file nor spec, or leads out of a project that was fetched.
        NotFound: there is no such file.
    """
    name = str(entry.get("name") or "")
    if entry.get("spec"):
        spec = FunctionSpec.from_dict({"kind": "job", **dict(entry["spec"])})
        spec.name, spec.project, spec.context = (
            name or spec.name,
            project.name,
            str(project.context),
        )
        return _adapted(project, make_of(spec, project))
    if not entry.get("url"):
        raise ConfigError(f"function {name!r} of project {project.name!r} has neither url nor spec")
    fields = {k: v for k, v in entry.items() if k not in _OWN and k in FIELDS}
    fields["requirements"] = requirements_of(
        fields.get("requirements"), project.context, project.trusted
    )
    if entry.get("with_repo"):
        fields["source"] = fields.get("source") or project.source or "./"
    return from_anything(project, str(entry["url"]), fields)


def from_anything(project: Project, func: Any, fields: Mapping[str, Any]) -> Function:
    """Return a function of a project, made of whatever `set_function` takes."""
    text = os.fspath(func) if isinstance(func, (str, os.PathLike)) else ""
    if text and not project.trusted and not is_url(text) and _is_path(text):
        func = inside(project.context, local_path(text))
    made = make(
        func, context=project.context, store=project.store, look_in=project.name,
        **{**fields, "project": project.name},
    )  # fmt: skip
    return _adapted(project, made)


def make_of(spec: FunctionSpec, project: Project) -> Function:
    """Return the function of a whole spec."""
    from mlrun.functions.function import Function

    return Function(spec, project.store)


def _is_path(text: str) -> bool:
    return Path(text).suffix.lower() in (*_SOURCES, ".yaml", ".yml")


def _adapted(project: Project, made: Function) -> Function:
    """Give a function what its project has for all of them, where it says nothing itself."""
    spec = made.spec
    made.store = project.store
    spec.image = spec.image or project.default_image
    spec.requirements = list(dict.fromkeys([*project.requirements, *spec.requirements]))
    spec.node_selector = {**project.node_selector, **spec.node_selector}
    return made


def entry_of(project: Project, function: Function, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a function: what an earlier one says that we do not know is kept."""
    url = str(before.get("url") or "")
    if url and not url.endswith(_SOURCES):
        return dict(before)  # a YAML file, a module, a stored version: all is said there
    if not url:
        whole = function.to_dict()
        whole["metadata"].pop("project", None)
        return {**before, "name": function.name, "spec": whole}
    said = {k: v for k, v in function.spec.to_dict().items() if k not in _NO_FIELDS}
    own = [r for r in function.spec.requirements if r not in project.requirements]
    shared = {"image": project.default_image, "node_selector": project.node_selector}
    said = {k: v for k, v in said.items() if v != shared.get(k)}
    said = (
        {**said, "requirements": own}
        if own
        else {k: v for k, v in said.items() if k != "requirements"}
    )
    if before.get("with_repo") and said.get("source") in ("./", project.source):
        said.pop("source")
    kept = {k: v for k, v in before.items() if k in _OWN or k not in FIELDS}
    head = {"name": function.name, "url": url, "kind": function.kind}
    order = {**dict.fromkeys(before), **head, **said, **kept}
    return {k: v for k in order if (v := {**head, **said, **kept}.get(k)) is not None}


def refresh(project: Project, function: Function, entry: Mapping[str, Any]) -> None:
    """Read a function's file again: what was edited since counts from here on."""
    url = str(entry.get("url") or "")
    if not url.endswith(_SOURCES) or is_url(url) or function.spec.code.get("kind") != "source":
        return
    path = Path(project.context, local_path(url))
    if path.is_file():
        function.spec.code = code_of_file(path)


def requirements_of(given: Any, folder: Path, trusted: bool = True) -> list[str]:
    """Return requirements: a list, or a file in a project's folder, out of which it cannot lead unless trusted."""
    return read_requirements(given, str(folder), None if trusted else folder)
