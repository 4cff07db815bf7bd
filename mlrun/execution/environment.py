"""What a call finds around it: variables, secrets read where it runs, code on the import path; gone after it."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlrun.store import Store

__all__ = ["environment"]


@contextmanager
def environment(
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    source: str | None = None,
    run: tuple[Store | None, str] | None = None,
) -> Iterator[None]:
    """Set variables, read secrets into variables, and put a folder on the import path, for the length of the block.

    Args:
        env: name -> value.
        secrets: name -> reference, such as `env:TOKEN` or `file:/run/secrets/token`.
        source: a folder.
        run: who asks for secrets that a store keeps: its store and its id.

    Raises:
        NotFound: a secret is not there.
    """
    if not env and not secrets and not source:
        yield
        return
    from mlrun.execution.secrets import read_reference

    new = {str(k): str(v) for k, v in (env or {}).items()}
    new |= {name: read_reference(reference, run) for name, reference in (secrets or {}).items()}
    before = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    folder = os.path.abspath(source) if source and os.path.isdir(source) else ""
    if folder:
        sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
