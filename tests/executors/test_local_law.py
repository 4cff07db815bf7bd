"""`local` keeps the law of executors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlrun.registry import executor_class
from mlrun.testing.executors import ExecutorConformance, RunsConformance, ValuesConformance

if TYPE_CHECKING:
    from collections.abc import Callable


class OnLocal:
    @pytest.fixture
    def make(self) -> Callable[[], Any]:
        kind: Callable[[], Any] = executor_class("local")
        return kind


class TestCalls(OnLocal, ExecutorConformance):
    pass


class TestValues(OnLocal, ValuesConformance):
    pass


class TestRuns(OnLocal, RunsConformance):
    pass
