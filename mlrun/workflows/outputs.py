"""Outputs of steps that may not have run yet: passed on they wait by themselves, looked at make the caller wait."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlrun.workflows.step import Step

__all__ = ["Output", "Outputs", "resolve", "steps_in"]


class Outputs:
    """`step.outputs["key"]`: every key is there; whether the step makes it is known when it has run."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def __getitem__(self, key: str) -> Output:
        return Output(self._step, key)

    def __repr__(self) -> str:
        return f"Outputs({self._step.name!r})"


class Output:
    """One output of a step: a result's value, or the URI of an artifact.

    Given to another step as a parameter or input it makes that step come after. Compared, printed, counted or looped
    over, it waits for its step, so that `if train.outputs["accuracy"] > 0.9:` is plain Python.
    """

    def __init__(self, step: Step, key: str) -> None:
        self.step = step
        self.key = key

    @property
    def value(self) -> Any:
        """What it is; waits for the step, and raises `RunError` if that failed."""
        return self.step.wait().output(self.key)

    def __repr__(self) -> str:
        return f"Output({self.step.name!r}, {self.key!r})"

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return operator.index(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)

    def __getitem__(self, key: Any) -> Any:
        return self.value[key]

    def __contains__(self, item: Any) -> bool:
        return item in self.value

    def __hash__(self) -> int:
        return hash((id(self.step), self.key))

    def __eq__(self, other: object) -> bool:
        return bool(self.value == _plain(other))

    def __lt__(self, other: Any) -> bool:
        return bool(self.value < _plain(other))

    def __le__(self, other: Any) -> bool:
        return bool(self.value <= _plain(other))

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > _plain(other))

    def __ge__(self, other: Any) -> bool:
        return bool(self.value >= _plain(other))

    def __add__(self, other: Any) -> Any:
        return self.value + _plain(other)

    def __radd__(self, other: Any) -> Any:
        return other + self.value

    def __sub__(self, other: Any) -> Any:
        return self.value - _plain(other)

    def __rsub__(self, other: Any) -> Any:
        return other - self.value

    def __mul__(self, other: Any) -> Any:
        return self.value * _plain(other)

    def __rmul__(self, other: Any) -> Any:
        return other * self.value

    def __truediv__(self, other: Any) -> Any:
        return self.value / _plain(other)

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.value

    def __floordiv__(self, other: Any) -> Any:
        return self.value // _plain(other)

    def __mod__(self, other: Any) -> Any:
        return self.value % _plain(other)

    def __pow__(self, other: Any) -> Any:
        return self.value ** _plain(other)

    def __neg__(self) -> Any:
        return -self.value

    def __abs__(self) -> Any:
        return abs(self.value)

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.value, digits)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Output) else value


def steps_in(value: Any) -> list[Step]:
    """Return the steps whose outputs are in a value: itself, or in lists, tuples and dicts.

    Raises:
        ConfigError: a step stands where one of its outputs is meant.
    """
    if isinstance(value, Output):
        return [value.step]
    if isinstance(value, Mapping):
        return [step for part in value.values() for step in steps_in(part)]
    if isinstance(value, (list, tuple)):
        return [step for part in value for step in steps_in(part)]
    if isinstance(getattr(value, "outputs", None), Outputs):
        raise ConfigError(f"{value!r} is a step: say which of its outputs, step.outputs['key']")
    return []


def resolve(value: Any) -> Any:
    """Return the value with every output in it replaced by what it is; all their steps have run."""
    if isinstance(value, Output):
        return value.value
    if isinstance(value, dict):
        return {key: resolve(part) for key, part in value.items()}
    if isinstance(value, list):
        return [resolve(part) for part in value]
    if type(value) is tuple:
        return tuple(resolve(part) for part in value)
    return value
