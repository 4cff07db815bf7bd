"""What every executor promises: the law of `mlrun.execution.law`, sentence by sentence.

Subclass in a test module and give the fixture `make`, which opens an executor; all of it must run on this host:

```python
class TestMine(ExecutorConformance):
    @pytest.fixture
    def make(self):
        return MyExecutor
```

So does `RunsConformance`, for what runs are there. Executors that carry any value take `ValuesConformance` too, those
with shared memory `MemoryConformance`.
"""

# ruff: noqa: D102 - the name of a test is its sentence
from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from mlrun.errors import ExecutorError, JobAborted, JobError, JobLost
from mlrun.execution.law import Needs
from mlrun.testing import executor_calls as calls
from mlrun.testing.executor_runs import RunsConformance
from mlrun.testing.executor_values import MemoryConformance, Opened, ValuesConformance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["ExecutorConformance", "MemoryConformance", "RunsConformance", "ValuesConformance"]

ORDER = {"pending": 0, "running": 1, "completed": 2, "error": 2, "aborted": 2, "lost": 2}


class ExecutorConformance(Opened):
    """Work, states, end and crash.

    Attributes:
        patience: seconds that a call may take here to begin and to end.
        calls_at_once: how many calls the tests start together.
        counts_cores: whether a call that needs more cores than there are fails.
    """

    patience: ClassVar[float] = 60.0
    calls_at_once: ClassVar[int] = 8
    counts_cores: ClassVar[bool] = True

    # -- work ----------------------------------------------------------------------------------

    def test_a_call_gives_its_value(self, executor: Any) -> None:
        job = executor.submit(calls.add, 2, 3)
        assert job.result(self.patience) == 5
        assert job.status() == "completed"
        assert job.id

    def test_a_function_of_a_script_travels_by_value(self, executor: Any) -> None:
        factor = 7

        def times(value: int) -> int:
            return value * factor

        assert executor.submit(times, 6).result(self.patience) == 42

    def test_submit_does_not_wait(self, executor: Any, tmp_path: Path) -> None:
        go = tmp_path / "go"
        job = executor.submit(calls.wait_for, str(go), "done")
        assert job.status() in ("pending", "running")
        with pytest.raises(TimeoutError):
            job.result(0.05)
        assert job.status() in ("pending", "running")
        go.touch()
        assert job.result(self.patience) == "done"

    def test_an_exception_comes_with_its_traceback(self, executor: Any) -> None:
        job = executor.submit(calls.fail, "too bad")
        with pytest.raises(JobError, match="too bad") as raised:
            job.result(self.patience)
        assert not isinstance(raised.value, JobAborted | JobLost)
        assert isinstance(raised.value.__cause__, ValueError)
        assert "executor_calls.py" in str(raised.value)
        assert job.status() == "error"

    def test_a_call_that_fails_is_not_made_again(self, executor: Any, tmp_path: Path) -> None:
        count = tmp_path / "count"
        for fn, args in ((calls.fail, ("no", str(count))), (calls.die, (str(count),))):
            with pytest.raises(JobError):
                executor.submit(fn, *args).result(self.patience)
        assert executor.submit(calls.add, 1).result(self.patience) == 2
        assert count.read_text() == "x\nx\n"

    def test_what_cannot_be_pickled_fails_as_this_job(self, executor: Any) -> None:
        other = executor.submit(calls.add, 1)
        job = executor.submit(calls.add, threading.Lock())
        with pytest.raises(JobError, match=r"argument 0 .*lock.*cannot be sent"):
            job.result(self.patience)
        assert job.status() == "error"
        assert other.result(self.patience) == 2

    def test_too_many_cores_fail_as_this_job(self, executor: Any) -> None:
        if not self.counts_cores:
            pytest.skip("this executor does not know how many cores there can be")
        job = executor.submit(calls.add, 1, needs=Needs(num_cpus=10_000))
        with pytest.raises(JobError, match=r"10,?000"):
            job.result(self.patience)
        assert executor.submit(calls.add, 1).result(self.patience) == 2

    @pytest.mark.filterwarnings("ignore:.*not heeded")
    def test_a_resource_that_nobody_has_does_not_hang(self, executor: Any) -> None:
        job = executor.submit(calls.add, 1, needs=Needs(resources={"no_such_thing": 1}))
        try:
            assert job.result(self.patience) == 2  # there are no resources, which a warning says
        except JobError as error:
            assert "no_such_thing" in str(error)  # noqa: PT017 - either is right

    @pytest.mark.slow
    def test_a_missing_requirement_fails_as_this_job(self, executor: Any) -> None:
        needs = Needs(requirements=("mlrun-no-such-requirement==1.0",))
        job = executor.submit(calls.add, 1, needs=needs)
        with pytest.raises(JobError, match="mlrun-no-such-requirement"):
            job.result(240)
        assert job.status() == "error"
        assert executor.submit(calls.add, 1).result(self.patience) == 2

    def test_a_requirement_that_is_there_costs_nothing(self, executor: Any) -> None:
        needs = Needs(requirements=("numpy>=1",))
        assert executor.submit(calls.add, 1, needs=needs).result(self.patience) == 2

    def test_more_calls_than_slots_wait_for_their_turn(self, executor: Any, tmp_path: Path) -> None:
        go = tmp_path / "go"
        count = min(executor.slots + 1, self.calls_at_once)
        jobs = [executor.submit(calls.wait_for, str(go), n) for n in range(count)]
        go.touch()
        assert [job.result(self.patience) for job in jobs] == list(range(count))

    # -- what a call finds ------------------------------------------------------------------------

    def test_variables_are_set_for_this_call_alone(self, executor: Any) -> None:
        needs = Needs(env={"MLRUN_T_COLOUR": "blue"})
        asked = executor.submit(calls.variable, "MLRUN_T_COLOUR", needs=needs)
        assert asked.result(self.patience) == ["blue"]
        assert executor.submit(calls.variable, "MLRUN_T_COLOUR").result(self.patience) == [None]

    def test_secrets_are_read_where_the_work_runs(self, executor: Any, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("hush\n")
        needs = Needs(secrets={"MLRUN_T_SECRET": f"file:{tmp_path / 'secret'}"})
        asked = executor.submit(calls.variable, "MLRUN_T_SECRET", needs=needs)
        assert asked.result(self.patience) == ["hush"]
        assert executor.submit(calls.variable, "MLRUN_T_SECRET").result(self.patience) == [None]

    def test_code_comes_along(self, executor: Any, tmp_path: Path) -> None:
        code = tmp_path / "code"
        code.mkdir()
        for text in ("first", "second"):  # and is what it was at each submit
            (code / "mlrun_t_user.py").write_text(f"WHAT = {text!r}\n")
            job = executor.submit(
                calls.import_named, "mlrun_t_user", "WHAT", needs=Needs(source=str(code))
            )
            assert job.result(self.patience) == text

    # -- states and end ---------------------------------------------------------------------------

    def test_states_never_go_back(self, executor: Any, tmp_path: Path) -> None:
        go, begun = tmp_path / "go", tmp_path / "begun"
        job = executor.submit(calls.wait_for, str(go), 1, str(begun))
        seen = []

        def watch() -> None:
            while (state := job.status()) in ("pending", "running"):
                seen.append(state)
                time.sleep(0.01)
            seen.append(state)

        threads = [threading.Thread(target=watch) for _ in range(3)]
        for thread in threads:
            thread.start()
        self._until(begun.exists)
        self._until(lambda: job.status() == "running")
        go.touch()
        assert job.result(self.patience) == 1
        for thread in threads:
            thread.join(self.patience)
        assert "running" in seen
        assert seen.count("completed") == 3
        ends = [s for s in seen if ORDER[s] == 2]
        assert set(ends) == {"completed"}

    def test_cancel_ends_native_code_that_sleeps(self, executor: Any, tmp_path: Path) -> None:
        path = tmp_path / "ticks"
        job = executor.submit(calls.sleep_while_ticking, str(path))
        self._until(lambda: calls.ticks(path) > 3)
        job.cancel()
        reached = calls.ticks(path)
        assert job.status() == "aborted"
        time.sleep(0.2)
        assert calls.ticks(path) == reached, "something of the call still runs"
        job.cancel()
        with pytest.raises(JobAborted):
            job.result(self.patience)
        assert executor.submit(calls.add, 1).result(self.patience) == 2

    def test_cancel_before_it_began(self, executor: Any, tmp_path: Path) -> None:
        go, begun = tmp_path / "go", tmp_path / "begun"
        count = min(executor.slots, self.calls_at_once)
        busy = [executor.submit(calls.wait_for, str(go)) for _ in range(count)]
        waiting = executor.submit(calls.mark, str(begun))
        waiting.cancel()
        if waiting.status() != "completed":  # a place with more room than it says began at once
            assert waiting.status() == "aborted"
            with pytest.raises(JobAborted):
                waiting.result(self.patience)
            made = begun.exists()
            time.sleep(0.2)
            assert begun.exists() == made
        go.touch()
        for job in busy:
            job.result(self.patience)

    def test_a_call_that_had_ended_keeps_its_end(self, executor: Any) -> None:
        job = executor.submit(calls.add, 1)
        assert job.result(self.patience) == 2
        job.cancel()
        assert job.status() == "completed"
        assert job.result() == 2

    def test_a_time_limit_cancels(self, executor: Any, tmp_path: Path) -> None:
        path = tmp_path / "ticks"
        needs = Needs(time_limit=1.0)
        job = executor.submit(calls.sleep_while_ticking, str(path), needs=needs)
        with pytest.raises(JobAborted, match="time limit"):
            job.result(self.patience)
        assert job.status() == "aborted"
        reached = calls.ticks(path)
        time.sleep(0.2)
        assert calls.ticks(path) == reached

    def test_close_cancels_what_is_left(self, make: Callable[[], Any], tmp_path: Path) -> None:
        executor, path = make(), tmp_path / "ticks"
        job = executor.submit(calls.sleep_while_ticking, str(path))
        self._until(lambda: calls.ticks(path) > 3)
        executor.close()
        reached = calls.ticks(path)
        time.sleep(0.2)
        assert calls.ticks(path) == reached
        assert job.status() == "aborted"
        executor.close()
        with pytest.raises(ExecutorError, match="closed"):
            executor.submit(calls.add, 1)

    def test_a_killed_worker_loses_its_call_alone(self, executor: Any, tmp_path: Path) -> None:
        go, begun = tmp_path / "go", tmp_path / "begun"
        other = executor.submit(calls.wait_for, str(go), "unharmed", str(begun))
        job = executor.submit(calls.die)
        with pytest.raises(JobLost):
            job.result(self.patience)
        assert job.status() == "lost"
        go.touch()
        assert other.result(self.patience) == "unharmed"
        assert executor.submit(calls.add, 1).result(self.patience) == 2

    # -- logs -------------------------------------------------------------------------------------

    def test_logs_are_what_the_call_printed(self, executor: Any) -> None:
        job = executor.submit(calls.say, 3)
        job.result(self.patience)
        lines = list(job.logs())
        for line in ("line 0", "line 2", "an error line", "from a child", "without an end"):
            assert line in lines, lines
        again = executor.submit(calls.say, 1)
        again.result(self.patience)
        assert list(job.logs()) == lines
        assert "line 2" not in list(again.logs())

    def test_logs_follow_until_the_end(self, executor: Any) -> None:
        job = executor.submit(calls.say, 5, 0.1)
        lines = list(job.logs(follow=True))
        assert [line for line in lines if line.startswith("line")] == [
            f"line {n}" for n in range(5)
        ]
        assert job.status() == "completed"

    # -- map --------------------------------------------------------------------------------------

    def test_map_gives_every_index_once(self, executor: Any) -> None:
        count = 40 if executor.carries == "any" else 3
        found = dict(executor.map(calls.add, range(count)))
        assert found == {n: n + 1 for n in range(count)}

    def test_map_goes_on_behind_an_error(self, executor: Any) -> None:
        found = dict(executor.map(calls.add, [1, "text", 3]))
        assert (found[0], found[2]) == (2, 4)
        assert isinstance(found[1], JobError)
        assert isinstance(found[1].__cause__, TypeError)

    def test_map_draws_items_only_when_there_is_room(self, executor: Any) -> None:
        drawn = []

        def endless() -> Iterator[int]:
            for number in itertools.count():
                drawn.append(number)
                yield number

        results = executor.map(calls.add, endless(), in_flight=2)
        for _ in range(3):
            next(results)
        results.close()
        assert len(drawn) <= 3 + 2

    def test_closing_a_map_cancels_what_is_in_flight(self, executor: Any, tmp_path: Path) -> None:
        paths = [str(tmp_path / f"ticks{n}") for n in range(2)]

        def work(path: str) -> int:
            if path:
                calls.sleep_while_ticking(path)
            return 1

        results = executor.map(work, ["", *paths], in_flight=2)
        assert next(results) == (0, 1)
        self._until(lambda: calls.ticks(tmp_path / "ticks0") > 3)
        results.close()
        reached = [calls.ticks(tmp_path / f"ticks{n}") for n in range(2)]
        time.sleep(0.2)
        assert [calls.ticks(tmp_path / f"ticks{n}") for n in range(2)] == reached

    # -- values -----------------------------------------------------------------------------------

    def test_a_result_that_cannot_be_carried_is_an_error_that_says_so(self, executor: Any) -> None:
        job = executor.submit(_unsendable)
        with pytest.raises(JobError, match=r"lock|JSON"):
            job.result(self.patience)
        assert executor.submit(calls.add, 1).result(self.patience) == 2

    def _until(self, met: Callable[[], bool]) -> None:
        end = time.monotonic() + self.patience
        while not met():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)


def _unsendable() -> Any:
    return threading.Lock()
