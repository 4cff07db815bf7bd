from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.errors import ExecutorError, JobAborted, JobError, JobLost
from mlrun.execution.law import Needs
from mlrun.registry import executor_class

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def local() -> Iterator[Any]:
    with executor_class("local")(2) as executor:
        yield executor


def square(x: int) -> int:
    return x * x


def nap(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def dies(number: int) -> None:
    os.kill(os.getpid(), number)


def running(job: Any) -> Any:
    end = time.monotonic() + 60
    while job.status() == "pending":
        assert time.monotonic() < end
        time.sleep(0.01)
    return job


def is_dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_call_is_made_in_another_process(local: Any) -> None:
    job = local.submit(nap, 0)
    assert job.result(60) != os.getpid()
    assert job.status() == "completed"


def test_functions_that_no_process_can_import_travel_by_value(local: Any) -> None:
    factor = 3

    def times(x: int) -> int:
        return square(x) * factor

    assert local.submit(times, 2).result(60) == 12


def test_the_worker_is_kept_for_the_next_call(local: Any) -> None:
    assert local.submit(nap, 0).result(60) == local.submit(nap, 0).result(60)


def test_map_yields_results_and_errors_as_they_end(local: Any) -> None:
    def odd(x: int) -> int:
        if x == 2:
            raise ValueError("two")
        return x

    found = dict(local.map(odd, range(5)))
    error = found.pop(2)
    assert found == {0: 0, 1: 1, 3: 3, 4: 4}
    assert isinstance(error, JobError)
    assert isinstance(error.__cause__, ValueError)
    assert "two" in str(error)


def test_map_draws_only_what_it_has_room_for_and_cancels_when_it_is_closed(local: Any) -> None:
    drawn: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            drawn.append(len(drawn))
            yield drawn[-1]

    results = local.map(square, endless(), in_flight=3)
    assert {next(results)[0] for _ in range(4)} <= set(range(7))
    results.close()
    assert len(drawn) <= 8
    assert local.submit(square, 4).result(60) == 16


def test_cancel_ends_a_call_and_the_process_that_makes_it(local: Any) -> None:
    pid = local.submit(nap, 0).result(60)
    job = running(local.submit(nap, 600))
    job.cancel()
    assert job.status() == "aborted"
    with pytest.raises(JobAborted):
        job.result(0)
    assert is_dead(pid)
    job.cancel()
    assert local.submit(nap, 0).result(60) != pid


def test_cancel_kills_what_does_not_listen_and_what_it_started(
    local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlrun.executors.localjob._GRACE", 0.5)
    note = tmp_path / "pid"

    def stubborn() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "600"])
        note.write_text(str(child.pid))
        time.sleep(600)

    job = local.submit(stubborn)
    end = time.monotonic() + 60
    while not note.exists() or not note.read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    job.cancel()
    assert job.status() == "aborted"
    while not is_dead(int(note.read_text())):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_cancel_of_a_waiting_call_leaves_the_others_alone(local: Any) -> None:
    first = [local.submit(nap, 0.5) for _ in range(2)]
    late = local.submit(nap, 600)
    assert late.status() == "pending"
    late.cancel()
    assert late.status() == "aborted"
    assert all(job.result(60) for job in first)


def test_a_call_that_has_ended_keeps_its_end(local: Any) -> None:
    job = local.submit(square, 3)
    job.result(60)
    job.cancel()
    assert (job.status(), job.result()) == ("completed", 9)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_loses_its_call_and_no_other(local: Any, number: int) -> None:
    other = local.submit(nap, 1)
    job = local.submit(dies, number)
    with pytest.raises(JobLost, match=f"killed by {signal.Signals(number).name}"):
        job.result(60)
    assert job.status() == "lost"
    assert other.result(60)
    assert [v for _, v in local.map(square, [1, 2, 3], in_flight=1)] == [1, 4, 9]


def test_arguments_that_cannot_be_pickled_fail_this_call_with_their_name(local: Any) -> None:
    job = local.submit(square, threading.Lock())
    assert job.status() == "error"
    with pytest.raises(JobError, match=r"argument 0 \(lock\) cannot be sent"):
        job.result()
    assert local.submit(square, 2).result(60) == 4


def test_results_that_cannot_be_pickled_fail_this_call(local: Any) -> None:
    def lock() -> Any:
        return threading.Lock()

    with pytest.raises(JobError, match="cannot pickle"):
        local.submit(lock).result(60)
    assert local.submit(square, 2).result(60) == 4


