from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.config import Settings
from mlrun.journal import Writer, slots
from mlrun.journal.files import list_numbers, list_slots
from mlrun.journal.locks import is_locked, try_lock
from mlrun.journal.slots import adopt, claim, free_slot, probe_alive
from mlrun.journal.snapshot import read_journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


def absorb_all(journal: Path) -> dict[str, list[int]]:
    """Stand in for the absorber: adopt what is dead, unlink what is sealed. Returns the segment numbers seen."""
    seen: dict[str, list[int]] = {}
    for folder in list_slots(journal):
        with adopt(folder) as adoption:
            if adoption is not None:
                seen[folder.name] = list_numbers(folder)[".seg"]
                for path in folder.glob("0*"):
                    path.unlink()
    return seen


@contextlib.contextmanager
def child(work: Callable[[], Any]) -> Iterator[int]:
    """Fork; the child works, then waits to be killed."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(done, b"y")
            signal.pause()
        except BaseException:  # noqa: BLE001 (a child tells, and never returns into pytest)
            os.write(done, b"n")
        finally:
            os._exit(0)
    os.close(done)
    try:
        assert os.read(ready, 1) == b"y"
        yield pid
    finally:
        os.close(ready)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def test_a_slot_is_alive_while_its_process_holds_it(journal: Path) -> None:
    slot = claim(journal)
    assert probe_alive(slot.folder)
    assert free_slot(slot.folder) is None
    slot.release()
    slot.release()
    assert not probe_alive(slot.folder)


def test_claims_count_up_and_numbers_never_come_back(journal: Path) -> None:
    taken: list[int] = []
    for expected in range(1, 6):
        slot = claim(journal)
        assert slot.claim == expected
        taken += [slot.take_number(".seg") for _ in range(100)]
        if expected % 2:
            slot.release()
        else:
            slot._lock.release()  # a crash: nothing is given back
    assert taken == sorted(set(taken))
    assert taken[:100] == list(range(1, 101))
    assert len(list_slots(journal)) == 1


def test_a_slot_with_files_is_left_alone(journal: Path) -> None:
    first = claim(journal)
    (first.folder / "0000000001.rec").touch()
    first.release()
    second = claim(journal)
    assert second.folder != first.folder
    second.release()


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"claim": 1', b"\xff"])
def test_a_slot_whose_owner_is_lost_is_never_claimed_again(journal: Path, content: bytes) -> None:
    slot = claim(journal)
    slot.release()
    (slot.folder / "owner.json").write_bytes(content)
    other = claim(journal)
    assert other.folder != slot.folder
    other.release()


def test_the_lock_outlives_opening_and_closing_of_the_file(journal: Path) -> None:
    slot = claim(journal)
    for _ in range(3):
        with open(slot.folder / "lock", "rb"):
            pass
        assert is_locked(slot.folder / "lock")
        assert try_lock(slot.folder / "lock") is None
    slot.release()
    assert not is_locked(slot.folder / "lock")


def test_a_killed_process_lets_its_slot_go(journal: Path) -> None:
    journal.mkdir()
    with child(lambda: Writer.open(journal, settings=Settings())) as pid:
        (folder,) = list_slots(journal)
        assert probe_alive(folder)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert not probe_alive(folder)


def test_a_forked_child_does_not_keep_the_slot_of_its_dead_parent(journal: Path) -> None:
    code = """
import os, sys, signal
from pathlib import Path
from mlrun.config import Settings
from mlrun.journal import Writer
writer = Writer.open(Path(sys.argv[1]), settings=Settings())
writer.channel("p", "r").log({"a": 1.0}, 0)
if os.fork() == 0:
    print(os.getpid(), flush=True)
signal.pause()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(journal)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    grandchild = int(parent.stdout.readline())
    try:
        (folder,) = list_slots(journal)
        assert probe_alive(folder)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        assert not probe_alive(folder)
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_closing_works_while_a_forked_child_lives(journal: Path, writer: Writer) -> None:
    writer.channel("p", "r").log({"a": 1.0}, 0)
    folder = journal / writer.name
    with child(lambda: None):
        assert probe_alive(folder)
        writer.close()
        assert not probe_alive(folder)
        assert read_journal(journal).points("metrics", after={}).num_rows == 1


def test_a_forked_child_takes_a_slot_of_its_own_and_leaves_the_parents_alone(
    journal: Path, writer: Writer
) -> None:
    channel = writer.channel("p", "r")
    channel.log({"a": 0.0}, 0)
    writer.record([("put", "runs", {"run_id": "parent"})])
    name = writer.name

    def work() -> None:
        assert channel.log({"a": 1.0, "b": 1.0}, 1)
        writer.record([("put", "runs", {"run_id": "child"})])
        assert writer.name != name

    with child(work):
        assert channel.log({"a": 2.0}, 2)
        snapshot = read_journal(journal)
        assert {n: i.alive for n, i in snapshot.writers.items()} == dict.fromkeys(
            (name, *(s for s in snapshot.writers if s != name)), True
        )
        assert len(snapshot.writers) == 2
        rows = snapshot.points("metrics", after={}).to_pylist()
        assert {(r["writer"] == name, r["value"]) for r in rows} == {
            (True, 0.0), (False, 1.0), (True, 2.0),
        }  # fmt: skip
        assert {w == name: ops[0][2]["run_id"] for w, _, ops in snapshot.ops({})} == {
            True: "parent",
            False: "child",
        }
    assert probe_alive(journal / name)
    assert channel.log({"a": 3.0}, 3)
    assert read_journal(journal).findings == []


