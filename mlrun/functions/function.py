"""Function: what is run, with the methods that change what it needs and the one that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.config import settings as read_settings
from mlrun.errors import ConfigError, did_you_mean
from mlrun.functions.hashing import content_hash
from mlrun.functions.needing import as_needs, source_place
from mlrun.functions.requirements import read_requirements
from mlrun.functions.resources import check_resources, read_quantity
from mlrun.functions.spec import FIELDS, FunctionSpec, write_yaml
from mlrun.functions.uri import FunctionName
from mlrun.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlrun.execution.law import Needs
    from mlrun.functions.documentation import FunctionDoc
    from mlrun.functions.template import RunTemplate
    from mlrun.view import RunView
    from mlrun.workflows.schedule import Schedule
    from mlrun.workflows.step import Step

__all__ = ["Function"]


class Function:
    """A function: code, and what it needs to run.

    Made by `project.set_function`, `new_function`, `code_to_function` and `import_function`. Methods that change it
    return it, so that they can be chained. Every change of code or spec gives another `hash`; every version that is run
    or saved is stored and can be had again by `project/name@hash`.

    Attributes:
        spec: all that it is; see `FunctionSpec`.
        store: where its versions are kept; None for the store of the settings.
    """

    def __init__(self, spec: FunctionSpec, store: Store | None = None) -> None:
        self.spec = spec
        self.store = store

    def __repr__(self) -> str:
        """Show its exact name and kind."""
        return f"Function({self.uri!r}, kind={self.spec.kind!r})"

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def project(self) -> str:
        """The name of its project."""
        return self.spec.project

    @property
    def kind(self) -> str:
        """Its kind: job, handler or local."""
        return self.spec.kind

    @property
    def hash(self) -> str:
        """The hash of its code and spec as they are now: 40 hex digits."""
        return content_hash(self.spec)

    @property
    def uri(self) -> str:
        """The name of this very version: `project/name@hash`."""
        return str(FunctionName(self.spec.project, self.spec.name, "", self.hash))

    # -- run --------------------------------------------------------------------------------------

    def run(
        self,
        runspec: RunTemplate | Mapping[str, Any] | None = None,
        handler: str | Callable[..., Any] = "",
        name: str = "",
        project: str = "",
        params: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        *,
        returns: Sequence[Any] | str | None = None,
        hyperparams: Mapping[str, Any] | None = None,
        hyper_param_options: Any = None,
        local: bool = False,
        executor: Any = None,
        watch: bool = True,
        schedule: str | Schedule | None = None,
        store: Store | str | Path | None = None,
        **options: Any,
    ) -> RunView:
        """Run it.

        Args:
            runspec: a template made by `mlrun.new_task`; what is given here counts for more.
            handler: what of the code to call: `train`, `Trainer::fit`; default the function's own.
            name: of the run; default the function's.
            project: where the run belongs; default the function's.
            params: name -> JSON value; the handler gets them by name.
            inputs: name -> path, URL, artifact, `DataItem`, frame or any value.
            returns: how what is returned is kept: `["model:model", "accuracy"]`.
            hyperparams: name -> list of values: run it once for each combination.
            hyper_param_options: see `mlrun.HyperParamOptions`.
            local: perform it in this process; the same as executor="local".
            executor: local, ray, ray-job, kuberay, or an `Executor`; default `MLRUN_EXECUTOR`, else ray where a
                cluster is known, else local.
            watch: wait for its end, and raise if it ends in error.
            schedule: a cron line: store this call instead, for `mlrun scheduler` to make it by the clock.
            store: where the run is kept.
            **options: `labels`, `tags`, `notes`, `parent`, `secrets` (references), `retry`, `state_thresholds`,
                `time_limit`, `settings`, and what else `mlrun.execution.launch` takes.

        Raises:
            RunError: it ended in error; `.run` is its view.
            ConfigError: an argument has no meaning.

        Example:
            >>> import mlrun
            >>> def double(x: int):
            ...     return 2 * x
            >>> run = mlrun.new_function("double", handler=double).run(params={"x": 21}, returns=["y"])
            >>> run.outputs["y"], run.state
            (42, 'completed')
        """
        from mlrun.functions.running import run_function_object

        asked = {
            "handler": handler, "name": name, "project": project, "params": params, "inputs": inputs,
            "returns": returns, "hyperparams": hyperparams, "hyper_param_options": hyper_param_options,
            **options,
        }  # fmt: skip
        place: dict[str, Any] = {"local": local, "executor": executor, "watch": watch}
        view: RunView = run_function_object(
            self, runspec, asked, place, schedule=schedule, store=store
        )
        return view

    def as_step(self, runspec: Any = None, **options: Any) -> Step:
        """Add a run of it to the workflow whose function is being called; takes the arguments of `run`."""
        from mlrun.functions.running import step_of

        step: Step = step_of(self, runspec, options)
        return step

    def needs(self) -> Needs:
        """Return what it needs of the place where it runs; a source that is a URL is fetched for it."""
        return as_needs(self.spec)

    # -- keep -------------------------------------------------------------------------------------

    def save(self, tag: str = "") -> str:
        """Store this version, let `latest` and `tag` point at it, and return its exact name."""
        from mlrun.functions.store import save_version

        save_version(self._store(), self.spec, tag or self.spec.tag)
        return self.uri

    def versioned_uri(self, store: Store | None = None) -> str:
        """Return its exact name, which is stored by then, unless nothing is stored here."""
        if read_settings().mode != "disabled":
            from mlrun.functions.store import save_version

            save_version(store or self._store(), self.spec)
        return self.uri

    def to_dict(self) -> dict[str, Any]:
        """Return it as `function.yaml` holds it: `kind`, `metadata`, `spec`."""
        return self.spec.to_document()

    def to_yaml(self) -> str:
        """Return it as YAML."""
        return write_yaml(self.to_dict())

    def export(self, target: str | Path = "") -> Path:
        """Write it to a YAML file, with its code, and return the file's path; default `function.yaml`."""
        path = Path(target or "function.yaml")
        if path.is_dir():
            path = path / "function.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.to_yaml(), encoding="utf-8")
        return path

    def copy(self) -> Function:
        """Return a copy, whose changes do not change this one."""
        return Function(FunctionSpec.from_dict(self.spec.to_dict()), self.store)

    def doc(self) -> FunctionDoc:
        """Return what its code says of itself: handlers, parameters, outputs. Nothing is run."""
        from mlrun.functions.documentation import FunctionDoc, entry_points

        entries = entry_points(str(self.spec.code.get("text") or ""))
        return FunctionDoc(self.name, self.spec.description, self.spec.handler, entries)

    # -- change -----------------------------------------------------------------------------------

    def update(self, **changes: Any) -> Function:
        """Set fields of its spec by name.

        Raises:
            ConfigError: there is no such field.
        """
        for name in changes:
            if name not in FIELDS:
                raise ConfigError(f"a function has no field {name!r}{did_you_mean(name, FIELDS)}")
        if "resources" in changes:
            changes["resources"] = check_resources(changes["resources"])
        self.spec = FunctionSpec.from_dict({**self.spec.to_dict(), **changes})
        return self

    def with_code(self, from_file: str | Path = "", body: str = "") -> Function:
        """Give it the code of a file (`.py`, `.ipynb`), or of a text."""
        from mlrun.functions.making import code_of_file

        if bool(from_file) == bool(body):
            raise ConfigError("with_code takes a file, or body=, the text itself")
        filename = str(self.spec.code.get("filename") or "handler.py")
        self.spec.code = (
            code_of_file(Path(from_file)) if from_file
            else {"kind": "source", "text": body, "filename": filename}
        )  # fmt: skip
        return self

    def with_requirements(
        self,
        requirements: str | Sequence[str] = (),
        overwrite: bool = False,
        requirements_file: str | Path = "",
    ) -> Function:
        """Add pip requirements: a list, or a file of them."""
        found = [*read_requirements(requirements), *read_requirements(requirements_file)]
        before = [] if overwrite else self.spec.requirements
        self.spec.requirements = list(dict.fromkeys([*before, *found]))
        return self

    def with_source(self, source: str, workdir: str = "") -> Function:
        """Let a folder, archive or git URL of code come along; it is put on the import path."""
        self.spec.source, self.spec.workdir = str(source), workdir
        return self

    def set_env(self, name: str, value: Any) -> Function:
        """Set an environment variable, in clear; see `set_env_from_secret` for secrets."""
        self.spec.env[str(name)] = str(value)
        return self

    def set_envs(self, variables: Mapping[str, Any]) -> Function:
        """Set environment variables."""
        for name, value in variables.items():
            self.set_env(name, value)
        return self

    def get_env(self, name: str, default: str | None = None) -> str | None:
        """Return the value of an environment variable of the function."""
        return self.spec.env.get(name, default)

    def set_env_from_secret(self, name: str, secret: str, secret_key: str = "") -> Function:
        """Set an environment variable from a secret, which is read where the function runs.

        Args:
            name: of the variable.
            secret: a reference (`env:NAME`, `file:PATH`, `k8s:SECRET/KEY`), or the name of a Kubernetes secret.
            secret_key: key in the Kubernetes secret; default the variable's name.
        """
        from mlrun.execution.secrets import check_references

        reference = secret if ":" in secret else f"k8s:{secret}/{secret_key or name}"
        self.spec.secrets |= check_references({name: reference})
        return self

    def with_requests(self, mem: Any = None, cpu: Any = None) -> Function:
        """Say how much memory (`4Gi`, or bytes) and how many cores (`2`, `500m`) one process of it takes."""
        return self.with_limits(mem, cpu)

    def with_limits(self, mem: Any = None, cpu: Any = None, gpus: Any = None) -> Function:
        """Say how much memory, how many cores and devices one process of it takes.

        A request and a limit are one number here: a scheduler that gives more than it counted runs out of it.
        """
        new: dict[str, Any] = {"memory": mem, "num_cpus": cpu, "num_gpus": gpus}
        self.spec.resources |= check_resources({k: v for k, v in new.items() if v is not None})
        return self

    def with_resource(self, name: str, amount: float) -> Function:
        """Say how much of a resource of your own cluster one process of it takes."""
        custom = {**self.spec.resources.get("custom", {}), name: read_quantity(amount)}
        self.spec.resources |= check_resources({"custom": custom})
        return self

    def with_node_selection(self, node_selector: Mapping[str, Any]) -> Function:
        """Run it only on nodes with these labels."""
        self.spec.node_selector = {str(k): str(v) for k, v in node_selector.items()}
        return self

    def set_state_thresholds(self, state_thresholds: Mapping[str, Any]) -> Function:
        """Abort runs that stay in a phase for longer than this: `{"executing": "24h"}`; -1 for ever."""
        from mlrun.execution.thresholds import limits_of

        limits_of(state_thresholds)
        self.spec.state_thresholds |= dict(state_thresholds)
        return self

    def set_label(self, name: str, value: Any) -> Function:
        """Set a label."""
        self.spec.labels[str(name)] = value
        return self

    def source_folder(self) -> str:
        """Return where its source is: an absolute path, or a URL; empty if it has none."""
        return source_place(self.spec)

    def _store(self) -> Store:
        return self.store or open_store()
