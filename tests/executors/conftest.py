"""Tests of executors share one Ray, which is started when the first test asks for it."""

from __future__ import annotations

import pytest

from mlrun.testing.raysession import ray_session

__all__ = ["ray_session"]

# The loop of `map` is one for all executors, and with `ray-job` every item is a process that imports Ray.
_COSTLY = (
    "test_closing_a_map_cancels_what_is_in_flight",
    "test_map_draws_items_only_when_there_is_room",
    "test_map_goes_on_behind_an_error",
    "test_more_calls_than_slots_wait_for_their_turn",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make soak` what costs most and is tested with the other executors."""
    for item in items:
        if "test_ray_job.py" in item.nodeid and item.name.startswith(_COSTLY):
            item.add_marker(pytest.mark.soak)
