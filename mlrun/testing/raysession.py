"""One Ray for all tests of a process: started when the first test asks for it, ended with the session.

Import the fixture in a conftest, and keep tests that use it in one process of xdist:

```python
from mlrun.testing.raysession import ray_session

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]
```
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.registry import executor_class

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["STORE_BYTES", "ray_session"]

STORE_BYTES = 200_000_000


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a `ray` executor that keeps the session of this process; other executors of the process join it."""
    wanted = {
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),  # for what workers install
        # Ray gives way to everything else on the host, here to the other tests: its own would take minutes
        "RAY_worker_niceness": "0",
        # a worker costs a second of a core to start: keep those that wait for the next test
        "RAY_idle_worker_killing_time_threshold_ms": "20000",
        "RAY_num_workers_soft_limit": "6",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    executor = executor_class("ray")(num_cpus=2, object_store_memory=STORE_BYTES, dashboard=True)
    assert executor.slots == 2
    yield executor
    executor.close()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
