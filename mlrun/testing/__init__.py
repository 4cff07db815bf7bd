"""Conformance suites: what every storage promises, as test classes for ours and for strangers'."""

from __future__ import annotations
