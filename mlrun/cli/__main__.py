"""`python -m mlrun.cli`."""

from __future__ import annotations

from mlrun.cli.root import main

main()
