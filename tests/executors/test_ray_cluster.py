"""`ray` keeps the law of executors, and what it says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlrun.registry import executor_class
from mlrun.testing.executors import ExecutorConformance, MemoryConformance, ValuesConformance
from mlrun.testing.raysession import STORE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


class OnRay:
    @pytest.fixture
    def make(self, ray_session: Any) -> Callable[[], Any]:
        kind: Callable[[], Any] = executor_class("ray")
        return kind


class TestCalls(OnRay, ExecutorConformance):
    pass


class TestValues(OnRay, ValuesConformance):
    pass


class TestMemory(OnRay, MemoryConformance):
    store_bytes = STORE_BYTES
