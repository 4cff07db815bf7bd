"""Jobs in tests: functions of the test's own, a store in the test's folder, pools that end with the test."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.functions.making import new_function
from mlrun.testing.raysession import ray_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.view import RunView

__all__ = ["ray_session"]


@pytest.fixture
def sweep() -> Callable[..., RunView]:
    """Run a handler over hyperparams; in this process, unless it is said otherwise. Options by name."""

    def run(handler: Any, hyperparams: dict[str, Any] | None = None, **asked: Any) -> RunView:
        known = mlrun.HyperParamOptions.__dataclass_fields__
        options = {name: asked.pop(name) for name in list(asked) if name in known}
        if "executor" not in asked:
            asked["local"] = True
        function = new_function("trial", project="p", handler=handler)
        return function.run(hyperparams=hyperparams, hyper_param_options=options or None, **asked)

    return run


@pytest.fixture
def failed(sweep: Callable[..., RunView]) -> Callable[..., RunView]:
    """Run a job that must not complete; returns the view of its run."""

    def run(handler: Any, *given: Any, **asked: Any) -> RunView:
        with pytest.raises(mlrun.errors.RunError) as caught:
            sweep(handler, *given, **asked)
        view: Any = caught.value.run
        found: RunView = view
        return found

    return run


@pytest.fixture(autouse=True)
def close_pools() -> Iterator[None]:
    """End the worker processes that a test started: their working folder is the test's."""
    yield
    from mlrun.execution import places

    for (_, name), executor in list(places._places.items()):
        if name == "local":
            executor.close()
    places._places.clear()


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)
