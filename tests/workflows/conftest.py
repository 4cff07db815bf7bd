from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def close_pools() -> Iterator[None]:
    """End the worker processes that a test started: their working folder is the test's."""
    yield
    from mlrun.execution import places

    for executor in places._places.values():
        executor.close()
    places._places.clear()
