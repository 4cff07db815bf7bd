from __future__ import annotations

import contextlib
import functools
import io
import logging
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.tracking.console import MAX_LINE, ConsoleCapture, capture

if TYPE_CHECKING:
    from collections.abc import Callable

    Line = tuple[int, str, str]


Streams = tuple["io.TextIOWrapper[io.BytesIO]", "io.TextIOWrapper[io.BytesIO]"]


class Heard(list[tuple[int, str, str]]):
    def __call__(self, batch: list[Line]) -> None:
        self.extend(batch)

    def lines(self, stream: str = "stdout") -> list[str]:
        return [line for _, name, line in self if name == stream]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def streams() -> Streams:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    return out, err


def on_streams(test: Callable[..., None]) -> Callable[..., None]:
    """Run the test with its `streams` as standard streams (pytest puts its own back after each fixture)."""

    @functools.wraps(test)
    def run(streams: Streams, **others: Any) -> None:
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = streams
        try:
            test(streams=streams, **others)
        finally:
            sys.stdout, sys.stderr = before

    return run


def shown(stream: io.TextIOWrapper[io.BytesIO]) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode("utf-8")


@on_streams
def test_lines_of_both_streams_are_shown_and_heard(streams: Streams, heard: Heard) -> None:
    before = time.time_ns() // 1000
    with_capture = capture(heard)
    print("one", 1)
    print("two\nthree", end="")
    print(" and more")
    print("trouble", file=sys.stderr)
    with_capture.stop()
    assert shown(streams[0]) == "one 1\ntwo\nthree and more\n"
    assert shown(streams[1]) == "trouble\n"
    assert heard.lines() == ["one 1", "two", "three and more"]
    assert heard.lines("stderr") == ["trouble"]
    times = [t for t, name, _ in heard if name == "stdout"]
    assert times == sorted(times)
    assert before - 1_000_000 < times[0] < time.time_ns() // 1000 + 1_000_000


@on_streams
def test_a_line_comes_by_itself_soon_after_it_ended(streams: Streams, heard: Heard) -> None:
    came = threading.Event()

    def emit(batch: list[Line]) -> None:
        heard(batch)
        came.set()

    one = capture(emit)
    print("here")
    assert came.wait(20)
    assert heard.lines() == ["here"]
    one.stop()


@on_streams
def test_many_lines_come_in_batches_in_order(streams: Streams) -> None:
    batches: list[list[Line]] = []
    one = capture(batches.append)
    for i in range(5_000):
        print(i)
    one.stop()
    assert [line for batch in batches for _, _, line in batch] == [str(i) for i in range(5_000)]
    assert max(map(len, batches)) <= 1_000


@on_streams
def test_flush_hands_over_finished_lines_only(streams: Streams, heard: Heard) -> None:
    one = capture(heard)
    print("done")
    print("half", end="")
    one.flush()
    assert heard.lines() == ["done"]
    one.stop()
    assert heard.lines() == ["done", "half"]


@on_streams
def test_what_has_not_ended_can_be_asked_for_and_goes_on(streams: Streams, heard: Heard) -> None:
    one = capture(heard)
    assert one.unfinished() == []
    print("done\n 10%\r 50%", end="")
    print("wro", end="", file=sys.stderr)
    assert [(stream, line) for _, stream, line in one.unfinished()] == [
        ("stdout", " 50%"),
        ("stderr", "wro"),
    ]
    assert heard.lines() == ["done"]
    print("\r100%")
    one.flush(last=True)
    assert heard.lines() == ["done", "100%"]
    assert heard.lines("stderr") == ["wro"]
    print("ng", file=sys.stderr)
    one.stop()
    assert heard.lines("stderr") == ["wro", "ng"]


@pytest.mark.parametrize(
    ("writes", "lines"),
    [
        (["\r 10%", "\r 50%", "\r100%", "\n"], ["100%"]),
        ([" 10%\r", " 50%\r", "100%\r", "\n"], ["100%"]),
        (["dos\r\n", "dos\r", "\n"], ["dos", "dos"]),
        (["\rbar", "\r   \r", "after\n"], ["after"]),
        (["a\rb", "c\rd\n", "e\n"], ["d", "e"]),
        (["\n\n"], ["", ""]),
        (["\r\r\n"], [""]),
        (["end\r"], ["end"]),
    ],
)
@on_streams
def test_carriage_returns_leave_the_last_state(
    streams: Streams, heard: Heard, writes: list[str], lines: list[str]
) -> None:
    one = capture(heard)
    for text in writes:
        sys.stdout.write(text)
    one.stop()
    assert heard.lines() == lines
    assert shown(streams[0]) == "".join(writes)


@on_streams
def test_huge_line_is_cut_with_a_note(streams: Streams, heard: Heard) -> None:
    one = capture(heard)
    for _ in range(30):
        print("x" * 10_000, end="")
    print("end")
    print("next")
    one.stop()
    first, second = heard.lines()
    assert first.startswith("x" * MAX_LINE + " … [")
    assert first.endswith(f"[{300_003 - MAX_LINE:,} more characters]")
    assert second == "next"
    assert len(shown(streams[0])) == 300_004 + 5


@on_streams
def test_lone_surrogates_become_text_that_can_be_stored(streams: Streams, heard: Heard) -> None:
    one = capture(heard)
    print("bad \udcff byte", file=sys.stderr)
    one.stop()
    assert heard.lines("stderr") == ["bad \\udcff byte"]


