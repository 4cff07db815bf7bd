from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import ConfigError, MlrunError
from mlrun.execution.retrypolicy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlrun.view import RunView


def flaky(context: Any, good: int) -> str:
    attempt = context.labels.get("mlrun/retry-attempt", 0)
    context.log({"attempt": attempt})
    if attempt < good:
        raise RuntimeError(f"attempt {attempt} fails")
    context.log_artifact("made", body=b"bytes")
    return f"attempt {attempt}"


def attempts_of(view: RunView) -> list[tuple[str, float]]:
    found = mlrun.runs(where=f"parent = '{view.id}'", order_by="started_at")
    return list(zip(found["state"], found["metrics.attempt"], strict=True))


@pytest.mark.parametrize("watch", [True, False])
def test_an_attempt_that_fails_is_followed_by_another_which_the_run_shows(
    start: Callable[..., RunView], watch: bool
) -> None:
    retry = {"count": 3, "backoff": 0.01}
    view = start(flaky, params={"good": 2}, retry=retry, watch=watch).wait_for_completion(60)
    assert (view.state, view.error) == ("completed", None)
    assert view.results == {"return": "attempt 2"}
    assert view.artifact("made").get() == b"bytes"
    assert attempts_of(view) == [("error", 0.0), ("error", 1.0), ("completed", 2.0)]
    assert view.refresh().summary == {"attempt": 2.0}


def test_the_last_attempts_error_is_the_runs(failed: Callable[..., RunView]) -> None:
    view = failed(flaky, params={"good": 9}, retry={"count": 1, "backoff": 0})
    assert view.state == "error"
    assert view.error is not None
    assert "attempt 1 fails" in view.error
    assert len(attempts_of(view)) == 2


def test_nothing_is_retried_unless_it_is_asked_for(failed: Callable[..., RunView]) -> None:
    view = failed(flaky, params={"good": 1})
    assert attempts_of_none(view)


def attempts_of_none(view: RunView) -> bool:
    return mlrun.runs(where=f"parent = '{view.id}'").is_empty()


def test_between_two_attempts_the_run_is_pending_and_can_be_aborted(
    start: Callable[..., RunView],
) -> None:
    import time

    view = start(flaky, params={"good": 9}, retry={"count": 5, "backoff": "1h"}, watch=False)
    end = time.monotonic() + 60
    while view.refresh().state != "pending_retry":
        assert time.monotonic() < end, view
        time.sleep(0.02)
    assert view.abort("enough").state == "aborted"
    assert [state for state, _ in attempts_of(view)] == ["error"]


def test_a_worker_that_is_killed_is_tried_again(
    start: Callable[..., RunView], own_folder: Path
) -> None:
    def dies_once(flag: str) -> int:
        if not os.path.exists(flag):
            open(flag, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return 7

    params = {"flag": str(own_folder / "flag")}
    view = start(dies_once, params=params, retry={"count": 1, "backoff": 0}, watch=False)
    assert view.wait_for_completion(60).results == {"return": 7}
    states = mlrun.runs(where=f"parent = '{view.id}'", order_by="started_at")["state"].to_list()
    assert states == ["error", "completed"]


def test_a_killed_worker_leaves_an_error_that_says_so(start: Callable[..., RunView]) -> None:
    def dies(context: Any) -> None:
        context.log({"a": 1.0})
        os.kill(os.getpid(), signal.SIGKILL)

    view = start(dies, watch=False).wait_for_completion(60)
    while view.state == "lost":  # seen before the driver has
        view.refresh()
    assert view.state == "error"
    assert view.error is not None
    assert "killed by SIGKILL" in view.error
    assert view.summary == {"a": 1.0}


def test_a_run_that_failed_is_retried_by_hand(
    failed: Callable[..., RunView], own_folder: Path
) -> None:
    def needs(path: str) -> str:
        with open(path) as file:
            return file.read()

    view = failed(needs, params={"path": str(own_folder / "file")})
    (own_folder / "file").write_text("there")
    view.retry(local=True)
    assert (view.state, view.error, view.results) == ("completed", None, {"return": "there"})
    with pytest.raises(MlrunError, match="only a run that has failed is retried"):
        view.retry()


def test_a_tracked_run_cannot_be_retried() -> None:
    run = mlrun.init(project="p")
    run.finish("error")
    with pytest.raises(MlrunError, match="is no run of a function"):
        mlrun.get_run(run.id).retry()


@pytest.mark.parametrize("given", [-1, "many", {"count": -2}, {"count": 1, "backoff": "soon"}])
def test_a_retry_without_meaning_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError):
        RetryPolicy.of(given)


@pytest.mark.parametrize("given", ["soon", {"count": -1}, object()])
def test_a_retry_that_cannot_be_read_shows_what_was_given(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^retry(: count)? is a number") as caught:
        RetryPolicy.of(given)
    assert "method" not in str(caught.value)


def test_each_retry_waits_twice_as_long_up_to_an_hour() -> None:
    policy = RetryPolicy(20, 30.0)
    assert [policy.delay(n) for n in (1, 2, 3)] == [30, 60, 120]
    assert policy.delay(15) == 3600
