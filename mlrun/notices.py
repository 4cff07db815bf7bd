"""What mlrun tells the person at the keyboard: one line at init, and each warning once.

Nothing is ever written on stdout. Warnings go through Python's `warnings` in a class of their own, so that they can be
filtered (`python -W ignore::mlrun.notices.MlrunWarning`), but they never raise: under `-W error` the text is printed on
stderr instead, because a filter must not end a training run.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlrun.contracts import Finding

__all__ = ["MlrunWarning", "say", "warn", "warn_of_damage"]


class MlrunWarning(UserWarning):
    """Something was changed, refused or lost, and the run goes on."""


def say(line: str) -> None:
    """Print one line on stderr, if there is a stderr."""
    stream = sys.stderr
    if stream is None:
        return
    try:
        stream.write(f"mlrun: {line}\n")
        stream.flush()
    except (OSError, ValueError, UnicodeError):
        pass  # a closed or full stderr is no reason to end a run


def warn(message: str) -> None:
    """Issue a `MlrunWarning` at the line of the caller outside mlrun; never raises."""
    try:
        warnings.warn(message, MlrunWarning, stacklevel=_callers_level())
    except MlrunWarning:
        say(f"warning: {message}")  # filters turn warnings into errors
    except Exception:  # noqa: BLE001  a broken showwarning hook must not end a run
        say(f"warning: {message}")


def warn_of_damage(findings: Iterable[Finding]) -> None:
    """Say what a reader had to leave out, each loss once a process; `mlrun doctor` tells the rest."""
    for finding in findings:
        told = (finding.where, finding.what)
        if finding.severity == "lost" and told not in _told:
            _told.add(told)
            warn(f"{finding.where}: {finding.what}; see `mlrun doctor`")


_told: set[tuple[str, str]] = set()


def _callers_level() -> int:
    # stacklevel 1 is warn() above; walk out of this package
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
        level += 1
    return level


def _is_ours(module: str) -> bool:
    return module == "mlrun" or (
        module.startswith("mlrun.") and not module.startswith("mlrun.tests")
    )
