from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from mlrun import ids
from mlrun.config import Settings
from mlrun.journal import Writer
from mlrun.journal.files import list_numbers
from mlrun.journal.segment import Segment
from mlrun.journal.snapshot import WriterInfo, read_journal

if TYPE_CHECKING:
    from pathlib import Path


def points(journal: Path, table: str = "metrics", **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        read_journal(journal).points(table, after={}, **options).to_pylist()
    )
    return found


def all_sealed(info: WriterInfo) -> bool:
    return all([s.sealed for s in info.segments] + [f.sealed for f in info.logs + info.texts])


def test_a_point_is_visible_to_a_reader_when_log_returns(journal: Path, writer: Writer) -> None:
    channel = writer.channel("digits", "run-1")
    before = ids.now_us()
    assert channel.log({"loss": 0.5, "acc": 3}, 7)
    rows = points(journal)
    assert [(r["project"], r["run_id"], r["key"], r["step"], r["value"]) for r in rows] == [
        ("digits", "run-1", "loss", 7, 0.5),
        ("digits", "run-1", "acc", 7, 3.0),
    ]
    assert rows[0]["time"] == rows[1]["time"]
    assert before <= int(rows[0]["time"].timestamp() * 1e6 + 0.5) <= ids.now_us()
    assert {r["writer"] for r in rows} == {writer.name}


def test_nan_and_infinities_are_numbers(journal: Path, writer: Writer) -> None:
    writer.channel("p", "r").log({"a": math.nan, "b": math.inf, "c": -math.inf}, 0)
    values = [r["value"] for r in points(journal)]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


class Whole(int):
    pass


@pytest.mark.parametrize(
    ("data", "step"),
    [
        ({"a": 1.0, "b": True}, 0),
        ({"a": 1.0, "b": "text"}, 0),
        ({"a": 1.0, "b": None}, 0),
        ({"a": 1.0, "b": Whole(3)}, 0),
        ({"a": 1.0, "b": 10**400}, 0),
        ({"a": 1.0, 2: 1.0}, 0),
        ({"a": 1.0}, 1.5),
        ({"a": 1.0}, "1"),
        ({"a": 1.0}, 1 << 63),
        ([("a", 1.0)], 0),
    ],
)
@pytest.mark.parametrize("warm", [False, True])
def test_what_is_not_plain_is_refused_whole(
    journal: Path, writer: Writer, data: Any, step: Any, warm: bool
) -> None:
    channel = writer.channel("p", "r")
    if warm:
        channel.log({"a": 0.0, "b": 0.0}, 0)
    before = len(points(journal))
    assert channel.log(data, step) is False
    assert len(points(journal)) == before
    assert channel.log({"a": 2.0}, 1)
    assert points(journal)[-1]["value"] == 2.0


def test_an_empty_call_writes_nothing(journal: Path, writer: Writer) -> None:
    assert writer.channel("p", "r").log({}, 0)
    assert points(journal) == []


def test_every_text_is_a_key(journal: Path, writer: Writer) -> None:
    names = ["", "val/acc", "'; drop", "\x00", "ü😀", "../../x", "a" * 100_000, "\n", '"']
    writer.channel("p'", "r/../").log(dict.fromkeys(names, 1.0), 0)
    assert [r["key"] for r in points(journal)] == names
    assert {(r["project"], r["run_id"]) for r in points(journal)} == {("p'", "r/../")}


def test_a_lone_surrogate_does_not_hide_the_rest(journal: Path, writer: Writer) -> None:
    writer.channel("p", "r").log({"a\udc80": 1.0, "b": 2.0}, 0)
    rows = points(journal)
    assert [(r["key"][0], r["value"]) for r in rows] == [("a", 1.0), ("b", 2.0)]
    assert all(r["key"].encode() for r in rows)  # text that every reader can take


def test_rolling_keeps_every_point_in_order(journal: Path, writer: Writer) -> None:
    channel, other = writer.channel("p", "r"), writer.channel("p", "s", "system_metrics")
    calls = 30_000
    for i in range(calls):
        channel.log({"a": i, "b": -i, "c": 0.5}, i)
        if i % 1000 == 0:
            other.log({"cpu": i}, i)
    rows = read_journal(journal).points("metrics", after={})
    assert rows.column("value").to_pylist() == [v for i in range(calls) for v in (i, -i, 0.5)]
    assert rows.column("step").to_pylist() == [i for i in range(calls) for _ in range(3)]
    seqs = rows.column("seq").to_pylist()
    assert seqs == sorted(set(seqs))
    assert len({s >> 32 for s in seqs}) > 3
    assert [r["step"] for r in points(journal, "system_metrics")] == list(range(0, calls, 1000))


