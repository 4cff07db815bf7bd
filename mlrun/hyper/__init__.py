"""Hyperparameters: strategies, selectors, stop conditions, and the jobs that run them."""

from __future__ import annotations
