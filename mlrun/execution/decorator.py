"""`@mlrun.handler`: what a function returns and reads, said beside the function."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, overload

from mlrun.tracking import current

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["handler"]

_F = TypeVar("_F", bound="Callable[..., Any]")


@overload
def handler(function: _F, /) -> _F: ...
@overload
def handler(
    *,
    labels: Mapping[str, Any] | None = None,
    outputs: Sequence[Any] | None = None,
    inputs: bool | Mapping[str, Any] = True,
) -> Callable[[_F], _F]: ...


def handler(
    function: Any = None,
    /,
    *,
    labels: Mapping[str, Any] | None = None,
    outputs: Sequence[Any] | None = None,
    inputs: bool | Mapping[str, Any] = True,
) -> Any:
    """Mark a function as a handler.

    Inside a run, what it returns is logged as `outputs` say, and inputs that it annotates arrive as annotated; called
    without a run it is the plain function.

    Args:
        function: the function, when the decorator is written without parentheses.
        labels: labels of every run of it.
        outputs: hints of the returned values, as `returns` of `fn.run`, which counts for more.
        inputs: False to receive `DataItem`s, or a dict of name -> class to unpack to.

    Example:
        >>> import mlrun
        >>> @mlrun.handler(outputs=["total"])
        ... def add(a: int, b: int):
        ...     return a + b
        >>> add(1, 2)
        3
        >>> with mlrun.init(project="doc") as run:
        ...     _ = add(3, 4)
        >>> mlrun.get_run(run.id).results
        {'total': 7}
    """
    if function is None:
        return functools.partial(_marked, labels=labels, outputs=outputs, inputs=inputs)
    return _marked(function, labels, outputs, inputs)


def _marked(
    function: Callable[..., Any],
    labels: Mapping[str, Any] | None,
    outputs: Sequence[Any] | None,
    inputs: bool | Mapping[str, Any],
) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_later(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = _unpacked(function, args, kwargs, inputs)
            return _kept(await function(*args, **kwargs), labels, outputs)

        return call_later

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = _unpacked(function, args, kwargs, inputs)
        return _kept(function(*args, **kwargs), labels, outputs)

    return call


def _unpacked(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    inputs: bool | Mapping[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Bring data items to what the function annotates; anything else is left alone."""
    if inputs is False or current.current_run() is None:
        return args, kwargs
    from mlrun.content.dataitem import DataItem

    if not any(isinstance(v, DataItem) for v in (*args, *kwargs.values())):
        return args, kwargs
    from mlrun.execution.binding import hints_of
    from mlrun.packing.unpacking import unpack

    wanted = {**hints_of(function), **(inputs if isinstance(inputs, dict) else {})}
    bound = inspect.signature(function).bind(*args, **kwargs)
    for name, value in bound.arguments.items():
        if isinstance(value, DataItem) and wanted.get(name) is not None:
            bound.arguments[name] = unpack(value, wanted[name])
    return bound.args, bound.kwargs


def _kept(value: Any, labels: Mapping[str, Any] | None, outputs: Sequence[Any] | None) -> Any:
    """Log what was returned; returns what the run is still to log of it: nothing, when the hints said it all."""
    run = current.current_run()
    if run is None:
        return value
    if labels:
        run.set_labels(labels)
    task = run.task
    if outputs is None or (task is not None and task.returns):
        return value
    from mlrun.packing.hints import parse_hints
    from mlrun.packing.packers import pack_returns

    pack_returns(run, value, parse_hints(outputs))
    return None if run.owned else value
