"""`HyperParamOptions`: how the iterations of a hyperparameter job are made, judged and stopped."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean
from mlrun.hyper.expression import Condition
from mlrun.hyper.selector import Selector

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["STRATEGIES", "HyperParamOptions"]

STRATEGIES = ("grid", "list", "random", "custom", "tune")


@dataclass
class HyperParamOptions:
    """How the iterations of a hyperparameter job are made, judged and stopped.

    Attributes:
        param_file: CSV (one iteration a row, strategy "list") or JSON (an object of lists) to read hyperparams from.
        strategy: "grid" (every combination, the first key varies fastest), "list" (the first values, the second
            values, …), "random" (`max_iterations` draws, each key on its own, with replacement), "custom" (the
            handler makes the child runs itself), or "tune" (Ray Tune draws and stops). Default "grid"; "list" for CSV.
        selector: `max.<key>`, `min.<key>` or `<key>` (= max): which result, or last value of a metric, decides on the
            best iteration. Of equal ones the first wins.
        stop_condition: an expression over a child's results and last metric values, such as `accuracy >= 0.99`; once it
            holds no further iteration is started. Keys that are no names: `metrics["val/acc"] > 0.9`.
        parallel_runs: iterations at once; None for one after another on `local`, all CPUs on Ray.
        max_iterations: draws of "random" (default 10) and of "tune".
        max_errors: failed iterations that are borne; one more stops the job.
        seed: makes "random" and "tune" repeatable.
        scheduler, search: of "tune": a scheduler (`asha`, `pbt`, `median`, `hyperband`, `fifo`) and a searcher
            (`optuna`, `hyperopt`, …, or none for random draws).
        tune: further arguments of the scheduler and the searcher, by name.

    Raises:
        ConfigError: an unknown strategy, a selector or condition that cannot be read, a number out of range.
    """

    strategy: str | None = None
    selector: str | None = None
    stop_condition: str | None = None
    parallel_runs: int | None = None
    max_iterations: int | None = None
    max_errors: int = 3
    param_file: str | None = None
    seed: int | None = None
    scheduler: str | None = None
    search: str | None = None
    tune: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise ConfigError if anything here has no meaning; what is found costs no run."""
        if self.strategy is not None and self.strategy not in STRATEGIES:
            hint = did_you_mean(str(self.strategy), STRATEGIES)
            raise ConfigError(
                f"strategy is one of {', '.join(STRATEGIES)}, not {self.strategy!r}{hint}"
            )
        for name, least in (("parallel_runs", 1), ("max_iterations", 1), ("max_errors", 0)):
            value = getattr(self, name)
            if value is not None and (
                not isinstance(value, int) or isinstance(value, bool) or value < least
            ):
                raise ConfigError(f"{name} is a whole number of at least {least}, not {value!r}")
        if self.max_iterations is not None and self.strategy not in ("random", "tune"):
            raise ConfigError(
                "max_iterations is of the strategies random and tune; a grid or list has the iterations that it has"
            )
        if (self.scheduler or self.search) and self.strategy != "tune":
            raise ConfigError("scheduler and search need strategy='tune'")
        Selector.parse(self.selector)
        if self.stop_condition is not None:
            Condition.parse(self.stop_condition)

    def to_dict(self) -> dict[str, Any]:
        """Return what differs from the defaults."""
        out = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value not in (None, {}) and value != f.default:
                out[f.name] = value
        return out

    @classmethod
    def of(cls, given: HyperParamOptions | Mapping[str, Any] | None) -> HyperParamOptions:
        """Take options as an object, a dict or None; unknown names raise ConfigError."""
        if given is None:
            return cls()
        if isinstance(given, HyperParamOptions):
            return given
        known = [f.name for f in fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigError(
                    f"HyperParamOptions has no {name!r}{did_you_mean(str(name), known)}"
                )
        return cls(**given)
