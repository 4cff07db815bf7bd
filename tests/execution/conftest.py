from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import mlrun
from mlrun.execution import launch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlrun.view import RunView


class Described:
    """A handler as a function: all that `launch` needs of one."""

    def __init__(self, handler: Any, **spec: Any) -> None:
        code = {"kind": "pickle", "data": base64.b64encode(cloudpickle.dumps(handler)).decode()}
        self._spec = {"name": handler.__name__, "code": code, **spec}

    @property
    def spec(self) -> Described:
        return self

    def to_dict(self) -> dict[str, Any]:
        return dict(self._spec)


@pytest.fixture
def start() -> Callable[..., RunView]:
    """Run a handler; in this process, unless it is said otherwise."""

    def run(handler: Any, *, spec: dict[str, Any] | None = None, **asked: Any) -> RunView:
        if "executor" not in asked:
            asked["local"] = True
        return launch.run(Described(handler, **(spec or {})), project="p", **asked)

    return run


@pytest.fixture
def failed(start: Callable[..., RunView]) -> Callable[..., RunView]:
    """Run a handler that must fail; returns the view of its run."""

    def run(handler: Any, **asked: Any) -> RunView:
        with pytest.raises(mlrun.errors.RunError) as caught:
            start(handler, **asked)
        view: Any = caught.value.run
        found: RunView = view
        return found

    return run


@pytest.fixture(autouse=True)
def close_pools() -> Iterator[None]:
    """End the worker processes that a test started: their working folder is the test's."""
    yield
    from mlrun.execution import places

    for executor in places._places.values():
        executor.close()
    places._places.clear()


def wait_for(view: RunView, state: str, seconds: float = 30) -> RunView:
    end = time.monotonic() + seconds
    while view.refresh().state != state:
        assert time.monotonic() < end, f"{view} did not become {state}: {view.error}"
        time.sleep(0.02)
    return view