def test_one_call_may_be_larger_than_a_segment(journal: Path, writer: Writer) -> None:
    channel = writer.channel("p", "r")
    data = {f"k{i}": float(i) for i in range(9000)}
    assert channel.log({"first": 1.0}, 0)
    assert channel.log(data, 1)
    assert channel.log(data, 2)
    assert [r["value"] for r in points(journal)] == [1.0, *data.values(), *data.values()]


def test_threads_lose_nothing_and_calls_stay_together(journal: Path, writer: Writer) -> None:
    calls, keys = 8_000, ("a", "b", "c")

    def work(name: int) -> None:
        own, shared = writer.channel("p", f"r{name}"), channels[name % 2]
        for i in range(calls):
            (own if i % 2 else shared).log(dict.fromkeys(keys, float(name)), i)

    channels = [writer.channel("p", "even"), writer.channel("p", "odd")]
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = read_journal(journal).points("metrics", after={}).to_pandas()
    assert len(rows) == 4 * calls * len(keys)
    calls_seen = rows.to_numpy()[:, [1, 3, 4, 5]].reshape(-1, 3, 4)  # run, step, time, value
    assert (calls_seen == calls_seen[:, :1]).all()
    assert list(rows["key"][:3]) == list(keys)
    assert (rows["key"].to_numpy().reshape(-1, 3) == list(keys)).all()
    for name in range(4):
        mine = rows[(rows["value"] == name) & (rows["key"] == "a")]
        assert sorted(mine["step"]) == list(range(calls))


def test_a_dict_that_another_thread_changes_is_refused_or_written_whole(
    journal: Path, writer: Writer
) -> None:
    channel = writer.channel("p", "r")

    class Changing(dict[str, float]):
        def items(self) -> Any:
            for i, item in enumerate(list(super().items())):
                if i:
                    raise RuntimeError("dictionary changed size during iteration")
                yield item

    assert channel.log(Changing(a=1.0, b=2.0), 0) is False
    assert points(journal) == []


def test_an_interrupt_between_two_stores_publishes_nothing(journal: Path, writer: Writer) -> None:
    channel = writer.channel("p", "r")
    channel.log({"a": 1.0, "b": 1.0}, 0)

    class Interrupting(dict[str, float]):
        def items(self) -> Any:
            yield "a", 2.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        channel.log(Interrupting(), 1)
    assert [r["value"] for r in points(journal)] == [1.0, 1.0]
    channel.log({"a": 3.0}, 2)
    assert [r["value"] for r in points(journal)] == [1.0, 1.0, 3.0]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
def test_interrupts_at_random_moments_leave_whole_calls(journal: Path, writer: Writer) -> None:
    channel = writer.channel("p", "r")
    returned: list[int] = []
    armed, interrupts, step = True, 0, 0

    def interrupt(*_: object) -> None:
        if armed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0003 + (step % 7) * 0.0003)
            while (
                time.monotonic() < end
            ):  # what is raised while Python frees an object goes nowhere
                step += 1
                channel.log({"a": step, "b": step, f"k{step % 500}": step}, step)
                returned.append(step)
            armed = False
        except KeyboardInterrupt:
            interrupts += 1
    armed = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    time.sleep(0.01)
    signal.signal(signal.SIGALRM, before)
    assert interrupts > 10
    snapshot = read_journal(journal)
    steps = snapshot.points("metrics", after={}).column("step").to_pylist()
    assert snapshot.findings == []
    assert [s for s in steps[::3] for _ in range(3)] == steps  # three rows of every call, together
    assert len(set(steps[::3])) == len(steps) // 3
    assert set(returned) <= set(steps)
    writer.close()
    assert read_journal(journal).points("metrics", after={}).num_rows == len(steps)


