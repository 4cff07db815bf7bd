"""Project: a folder with a `project.yaml`, its functions, workflows, artifacts and parameters, and its runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, NotFound, did_you_mean
from mlrun.functions.function import Function
from mlrun.project.document import FILE, ProjectDocument
from mlrun.project.entries import (
    entry_of,
    from_anything,
    function_of,
    refresh,
    requirements_of,
)
from mlrun.project.projectartifacts import ProjectArtifacts
from mlrun.project.projectfacts import ProjectFacts
from mlrun.project.projectlists import ProjectLists

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from mlrun.store import Store

__all__ = ["Project"]


class Project(ProjectFacts, ProjectArtifacts, ProjectLists):
    """A project; made by `get_or_create_project`, `new_project` and `load_project`.

    Attributes:
        context: its folder; relative paths of its functions, workflows and artifacts mean files in it.
        trusted: False for one that was fetched from a URL: its files cannot lead out of its folder.
    """

    def __init__(
        self,
        document: ProjectDocument,
        context: str | PathLike[str] = ".",
        store: Store | None = None,
        *,
        trusted: bool = True,
    ) -> None:
        self._document = document
        self.context = Path(context).expanduser().absolute()
        self._given_store = store
        self.trusted = trusted
        self._functions: dict[str, Function] = {}
        self._workflows: dict[str, dict[str, Any]] = {}  # those that are functions of this process

    def __repr__(self) -> str:
        """Show its name and folder."""
        return f"Project({self.name!r}, context={str(self.context)!r})"

    # -- functions --------------------------------------------------------------------------------

    def set_function(
        self,
        func: Any = None,
        name: str = "",
        kind: str = "",
        image: str = "",
        handler: str = "",
        with_repo: bool = False,
        tag: str = "",
        requirements: str | Sequence[str] = (),
        requirements_file: str | PathLike[str] = "",
        resources: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Function:
        """Add a function, or set another in the place of the one with its name.

        Args:
            func: a file (`.py`, `.ipynb`, `.yaml`; path or URL), a callable or the method of a class, `package.train`,
                the name of a stored version, or a `Function`.
            name: default the file's or the callable's.
            kind: job (default), handler or local.
            image: container image; default the project's.
            handler: what of the code is called: `train`, `Trainer::fit`.
            with_repo: take the project's source, or its folder, along.
            tag: set when it is saved.
            requirements: pip requirements: a list or a file.
            requirements_file: a file of them.
            resources: `num_cpus`, `num_gpus`, `memory` (`"4Gi"` or bytes), `custom`.
            **fields: further fields of its spec: `env`, `replicas`, `retry`, `time_limit`, `description`, …

        Returns:
            The function; what is changed on it is the project's function, too.

        Example:
            >>> import mlrun
            >>> project = mlrun.get_or_create_project("doc", context="./doc")
            >>> def half(x: float):
            ...     return x / 2
            >>> fn = project.set_function(half)
            >>> project.run_function("half", params={"x": 3}, returns=["y"]).outputs["y"]
            1.5
        """
        if func is None or (isinstance(func, str) and not func):
            raise ConfigError("set_function needs a file, a callable or the name of one")
        needed = [
            *requirements_of(requirements, self.context, self.trusted),
            *requirements_of(requirements_file, self.context, self.trusted),
        ]
        given = {"name": name, "kind": kind, "image": image, "handler": handler, "tag": tag,
                 "requirements": needed, "resources": resources, **fields}  # fmt: skip
        if with_repo:
            given["source"] = self.source or "./"
        made = from_anything(self, func, given)
        if isinstance(func, Function):  # the very object goes on being changed by its owner
            func.spec, func.store, made = made.spec, made.store, func
        entry = {"name": made.name, **self._reference(func)}
        self._document.put_entry(
            "functions", {**entry, **({"with_repo": True} if with_repo else {})}
        )
        self._functions[made.name] = made
        return made

    def get_function(self, key: str, tag: str = "", copy_function: bool = False) -> Function:
        """Return a function: the project's of that name, else the stored version of that name.

        The file of a function is read again, so that what was edited since counts.

        Args:
            key: name, or `[project/]name[:tag][@hash]`.
            tag: of a stored version.
            copy_function: return a copy, whose changes are not the project's.

        Raises:
            NotFound: there is none.
        """
        entry = self._document.entry("functions", key)
        if entry is None or tag:
            return self._stored(key, tag)
        if key in self._functions:
            refresh(self, self._functions[key], entry)
        else:
            self._functions[key] = function_of(self, entry)
        found = self._functions[key]
        return found.copy() if copy_function else found

    def get_function_names(self) -> list[str]:
        """Return the names of its functions."""
        return [str(entry.get("name")) for entry in self._document.spec["functions"]]

    def get_function_objects(self) -> dict[str, Function]:
        """Return its functions by name."""
        return {name: self.get_function(name) for name in self.get_function_names()}

    def delete_function(self, name: str, delete_from_db: bool = False) -> None:
        """Take a function out of the project.

        Args:
            name: of the function.
            delete_from_db: forget its stored versions as well.

        Raises:
            NotFound: there is none.
        """
        from mlrun.functions.store import delete_versions

        found = self._document.drop_entry("functions", name)
        self._functions.pop(name, None)
        deleted = delete_versions(self.store, self.name, name) if delete_from_db else 0
        if not found and not deleted:
            raise NotFound(
                f"project {self.name!r} has no function {name!r}{did_you_mean(name, self.get_function_names())}"
            )

    def run_function(self, function: Any, handler: Any = "", name: str = "", **options: Any) -> Any:
        """Run a function of the project; inside a workflow, add a step.

        Args:
            function: its name, a `Function`, or a callable.
            handler: what of its code is called.
            name: of the run.
            **options: the arguments of `fn.run`, and `base_task` for its `runspec`; of a step also `after`, `cache`.

        Returns:
            A `RunView`; inside a workflow a `Step`.
        """
        from mlrun.project.running import run_in_project

        return run_in_project(self, function, {"handler": handler, "name": name, **options})

    # -- workflows --------------------------------------------------------------------------------

    def set_workflow(
        self,
        name: str,
        workflow_path: str | PathLike[str] | Callable[..., Any],
        handler: str = "",
        engine: str = "",
        schedule: Any = None,
        **args: Any,
    ) -> None:
        """Add a workflow: a Python file in the project's folder, with a function marked `@mlrun.workflow`.

        Args:
            name: of the workflow.
            workflow_path: the file, or the function itself; one that is in no file of the project is known to this
                process only, and is left out of `project.yaml`.
            handler: the function in the file, when there are several.
            engine: local or ray.
            schedule: a cron line: also store a schedule, for `mlrun scheduler`; saves the project.
            **args: arguments that the function gets when nobody gives others.
        """
        from mlrun.project.running import workflow_entry

        said = {"handler": handler, "engine": engine, "args": args}
        entry = {
            **workflow_entry(self, name, workflow_path),
            **{k: v for k, v in said.items() if v},
        }
        if "function" in entry:
            self._workflows[name] = entry
        else:
            self._workflows.pop(name, None)
            self._document.put_entry("workflows", entry)
        if schedule is not None:
            self.run(name, schedule=schedule)

    def run(
        self,
        name: str | Callable[..., Any] = "",
        workflow_path: str = "",
        arguments: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run a workflow to its end, and return the view of its run.

        Args:
            name: of a workflow of the project; not needed when there is one. Or a function marked `@mlrun.workflow`.
            workflow_path: a file, instead.
            arguments: of its function.
            **options: `workflow_handler`, `engine` (local or ray), `executor`, `resume` (id of a failed run of it: what
                it has completed is taken), `cache`, `notifications`, `labels`, `store`, `timeout`, `watch` (False: go
                on beside the caller), `schedule` (a cron line: run it by the clock instead).

        Raises:
            NotFound: there is no such workflow.
            RunError: it ended in error; `.run` is its view.
        """
        from mlrun.project.running import run_workflow_of

        return run_workflow_of(self, name, workflow_path, arguments, **options)

    def get_workflow(self, name: str) -> dict[str, Any]:
        """Return the entry of a workflow; NotFound if there is none."""
        found = self._workflows.get(name) or self._document.entry("workflows", name)
        if found is None:
            known = self.get_workflow_names()
            raise NotFound(
                f"project {self.name!r} has no workflow {name!r}{did_you_mean(name, known)}"
            )
        return dict(found)

    def get_workflow_names(self) -> list[str]:
        """Return the names of its workflows."""
        kept = [str(w.get("name")) for w in self._document.spec["workflows"]]
        return list(dict.fromkeys([*kept, *self._workflows]))

    # -- keep -------------------------------------------------------------------------------------

    def setup(self, save: bool = True) -> Project:
        """Run `setup(project)` of `project_setup.py` in its folder, if there is one; returns the project."""
        from mlrun.project.setup import run_setup

        found = run_setup(self)
        if save:
            found.save()
        return found

    def save(self, file: bool = True) -> Project:
        """Store the project and the versions of its functions and, unless `file` is False, write `project.yaml`."""
        from mlrun.config import settings
        from mlrun.project.records import save_document

        document = self._described()
        if settings().mode != "disabled":
            save_document(self.store, document)
            for function in self._functions.values():
                function.save()
        if file:
            document.write(self.context / FILE)
        return self

    def export(self, filepath: str | PathLike[str] = "") -> Path:
        """Write its YAML to a file, or its whole folder to a `.zip`; returns the path."""
        target = Path(filepath or self.context / FILE)
        if target.suffix.lower() == ".zip":
            from mlrun.project.packing import pack

            self._described().write(self.context / FILE)
            return pack(self.context, target)
        self._described().write(target)
        return target

    def to_dict(self) -> dict[str, Any]:
        """Return what `project.yaml` holds."""
        return self._described().to_dict()

    def to_yaml(self) -> str:
        """Return the text of its `project.yaml`."""
        return self._described().to_yaml()

    def _described(self) -> ProjectDocument:
        """Return its document, with its functions as they are now."""
        for name, function in self._functions.items():
            before = self._document.entry("functions", name) or {"name": name}
            self._document.put_entry("functions", entry_of(self, function, before))
        return self._document

    def _stored(self, key: str, tag: str) -> Function:
        from mlrun.functions.making import import_function

        try:
            return import_function(f"{key}:{tag}" if tag else key, self.name, store=self.store)
        except (NotFound, ConfigError) as error:
            hint = did_you_mean(key, self.get_function_names())
            raise NotFound(f"project {self.name!r} has no function {key!r}{hint}") from error

    def _reference(self, func: Any) -> dict[str, Any]:
        """Return how an entry points at what a function was made of; empty when it holds the function itself."""
        if callable(func) or isinstance(func, Function):
            return {}
        path = Path(self.context, str(func)).absolute()
        if path.is_file() and path.is_relative_to(self.context):
            return {"url": path.relative_to(self.context).as_posix()}
        return {"url": str(path) if path.is_file() else str(func)}
