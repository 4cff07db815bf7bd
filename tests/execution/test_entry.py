from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.errors import ConfigError, ExecutorError, JobAborted
from mlrun.execution.entry import (
    CALL,
    Outcome,
    OutcomeReader,
    describe,
    describe_object,
    perform_text,
)

if TYPE_CHECKING:
    from pathlib import Path


def double(x: Any) -> Any:
    return x * 2


def call(fn: Any, *args: Any, **more: Any) -> Outcome:
    return Outcome.of(perform_text(describe(fn, args, **more)))


def spawn(fn: Any, *args: Any, **more: Any) -> tuple[int, list[str], OutcomeReader]:
    done = subprocess.run(
        [sys.executable, "-m", "mlrun.execution.entry"],
        env={**os.environ, CALL: describe(fn, args, **more)},
        capture_output=True,
        text=True,
        check=False,
    )
    reader = OutcomeReader()
    kept = [rest for line in done.stdout.splitlines() if (rest := reader.rest_of(line)) is not None]
    return done.returncode, kept, reader


def test_a_function_of_this_file_travels_by_value() -> None:
    assert call(double, 21).value == 42


def test_a_function_of_a_package_travels_by_name() -> None:
    assert call(json.loads, "[1]").value == [1]


def test_what_json_would_change_is_pickled() -> None:
    assert call(lambda x: type(x).__name__, (1, 2)).value == "tuple"
    assert call(lambda x: [type(k).__name__ for k in x], {1: 2}).value == ["int"]


def test_a_coroutine_function_is_awaited() -> None:
    async def later(x: int) -> int:
        return x + 1

    assert call(later, 1).value == 2


def test_an_argument_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(ExecutorError, match=r"argument 1 \(generator\) cannot be sent"):
        describe(double, (1, (c for c in "ab")))


def test_a_result_that_is_not_json_is_an_error_that_says_so() -> None:
    outcome = call(lambda: object())
    assert isinstance(outcome.error, ExecutorError)
    assert "the result (object) is not JSON" in str(outcome.error)


def test_builtin_and_own_exceptions_come_back_as_what_they_are() -> None:
    def fail(kind: str) -> None:
        raise {"v": ValueError("bad", 3), "c": ConfigError("worse")}[kind]

    outcome = call(fail, "v")
    assert isinstance(outcome.error, ValueError)
    assert outcome.error.args == ("bad", 3)
    assert 'raise {"v"' in outcome.traceback
    assert isinstance(call(fail, "c").error, ConfigError)


def test_a_strange_exception_comes_back_by_name() -> None:
    def fail() -> None:
        class Odd(Exception):
            pass

        raise Odd("x")

    assert "Odd: x" in str(call(fail).error)


def test_sys_exit_is_an_error_not_an_end() -> None:
    assert isinstance(call(sys.exit, 3).error, SystemExit)


def test_another_python_is_refused_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    text = describe(double, (1,))
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    outcome = Outcome.of(perform_text(text))
    assert f"this is {3}.99: use an image with the driver's Python" in str(outcome.error)


def test_secrets_travel_as_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("hush\n")
    monkeypatch.setenv("THERE", "whisper")
    monkeypatch.setenv("A", "")
    monkeypatch.setenv("B", "")
    secrets = {"A": f"file:{tmp_path}/key", "B": "env:THERE"}
    assert call(lambda: [os.environ["A"], os.environ["B"]], secrets=secrets).value == [
        "hush",
        "whisper",
    ]
    assert "'env:NOWHERE' is not there" in str(call(double, 1, secrets={"A": "env:NOWHERE"}).error)


def test_the_process_says_how_it_ended_and_prints_nothing_else_of_its_own() -> None:
    def work() -> dict[str, Any]:
        sys.stdout.write("one\ntwo")
        sys.stdout = None
        return {"big": "x" * 50_000, "ü": float("inf")}

    code, kept, reader = spawn(work)
    assert (code, kept, reader.started) == (0, ["one", "two"], True)
    assert reader.outcome is not None
    assert reader.outcome.value == {"big": "x" * 50_000, "ü": float("inf")}


def test_a_process_that_dies_has_started_and_has_no_outcome() -> None:
    def die() -> None:
        os._exit(9)

    code, kept, reader = spawn(die)
    assert (code, kept, reader.started, reader.outcome) == (9, [], True, None)


def test_code_comes_along_as_an_archive(tmp_path: Path) -> None:
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("along_for_test.py", textwrap.dedent("def f(x):\n    return x + 1\n"))

    def use() -> Any:
        import along_for_test  # type: ignore[import-not-found]

        return along_for_test.f(1)

    code, _, reader = spawn(use, archive=buffer.getvalue())
    assert code == 0
    assert reader.outcome is not None
    assert reader.outcome.value == 2


def test_a_call_ends_itself_after_its_time_limit() -> None:
    def sleep() -> None:
        import time

        print("asleep", flush=True)
        time.sleep(60)

    code, kept, reader = spawn(sleep, time_limit=0.3)
    assert (code, kept) == (1, ["asleep"])
    assert reader.outcome is not None
    assert isinstance(reader.outcome.error, JobAborted)
    assert "time limit of 0.3 s" in str(reader.outcome.error)


def test_a_large_call_is_an_object_of_a_store(own_folder: Path) -> None:
    from mlrun.store import open_store

    text = describe(len, ("x" * 1_000_000,))
    stored = open_store().objects.put(text.encode())
    small = describe_object(stored.sha256, {"dbpath": str(own_folder / ".mlrun")})
    assert len(small) < 500
    assert Outcome.of(perform_text(small)).value == 1_000_000