def test_a_clock_that_is_set_back_does_not_turn_time(
    journal: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = writer.channel("p", "r")
    channel.log({"a": 1.0}, 0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    channel.log({"a": 2.0}, 1)
    channel.log({"new": 2.0}, 1)
    times = [r["time"] for r in points(journal)]
    assert times == sorted(times)
    assert times[-1].year > 2000


def test_time_follows_the_clock_of_ids(
    journal: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = writer.channel("p", "r")
    channel.log({"a": 1.0}, 0)
    monkeypatch.setattr(ids, "_offset_ns", ids._offset_ns)  # put back afterwards
    ahead = ids.now_us() + 10**12
    ids.advance_clock(ahead)
    channel.log({"a": 1.0}, 1)
    assert int(points(journal)[-1]["time"].timestamp() * 1e6 + 0.5) >= ahead


def test_position_counts_rows_of_the_open_segment(writer: Writer) -> None:
    channel = writer.channel("p", "r")
    channel.log({"a": 1.0}, 0)
    start = writer.position()
    channel.log({"a": 1.0, "b": 2.0}, 1)
    assert writer.position()[2:] == (start.segment, start.row + 2)


def test_close_seals_everything_and_the_writer_can_go_on(journal: Path, writer: Writer) -> None:
    channel = writer.channel("p", "r")
    channel.log({"a": 1.0}, 0)
    writer.record([("put", "runs", {"run_id": "r"})])
    writer.text("p", "r", [(1, "stdout", "x")])
    name = writer.name
    writer.close()
    writer.close()
    info = read_journal(journal).writers[name]
    assert not info.alive
    assert all_sealed(info)
    assert len(info.segments) == len(info.logs) == len(info.texts) == 1
    assert channel.log({"a": 2.0}, 1)
    assert writer.name != name  # the old slot still has files to absorb
    assert {r["value"] for r in points(journal)} == {1.0, 2.0}


def test_a_writer_that_wrote_nothing_leaves_no_file_to_absorb(journal: Path) -> None:
    writer = Writer.open(journal, settings=Settings())
    writer.channel("p", "r")
    name = writer.name
    writer.close()
    assert sorted(os.listdir(journal / name)) == ["lock", "owner.json"]


def test_open_gives_one_writer_per_process_and_folder(journal: Path, writer: Writer) -> None:
    assert Writer.open(journal) is writer
    assert Writer.open(journal / ".." / journal.name) is writer


def test_files_are_for_their_owner_only(journal: Path, writer: Writer) -> None:
    writer.channel("p", "r").log({"a": 1.0}, 0)
    writer.record([("put", "runs", {"run_id": "r"})])
    slot = journal / writer.name
    assert slot.stat().st_mode & 0o077 == 0
    assert {p.name: p.stat().st_mode & 0o077 for p in slot.iterdir()} == dict.fromkeys(
        os.listdir(slot), 0
    )


def test_sync_reaches_the_disk_without_an_error(writer: Writer) -> None:
    channel = writer.channel("p", "r")
    channel.log({"a": 1.0}, 0)
    writer.record([("put", "runs", {"run_id": "r"})])
    writer.sync()
    channel.log({"a": 1.0}, 1)
    writer.sync()
    assert writer.position().row == 2


def test_writing_keeps_to_a_bounded_memory(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from mlrun.config import Settings
from mlrun.journal import Writer
def rss():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
before = rss()
channel = Writer.open(Path(sys.argv[1]), settings=Settings()).channel("p", "r")
data = {"a": 1.0, "b": 2.0, "c": 3.0}
for i in range(1_000_000):
    channel.log(data, i)
print(rss() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "journal")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 64 << 10


def test_writing_loads_no_heavy_library(tmp_path: Path) -> None:
    code = """
import sys, json
from pathlib import Path
from mlrun.journal import Writer
from mlrun.journal.segment import Segment
from mlrun.journal.snapshot import WriterInfo, read_journal
writer = Writer.open(Path(sys.argv[1]))
writer.channel("p", "r").log({"a": 1.0}, 0)
writer.record([("put", "runs", {"run_id": "r"})])
journal = read_journal(Path(sys.argv[1]))
assert len(list(journal.ops({}))) == 1 and len(list(journal.rows("metrics", after={}))) == 1
writer.close()
print(json.dumps(sorted({m.split(".")[0] for m in sys.modules})))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "journal")],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"pyarrow", "polars", "numpy", "psutil", "adbc_driver_manager", "pandas"}


def test_closing_does_not_stumble_over_an_absorber(
    journal: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealed files may go at any time, also between the listing and the sealing at close."""
    writer.channel("p", "r").log({"a": 1.0}, 0)
    writer.record([("put", "runs", {"run_id": "r"})])

    def one_more(folder: Path) -> dict[str, list[int]]:
        return {kind: [0, *numbers] for kind, numbers in list_numbers(folder).items()}

    name = writer.name
    monkeypatch.setattr("mlrun.journal.slots.list_numbers", one_more)
    writer.close()
    monkeypatch.undo()
    assert all_sealed(read_journal(journal).writers[name])


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults")
def test_pages_ahead_are_given_back_after_a_sync(tmp_path: Path) -> None:
    """A sync takes from a process the right to store to a page at once; `log()` must not pay for getting it back."""
    import resource

    seg = Segment(tmp_path, 1, 1 << 20, touch=True)
    seg.widen()
    os.fsync(seg.fd)
    seg.make_ready(4096)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for column in seg.columns:
        column[0] = column[2000] = column[4000] = 1
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before <= 8
    seg.count[0] = seg.capacity - 1
    seg.make_ready(4096)  # nothing beyond the end
    seg.close()
    seg.make_ready(1)
