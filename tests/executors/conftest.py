"""Tests of executors share one Ray, which is started when the first test asks for it."""

from __future__ import annotations

import pytest

from mlrun.testing.raysession import ray_session

__all__ = ["ray_session"]

# With `ray-job` every call is a process that imports Ray. What is tested of it beside each change is what it does in a
# way of its own; the rest of the law is what the loops that all executors share make of that.
_OWN = (
    "test_a_call_gives_its_value",
    "test_abort_ends_it",
    "test_cancel_ends_native_code_that_sleeps",
    "test_it_gives_what_it_gives_in_this_process",
    "test_logs_follow_until_the_end",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make soak` what costs most and is tested with the other executors."""
    for item in items:
        if "test_ray_job.py::Test" in item.nodeid and not item.name.startswith(_OWN):
            item.add_marker(pytest.mark.soak)