def test_exceptions_that_cannot_be_pickled_arrive_as_text(local: Any) -> None:
    class Odd(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(f"{a} and {b}")
            self.lock = threading.Lock()

    def fails() -> None:
        raise Odd(1, 2)

    with pytest.raises(JobError, match="Odd: 1 and 2") as caught:
        local.submit(fails).result(60)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("leaves", [SystemExit(3), KeyboardInterrupt()])
def test_a_call_that_wants_to_leave_does_not_take_the_worker_along(
    local: Any, leaves: BaseException
) -> None:
    def go() -> None:
        raise leaves

    with pytest.raises(JobError):
        local.submit(go).result(60)
    assert local.submit(square, 2).result(60) == 4


def test_logs_are_what_the_call_printed_natively_too(local: Any) -> None:
    def talks() -> None:
        print("one")
        os.write(1, b"two\n")
        print("three", file=sys.stderr)

    local.submit(square, 1).result(60)
    job = local.submit(talks)
    assert sorted(job.logs(follow=True)) == ["one", "three", "two"]
    assert sorted(job.logs()) == ["one", "three", "two"]


def test_a_time_limit_aborts(local: Any) -> None:
    job = local.submit(nap, 600, needs=Needs(time_limit=0.3))
    with pytest.raises(JobAborted, match=r"longer than its time limit of 0\.3 s"):
        job.result(60)


def test_a_result_that_is_not_there_yet_is_a_timeout_and_the_job_goes_on(local: Any) -> None:
    job = local.submit(nap, 1)
    with pytest.raises(TimeoutError):
        job.result(0.01)
    assert job.result(60)


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        (Needs(requirements=("no-such-package-anywhere>=1",)), "not installed here: no-such-pack"),
        (Needs(num_cpus=100_000), "100000 cores are asked for"),
        (Needs(secrets={"T": "env:NOT_SET_ANYWHERE"}), "NOT_SET_ANYWHERE"),
    ],
)
def test_what_cannot_be_had_fails_this_call(local: Any, needs: Needs, said: str) -> None:
    with pytest.raises(JobError, match=said):
        local.submit(square, 1, needs=needs).result(60)


def test_env_source_and_secrets_are_there_for_the_call_alone(local: Any, tmp_path: Path) -> None:
    (tmp_path / "code_beside.py").write_text("VALUE = 5\n")
    (tmp_path / "secret").write_text("hush\n")

    def looks() -> Any:
        import code_beside  # type: ignore[import-not-found]

        return code_beside.VALUE, os.environ["COLOUR"], os.environ["TOKEN"]

    def gone() -> bool:
        return "COLOUR" in os.environ or "TOKEN" in os.environ

    needs = Needs(
        env={"COLOUR": "blue"}, secrets={"TOKEN": f"file:{tmp_path}/secret"}, source=str(tmp_path)
    )
    assert local.submit(looks, needs=needs).result(60) == (5, "blue", "hush")
    assert local.submit(gone).result(60) is False


def test_close_cancels_what_is_left_and_refuses_more(local: Any) -> None:
    jobs = [local.submit(nap, 600) for _ in range(4)]
    local.close()
    local.close()
    assert {job.status() for job in jobs} == {"aborted"}
    with pytest.raises(ExecutorError, match="closed"):
        local.submit(square, 1)


def test_many_threads_may_submit_at_once(local: Any) -> None:
    found: list[int] = []

    def work(start: int) -> None:
        found.extend(local.submit(square, start + i).result(60) for i in range(20))

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted((100 * n + i) ** 2 for n in range(5) for i in range(20))


def script(body: str, own_folder: Path) -> subprocess.CompletedProcess[str]:
    path = own_folder / "script.py"
    path.write_text(textwrap.dedent(body))
    return subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_script_needs_no_guard_and_leaves_no_process(own_folder: Path) -> None:
    found = script(
        """
        import os
        from mlrun.registry import executor_class
        print("main runs")
        def pid(_): return os.getpid()
        executor = executor_class("local")(2)
        print(*{p for _, p in executor.map(pid, range(4))})
        """,
        own_folder,
    )
    assert (found.returncode, found.stderr) == (0, "")
    first, pids = found.stdout.splitlines()
    assert first == "main runs"
    assert all(is_dead(int(pid)) for pid in pids.split())


def test_workers_leave_when_their_driver_is_killed(own_folder: Path) -> None:
    found = script(
        """
        import os, signal, time
        from mlrun.registry import executor_class
        def work(_):
            print(os.getpid(), flush=True)
            time.sleep(600)
        executor = executor_class("local")(1)
        job = executor.submit(work, 0)
        print(next(job.logs(follow=True)), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        own_folder,
    )
    end = time.monotonic() + 30
    while not is_dead(int(found.stdout)):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_workers_of_its_own(local: Any) -> None:
    pid = local.submit(nap, 0).result(60)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if local.submit(nap, 0).result(60) not in (pid, os.getpid()) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert local.submit(nap, 0).result(60) == pid


def test_importing_starts_nothing() -> None:
    code = (
        "import threading, mlrun, mlrun.executors.local, mlrun.execution.launch;"
        "print(threading.active_count(), len(mlrun.executors.local._live))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["1", "0"]


def test_what_does_not_exist_here_is_told_once(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlrun.executors.localneeds._told", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            assert local.submit(square, 2, needs=Needs(num_gpus=1, image="x")).result(60) == 4
    assert len(caught) == 1
    assert "num_gpus, image not heeded" in str(caught[0].message)