def test_a_child_that_exits_does_not_end_the_parents_hold(journal: Path, writer: Writer) -> None:
    channel = writer.channel("p", "r")
    channel.log({"a": 0.0}, 0)
    worker = multiprocessing.get_context("fork").Process(target=channel.log, args=({"a": 1.0}, 1))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert probe_alive(journal / writer.name)
    assert channel.log({"a": 2.0}, 2)
    values = read_journal(journal).points("metrics", after={}).column("value").to_pylist()
    assert sorted(values) == [0.0, 1.0, 2.0]


def test_forking_while_threads_log_never_hangs_the_child(journal: Path, writer: Writer) -> None:
    import threading

    channel, stop = writer.channel("p", "r"), threading.Event()

    def busy() -> None:
        step = 0
        while not stop.is_set():
            step += 1
            channel.log({"a": 1.0, f"k{step % 50}": 2.0}, step)

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for i in range(10):
            with child(lambda i=i: channel.log({"child": float(i)}, i)):  # type: ignore[misc]
                pass
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    snapshot = read_journal(journal)
    values = snapshot.points("metrics", after={}, keys=["child"]).column("value").to_pylist()
    assert sorted(values) == [float(i) for i in range(10)]
    assert snapshot.findings == []


def test_adoption_seals_what_a_killed_process_left(journal: Path) -> None:
    def work() -> None:
        writer = Writer.open(journal, settings=Settings())
        channel = writer.channel("p", "r")
        for i in range(3000):
            channel.log({"a": float(i)}, i)
        writer.record([("put", "runs", {"run_id": "r"})])
        writer.text("p", "r", [(1, "stdout", "x")])

    with child(work) as pid:
        (folder,) = list_slots(journal)
        with adopt(folder) as adoption:
            assert adoption is None
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with open(next(folder.glob("*.rec")), "ab") as torn:
            torn.write(b"\xa5\x1e\x00D\xff\x00")
        with adopt(folder) as adoption:
            assert adoption is not None
            assert [f.severity for f in adoption.findings] == ["repaired"]
            assert free_slot(folder) is None
            with adopt(folder) as second:
                assert second is None
            info = read_journal(journal).writers[folder.name]
            assert not info.alive  # although its lock is held
            assert all(
                [s.sealed for s in info.segments] + [f.sealed for f in info.logs + info.texts]
            )
            assert sum(s.rows for s in info.segments) == 3000
    with adopt(folder) as again:
        assert again is not None
        assert again.findings == []
    assert len(list(read_journal(journal).ops({}))) == 1


def test_many_short_processes_need_as_many_slots_as_live_at_once(journal: Path) -> None:
    seen: dict[str, list[int]] = {}
    for i in range(200):
        writer = Writer.open(journal, settings=Settings())
        writer.channel("p", f"r{i}").log({"a": float(i)}, i)
        writer.record([("put", "runs", {"run_id": f"r{i}"})])
        writer.close()
        for name, numbers in absorb_all(journal).items():
            assert not set(numbers) & set(seen.get(name, []))
            assert all(n > max(seen.get(name, [0])) for n in numbers)
            seen.setdefault(name, []).extend(numbers)
    assert len(list_slots(journal)) == 1
    assert len(seen[list_slots(journal)[0].name]) == 200


def test_concurrent_claims_never_share_a_slot(journal: Path) -> None:
    for _ in range(3):
        claim(journal).release()
    code = """
import sys
from pathlib import Path
from mlrun.journal.slots import claim
held = [claim(Path(sys.argv[1])) for _ in range(10)]
print(*[s.folder.name for s in held], flush=True)
sys.stdin.read()
"""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(journal)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    names: list[str] = []
    for worker in workers:
        assert worker.stdout is not None
        names += worker.stdout.readline().split()
    for worker in workers:
        worker.communicate("")
    assert len(names) == len(set(names)) == 30
    assert len(list_slots(journal)) == 30


def test_a_writer_of_another_host_is_alive_until_its_heartbeat_is_old(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = claim(journal)
    slot.beat()
    slot.release()  # the locks of another host are not seen here
    path = slot.folder / "owner.json"
    owner = json.loads(path.read_bytes())
    path.write_text(json.dumps({**owner, "machine_id": "other", "boot_id": "other"}))
    assert not probe_alive(slot.folder)  # a local disk: only the lock counts
    monkeypatch.setattr(slots, "is_network", lambda path: True)
    assert probe_alive(slot.folder)
    with adopt(slot.folder) as adoption:
        assert adoption is None
    assert free_slot(slot.folder) is None
    old = time.time() - slots.HEARTBEAT_DEAD - 1
    (slot.folder / "heartbeat").write_text(str(int(old * 1e6)))
    os.utime(slot.folder / "heartbeat", (old, old))
    assert not probe_alive(slot.folder)
    with adopt(slot.folder) as adoption:
        assert adoption is not None


def test_a_reboot_of_the_same_machine_ends_its_writers(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = claim(journal)
    slot.beat()
    slot.release()
    path = slot.folder / "owner.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "boot_id": "an earlier one"}))
    monkeypatch.setattr(slots, "is_network", lambda path: True)
    assert not probe_alive(slot.folder)
    again = claim(journal)
    assert again.folder == slot.folder
    again.release()


def test_a_network_journal_gets_heartbeats(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlrun.journal.keeper.is_network", lambda path: True)
    writer = Writer.open(journal, settings=Settings())
    beat = journal / writer.name / "heartbeat"
    deadline = time.monotonic() + 5
    while not beat.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert abs(int(beat.read_text()) / 1e6 - time.time()) < 60
    writer.close()
