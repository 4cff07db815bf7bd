"""The command line: the nouns of `mlrun` in a shell. `main` is the entry point."""

from __future__ import annotations

from mlrun.cli.root import main

__all__ = ["main"]