@on_streams
def test_streams_stay_what_they_were(streams: Streams, heard: Heard) -> None:
    out = sys.stdout
    one = capture(heard)
    assert sys.stdout is out
    assert isinstance(sys.stdout, io.TextIOWrapper)
    assert sys.stdout.encoding == "utf-8"
    assert sys.stdout.isatty() is False
    assert sys.stdout.write("four") == 4
    sys.stdout.writelines(["a\n", "b\n"])
    sys.stdout.buffer.write(b"bytes pass by\n")
    one.stop()
    assert "write" not in vars(sys.stdout)
    assert heard.lines() == ["foura", "b"]
    print("unheard")
    assert heard.lines() == ["foura", "b"]


@on_streams
def test_handlers_made_before_are_heard_and_work_afterwards(streams: Streams, heard: Heard) -> None:
    handler = logging.StreamHandler()
    logger = logging.getLogger("test_console")
    logger.addHandler(handler)
    try:
        one = capture(heard)
        logger.warning("careful")
        one.stop()
        logger.warning("after")
    finally:
        logger.removeHandler(handler)
    assert heard.lines("stderr") == ["careful"]
    assert shown(streams[1]) == "careful\nafter\n"


@on_streams
def test_stream_replaced_in_between_is_left_alone(streams: Streams, heard: Heard) -> None:
    one = capture(heard)
    print("before")
    with contextlib.redirect_stdout(io.StringIO()) as inner:
        print("inside")
        one.stop()
        assert sys.stdout is inner
    print("after")
    assert heard.lines() == ["before"]
    assert shown(streams[0]) == "before\nafter\n"


@on_streams
def test_wrapped_by_others_before_and_after(streams: Streams, heard: Heard) -> None:
    seen: list[str] = []

    def outer(write: Any) -> Any:
        def wrapped(text: str) -> Any:
            seen.append(text)
            return write(text)

        return wrapped

    sys.stdout.write = outer(sys.stdout.write)  # type: ignore[method-assign]
    first = sys.stdout.write
    one = capture(heard)
    print("a")
    one.stop()
    assert sys.stdout.write is first
    two = capture(heard)
    sys.stdout.write = outer(sys.stdout.write)  # type: ignore[method-assign]
    last = sys.stdout.write
    print("b")
    two.stop()
    assert sys.stdout.write is last  # taking ours out would take theirs out too
    print("c")
    assert heard.lines() == ["a", "b"]
    assert "c" in seen
    assert shown(streams[0]) == "a\nb\nc\n"


@on_streams
def test_two_captures_one_after_the_other(streams: Streams, heard: Heard) -> None:
    second = Heard()
    one = capture(heard)
    print("first")
    one.stop()
    one.stop()
    two = capture(second)
    print("second")
    two.stop()
    assert heard.lines() == ["first"]
    assert second.lines() == ["second"]


@on_streams
def test_captures_that_end_in_the_order_they_began_do_not_pile_up(
    streams: Streams, heard: Heard
) -> None:
    for _ in range(3):
        outer, inner = capture(heard), capture(Heard())
        print("seen")
        outer.stop()
        print("unseen")
        inner.stop()
        assert "write" not in vars(sys.stdout)
    assert heard.lines() == ["seen"] * 3
    assert shown(streams[0]) == "seen\nunseen\n" * 3


@on_streams
def test_errors_of_the_stream_are_the_printers_own(streams: Streams, heard: Heard) -> None:
    one = capture(heard)
    with pytest.raises(TypeError):
        sys.stdout.write(b"bytes")  # type: ignore[arg-type]
    streams[0].close()
    with pytest.raises(ValueError, match="closed file"):
        print("too late")
    one.stop()
    assert heard.lines() == []


@on_streams
def test_emit_that_fails_or_prints_harms_nobody(streams: Streams) -> None:
    taken: list[str] = []

    def emit(batch: list[Line]) -> None:
        print("emit says", len(batch))
        taken.extend(line for _, _, line in batch)
        if "bad" in taken:
            raise OSError("disk full")

    one = ConsoleCapture(emit).start()
    print("good")
    one.flush()
    print("bad")
    one.stop()
    assert taken == ["good", "bad"]
    assert one.failed == 1
    assert shown(streams[0]).count("emit says 1") == 2


@on_streams
def test_threads_lose_and_double_nothing(streams: Streams, heard: Heard) -> None:
    one = capture(heard)

    def work(name: int) -> None:
        for i in range(500):
            sys.stdout.write(f"{name}:{i}\n")

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for _ in range(20):
        one.flush()
    for worker in workers:
        worker.join()
    one.stop()
    assert sorted(heard.lines()) == sorted(f"{n}:{i}" for n in range(8) for i in range(500))


@on_streams
def test_tracebacks_of_the_interpreter_are_heard(streams: Streams, heard: Heard) -> None:
    one = capture(heard)
    try:
        raise ValueError("seen")
    except ValueError:
        traceback.print_exc()
    one.stop()
    assert heard.lines("stderr")[-1] == "ValueError: seen"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
@on_streams
def test_signal_handlers_may_print_and_flush_at_any_moment(streams: Streams, heard: Heard) -> None:
    one = capture(heard)
    rung = 0

    def handler(*_: object) -> None:
        nonlocal rung
        rung += 1
        sys.stderr.write(f"rung {rung}\n")
        one.flush(timeout=0.0)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for i in range(3_000):
            sys.stdout.write(f"{i}\n")
            if i % 100 == 0:
                one.flush()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    one.stop()
    assert heard.lines() == [str(i) for i in range(3_000)]
    assert rung > 0
    # what a handler prints while its own thread is inside `emit` counts as printed by `emit`
    assert set(heard.lines("stderr")) <= {f"rung {i + 1}" for i in range(rung)}
