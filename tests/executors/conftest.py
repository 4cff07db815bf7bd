"""Tests of executors share one Ray, which is started when the first test asks for it."""

from __future__ import annotations

from mlrun.testing.raysession import ray_session

__all__ = ["ray_session"]
