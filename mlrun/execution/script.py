"""Scripts: a command is performed as a run of its own process, which joins the run with `mlrun.init()`.

The command sees `MLRUN_RUN_ID`, `MLRUN_PROJECT`, the store's place, and `MLRUN_EXEC_CONFIG`, the task as JSON, so that
`mlrun.init()` and `mlrun.get_or_create_ctx()` in it open the run that is performed: the same file works by itself, as a
handler and as a job. Arguments may name params: `--lr {lr}`. What it prints goes to the run's log and is passed on.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlrun.errors import ConfigError, MlrunError, did_you_mean
from mlrun.execution.hooks import ended, started

if TYPE_CHECKING:
    from mlrun.execution.task import Task
    from mlrun.tracking.run import Run

__all__ = ["CONFIG", "ScriptFailed", "is_script", "run_script"]

CONFIG = "MLRUN_EXEC_CONFIG"
_GRACE = 3.0  # seconds that an interrupted command has to end
_TAIL = 4_000  # characters of its standard error in the message
_NAMES = re.compile(r"\{([A-Za-z_][\w.-]*)\}")


class ScriptFailed(MlrunError):
    """The command ended with an exit code that is not 0."""


def run_script(task: Task, run: Run) -> None:
    """Run the task's command to its end.

    Raises:
        ConfigError: there is no such file, or an argument names no param.
        ScriptFailed: its exit code is not 0; the message holds the end of its standard error.
    """
    code = task.function["code"]
    with ExitStack() as stack:
        command = _command(code, run, stack)
        started(run)
        _run(command, code, task, run)
    ended(run, None)


def is_script(task: Task) -> bool:
    """Whether the task's code is a command; source without a handler is loaded, and run in this process."""
    return (task.function.get("code") or {}).get("kind") == "command"


def _run(command: list[str], code: dict[str, Any], task: Task, run: Run) -> None:
    process = subprocess.Popen(
        command, env=_environment(task, run), cwd=code.get("workdir") or None, text=True,
        errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=hasattr(os, "setsid"),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    tail = _Tail()
    readers = [
        threading.Thread(target=_pass_on, args=(process.stdout, "stdout", None), daemon=True),
        threading.Thread(target=_pass_on, args=(process.stderr, "stderr", tail), daemon=True),
    ]
    for reader in readers:
        reader.start()
    try:
        exit_code = process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        for reader in readers:
            reader.join(_GRACE)
    _take_over(run)
    if exit_code:
        said = tail.text()
        name = Path(code["path"]).name
        raise ScriptFailed(
            f"{name} ended with {_exit_name(exit_code)}" + (f":\n{said}" if said else "")
        )


def _command(code: dict[str, Any], run: Run, stack: ExitStack) -> list[str]:
    path = str(code["path"])
    given = code.get("args") or []
    args = [_filled(str(a), run) for a in (shlex.split(given) if isinstance(given, str) else given)]
    filled = _filled(path, run)
    if not filled.endswith(".py"):
        return [*shlex.split(filled), *args]
    file = Path(code.get("workdir") or ".", filled)
    text = code.get("text")
    if text is not None and not (file.is_file() and file.read_text("utf-8") == text):
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlrun-script-"))
        filled = os.path.join(folder, file.name)  # another host, or the file was changed meanwhile
        Path(filled).write_text(text, "utf-8")
    elif text is None and not file.exists():
        raise ConfigError(f"there is no script {filled!r} in {file.parent.absolute()}")
    return [sys.executable, filled, *args]


def _filled(text: str, run: Run) -> str:
    """Put params in the place of their names in braces."""
    known = run.config

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in known:
            raise ConfigError(
                f"argument {text!r} names no param of the run{did_you_mean(name, list(known.flat()))}"
            )
        return str(known[name])

    return _NAMES.sub(value, text)


def _environment(task: Task, run: Run) -> dict[str, str]:
    own = {
        CONFIG: json.dumps({"run_id": run.id, "params": run.config.as_dict(), "inputs": run.inputs,
                            "secrets": task.secrets, "project": run.project, "name": run.name},
                           default=str),
        "MLRUN_RUN_ID": run.id,
        "MLRUN_PROJECT": run.project,
        "MLRUN_CONSOLE": "0",  # its lines are heard from outside, native ones too
        "MLRUN_QUIET": "1",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    place = {f"MLRUN_{name.upper()}": value for name, value in task.store.items() if value}
    env = task.function.get("env") or {}
    return {**os.environ, **{str(k): str(v) for k, v in env.items()}, **place, **own}


class _Tail:
    """The end of what was printed."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        self._lines.append(line)
        del self._lines[:-200]

    def text(self) -> str:
        return "".join(self._lines)[-_TAIL:].rstrip()


def _pass_on(stream: IO[str], name: str, tail: _Tail | None) -> None:
    """Print what the command prints; the capture of this process's console hears it, as it hears a handler."""
    with stream:
        for line in stream:
            if tail is not None:
                tail.add(line)
            out = sys.stdout if name == "stdout" else sys.stderr
            if out is not None:
                with suppress(OSError, ValueError):
                    out.write(line)
                    out.flush()


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _take_over(run: Run) -> None:
    """Know the results that the script logged to the run, beside this process."""
    from mlrun.tables import RESULTS
    from mlrun.tracking.values import decode

    if run.store is None:
        return
    run.store.flush_records()
    for row in run.store.records.lookup(RESULTS, {"run_id": run.id}):
        run.results.setdefault(row["key"], decode(row["value"]))


def _exit_name(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
