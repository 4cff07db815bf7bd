from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import mlrun
from mlrun.config import settings
from mlrun.store import open_store
from mlrun.tracking import current
from mlrun.tracking.start import About, open_run

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from mlrun.tracking.run import Run


def handler_run(name: str) -> Run:
    return open_run(open_store(), settings(), About(name=name))


def in_a_thread(ask: Callable[[], Any]) -> Any:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()
    thread.join()
    return answers[0]


def test_a_thread_sees_the_open_run_of_the_process() -> None:
    run = mlrun.init()
    assert in_a_thread(mlrun.current_run) is run
    run.finish()
    assert in_a_thread(mlrun.current_run) is None


def test_a_thread_of_a_handler_sees_its_run_if_there_is_one_only() -> None:
    one, two = handler_run("one"), handler_run("two")
    with current.bind(one):
        assert in_a_thread(mlrun.current_run) is one
        with current.bind(two):
            assert mlrun.current_run() is two
            assert in_a_thread(mlrun.current_run) is None
        assert mlrun.current_run() is one


def test_handlers_on_two_threads_do_not_see_each_other() -> None:
    runs = [handler_run("one"), handler_run("two")]
    both_bound = threading.Barrier(2, timeout=30)
    seen: dict[int, Any] = {}

    def handle(i: int) -> None:
        with current.bind(runs[i]):
            both_bound.wait()
            seen[i] = mlrun.current_run()
            both_bound.wait()

    threads = [threading.Thread(target=handle, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {0: runs[0], 1: runs[1]}


def test_log_without_a_run_warns_once_and_goes_on(
    warned: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current, "_warned", False)
    with warned() as messages:
        mlrun.log({"a": 1})
        mlrun.log({"a": 2})
    assert [m for m in messages if "mlrun.init()" in m] == messages
    assert len(messages) == 1
