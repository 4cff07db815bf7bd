"""Workflows: graphs of function runs written in plain Python; schedules and notifications."""

from __future__ import annotations
