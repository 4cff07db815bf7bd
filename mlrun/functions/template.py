"""RunTemplate: the arguments of a run, put together before the function is known."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RunTemplate", "new_task"]


@dataclass
class RunTemplate:
    """Arguments of `fn.run`; the `with_…` methods change it and return it.

    Attributes:
        name, project, handler, params, inputs, returns, labels, tags, notes, retry, secrets, hyperparams,
            hyper_param_options, state_thresholds, time_limit: as in `fn.run`.
    """

    name: str = ""
    project: str = ""
    handler: Any = ""
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    returns: list[Any] = field(default_factory=list)
    labels: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    notes: str = ""
    retry: Any = None
    secrets: dict[str, str] = field(default_factory=dict)
    hyperparams: dict[str, Any] = field(default_factory=dict)
    hyper_param_options: Any = None
    state_thresholds: dict[str, Any] = field(default_factory=dict)
    time_limit: Any = None

    @classmethod
    def of(cls, given: Any) -> RunTemplate:
        """Return a template of what is given: one, a dict of its fields, or nothing.

        Raises:
            ConfigError: an unknown field.
        """
        if given is None or isinstance(given, RunTemplate):
            return given or cls()
        if not hasattr(given, "items"):
            raise ConfigError(
                f"a run's template is made by new_task(), not a {type(given).__name__}"
            )
        known = [f.name for f in fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigError(f"a run's template has no {name!r}{did_you_mean(name, known)}")
        return cls(**given)

    def to_options(self) -> dict[str, Any]:
        """Return what it says, by the names of `fn.run`."""
        return {
            f.name: v
            for f in fields(self)
            if (v := getattr(self, f.name)) not in ("", None, {}, [])
        }

    def copy(self) -> RunTemplate:
        """Return a copy, whose changes do not change this one."""
        kept: dict[str, Any] = {
            f.name: v.copy()
            for f in fields(self)
            if isinstance(v := getattr(self, f.name), dict | list)
        }
        return replace(self, **kept)

    def with_params(self, **params: Any) -> RunTemplate:
        """Set params."""
        self.params |= params
        return self

    def with_input(self, key: str, value: Any) -> RunTemplate:
        """Set one input."""
        self.inputs[key] = value
        return self

    def with_hyper_params(
        self,
        hyperparams: Mapping[str, Any],
        selector: Any = None,
        strategy: str = "",
        **options: Any,
    ) -> RunTemplate:
        """Run it once for each combination; options are those of `mlrun.HyperParamOptions`."""
        self.hyperparams = dict(hyperparams)
        return self._with_options(selector=selector, strategy=strategy, **options)

    def with_param_file(
        self, param_file: str, selector: Any = None, strategy: str = "", **options: Any
    ) -> RunTemplate:
        """Run it once for each row of a CSV file, or as a JSON file of lists says."""
        return self._with_options(
            param_file=param_file, selector=selector, strategy=strategy, **options
        )

    def with_secrets(self, secrets: Mapping[str, str]) -> RunTemplate:
        """Give it secrets, by reference: name -> `env:NAME`, `file:PATH`."""
        from mlrun.execution.secrets import check_references

        self.secrets |= check_references(secrets)
        return self

    def set_label(self, key: str, value: Any) -> RunTemplate:
        """Set a label."""
        self.labels[key] = value
        return self

    def _with_options(self, **options: Any) -> RunTemplate:
        from mlrun.hyper.options import HyperParamOptions

        self.hyper_param_options = HyperParamOptions.of(
            {k: v for k, v in options.items() if v not in (None, "")}
        )
        return self


def new_task(
    name: str = "",
    project: str = "",
    handler: Any = "",
    params: Mapping[str, Any] | None = None,
    hyper_params: Mapping[str, Any] | None = None,
    param_file: str = "",
    selector: Any = None,
    hyper_param_options: Any = None,
    inputs: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
    base: RunTemplate | None = None,
    returns: Any = None,
    retry: Any = None,
    **more: Any,
) -> RunTemplate:
    """Return a template of a run, for `fn.run(task)`.

    Args:
        name: of the run. `project`, `handler`, `params`, `inputs`, `returns`, `retry`: as in `fn.run`.
        project: see there.
        handler: see there.
        params: see there.
        hyper_params: the `hyperparams` of `fn.run`.
        param_file: file with the params of every iteration.
        selector: which iteration is the best, `max.accuracy`.
        hyper_param_options: see `mlrun.HyperParamOptions`.
        inputs: as in `fn.run`.
        secrets: name -> reference.
        base: a template that this one begins as a copy of.
        returns: as in `fn.run`.
        retry: as in `fn.run`.
        **more: further fields of the template.

    Example:
        >>> import mlrun
        >>> task = mlrun.new_task("night", params={"lr": 0.1}).with_params(epochs=2)
        >>> task.params
        {'lr': 0.1, 'epochs': 2}
    """
    made = base.copy() if base is not None else RunTemplate()
    plain = {"name": name, "project": project, "handler": handler, "retry": retry,
             "hyper_param_options": hyper_param_options, **more}  # fmt: skip
    for key, value in plain.items():
        if not hasattr(made, key):
            raise ConfigError(f"new_task() has no {key!r}{did_you_mean(key, list(vars(made)))}")
        if value not in ("", None):
            setattr(made, key, value)
    made.params |= dict(params or {})
    made.inputs |= dict(inputs or {})
    if returns:
        made.returns = [returns] if isinstance(returns, str) else list(returns)
    if secrets:
        made.with_secrets(secrets)
    if hyper_params:
        made.hyperparams = dict(hyper_params)
    if param_file:
        made.with_param_file(param_file, selector)
    elif selector:
        made._with_options(selector=selector)
    return made
