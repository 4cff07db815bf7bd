"""The methods of `Run` that a handler needs of the context it is called with: inputs, secrets, child runs."""

from __future__ import annotations

from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from mlrun.errors import NotFound, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mlrun.content.dataitem import DataItem
    from mlrun.execution.task import Task
    from mlrun.tracking.run import Run
    from mlrun.tracking.runconfig import RunConfig
    from mlrun.tracking.runlogger import RunLogger

__all__ = ["RunContext"]


class RunContext:
    """What a run knows of the task that it performs; a run that `init` opened has none.

    Attributes:
        task: the task; None outside a handler.
        values: inputs that came as values, by name.
        checkpoints: who keeps the run's checkpoints; None for the store.
    """

    id: str
    project: str
    config: RunConfig
    _log: Callable[[Any, int | None], None]
    task: Task | None = None
    values: Mapping[str, Any] = MappingProxyType({})
    checkpoints: Any = None

    if TYPE_CHECKING:

        @property
        def store(self) -> Any:
            """Where the run is kept."""

        def flush(self) -> None:
            """Bring everything to disk."""

        def use_artifact(self, name: Any) -> DataItem:
            """Record that it is used."""

    @property
    def uid(self) -> str:
        """Its id."""
        return self.id

    @property
    def parameters(self) -> dict[str, Any]:
        """A copy of its params, nested."""
        return self.config.as_dict()

    @property
    def iteration(self) -> int:
        """Its number among the iterations of its parent; 0 for a run of its own."""
        return 0 if self.task is None else self.task.iteration or 0

    @property
    def inputs(self) -> dict[str, Any]:
        """What the run was given to read: paths, URLs or values by name; see `get_input`."""
        if self.task is None:
            return {}
        return {**self.task.inputs, **self.values}

    def get_input(self, key: str, url: Any = None) -> DataItem:
        """Return an input as a `DataItem`; that an artifact was used is recorded.

        Args:
            key: its name.
            url: what to read when the run was given no input of this name: a path, URL or artifact.

        Raises:
            NotFound: there is no such input, or it is not there.
        """
        from mlrun.execution.inputs import input_item

        given = self.inputs
        if key not in given and url is None:
            raise NotFound(f"no input {key!r}{did_you_mean(key, given)}")
        value = given.get(key, url)
        if isinstance(value, str) and value.startswith("store://") and self.store is not None:
            return self.use_artifact(value)
        return input_item(value, self.store, self.project, key)

    def get_dataitem(self, url: Any) -> DataItem:
        """Return a path, URL or artifact as a `DataItem`."""
        from mlrun.execution.inputs import input_item

        return input_item(url, self.store, self.project)

    def get_artifact(self, key: str, tag: str = "") -> DataItem:
        """Return an artifact of the run's project, as `use_artifact` does; `tag` is a version or an alias."""
        return self.use_artifact(f"{key}:{tag}" if tag else key)

    def get_project_param(self, key: str, default: Any = None) -> Any:
        """Return a parameter of the run's project, as it was stored last."""
        from mlrun.project.records import stored_document

        found = None if self.store is None else stored_document(self.store, self.project)
        return ((found or {}).get("spec", {}).get("params") or {}).get(key, default)

    @property
    def logger(self) -> RunLogger:
        """A logger whose lines go to stderr and become the run's: `context.logger.info("read", rows=3)`."""
        from mlrun.tracking.runlogger import RunLogger

        return RunLogger()

    def get_secret(self, key: str, default: str | None = None) -> str | None:
        """Return the value of a secret that the function or project refers to, or of the environment.

        The value is read where the work runs, is never recorded, and is hidden in what the run prints to errors.
        """
        from mlrun.execution.secrets import resolve_secret

        references = {} if self.task is None else self.task.secrets
        found: str | None = resolve_secret(key, references, default, (self.store, self.id))
        return found

    def get_child_context(
        self, with_parent_params: bool = False, **params: Any
    ) -> AbstractContextManager[Run]:
        """Open an iteration of this run, for a strategy of your own; use it in a `with` block.

        At the end of this run the iterations become its table, and the best one's results and artifacts its own.

        Args:
            with_parent_params: also give it this run's params.
            **params: its params.
        """
        from mlrun.execution.child import child_run

        return child_run(
            cast("Run", self), {**(self.parameters if with_parent_params else {}), **params}
        )

    def mark_as_best(self) -> None:
        """Say that this iteration is its parent's best one, whatever a selector says."""
        from mlrun.execution.child import mark_as_best

        mark_as_best(cast("Run", self))

    def update_child_iterations(self) -> int | None:
        """Make the table of the iterations opened so far, and take over the results and artifacts of the best.

        A run that a function performs does so by itself at its end.

        Returns:
            The best iteration; None if there is none.
        """
        from mlrun.execution.child import sum_up

        return sum_up(cast("Run", self))

    def save_checkpoint(self, place: str | Path) -> None:
        """Keep a copy of a folder or file, for this run to go on from when it is started again.

        Save before you log the metric of the same epoch: a scheduler may set the run aside as it is logged.

        Args:
            place: the folder, or one file.

        Raises:
            ConfigError: there is no such folder or file.
        """
        from mlrun.execution.checkpoints import save_checkpoint

        save_checkpoint(cast("Run", self), place)

    def load_checkpoint(self) -> Path | None:
        """Return the folder of the newest checkpoint, to be read only; None for a run that begins."""
        from mlrun.execution.checkpoints import load_checkpoint

        return load_checkpoint(cast("Run", self))

    def listen(self, heard: Callable[[Mapping[Any, Any], int | None], None]) -> None:
        """Have `heard(data, step)` called after every `log()` of this process from now on; its errors are dropped."""
        log = self._log

        def log_and_tell(data: Any, step: int | None) -> None:
            log(data, step)
            with suppress(Exception):  # a listener must not end a training run
                heard(data, step)

        self._log = log_and_tell

    def commit(self, message: str = "", completed: bool = False) -> None:
        """Bring everything logged so far to disk; what is logged is kept anyway, so no run needs it."""
        self.flush()
