"""The journal: how a logged point costs microseconds and is not lost.

A process appends to files of its own; any reader maps the same files. This page is the law of the folder.

```
journal/<writer>/          one per writer slot; "w-" + 12 hex digits, unique for ever, never removed
    lock                   flock, held by the living writer process (or for a moment by who adopts a dead one)
    owner.json             who holds the slot: claim, host, machine and boot id, pid; which numbers are given out
    adopted                the last claim that an adopter found dead
    heartbeat              microseconds; only where the journal lies on a network file system
    0000000012.seg         points: fixed columns in shared memory, `0000000012.dict` names their ids
    0000000007.rec         operations on records       } frames: length, CRC, JSON
    0000000003.txt         lines of the console        }
```

**Writer.** A writer is a process, not a run: all runs of a process share its slot. Whoever holds the flock on `lock` is
alive; a pid says nothing. A process takes the first slot that nobody holds and in which no data file is left, and makes
one if there is none; so folders grow with concurrency. `claim` counts the processes that held the slot.

**Numbers.** The files of one kind in one slot are numbered upwards from 1. A number is never given out twice, also not
after its file is unlinked, its process killed or its slot taken over: `owner.json` names a bound before a number below
it is used. Gaps mean nothing. `seq` of a row is `number << 32 | row`; it grows with the order of writing.

**Atomic.** One `log()` is published by one store of the row count, so a reader sees all of its points or none, next to
each other. One `record()` is one frame of one `write(2)`. An exception between two stores (KeyboardInterrupt) leaves
the count where it was.

**Visible.** What returned is visible to every process at once. A reader takes the count first and the columns after it;
where the processor may reorder stores, both sides pass a lock between the two. Published bytes never change.

**Crash.** What returned survives SIGKILL: the pages are the kernel's. Power loss costs what is younger than the last
sync, about one second. A record torn by a crash fails its CRC; it ends the file, is reported, and costs itself only. A
call that was not published is not there.

**Full disk.** Space is allocated before it is mapped, so a full disk is an error of the allocation and never a SIGBUS.
Points are then dropped and counted per run; records raise `OSError`. Both go on when there is room again. On
copy-on-write file systems an allocation is no promise; the reserve that stays free is what helps there.

**Sealing.** A sealed file will not change. The mark is in its own header, written last: by the writer when it moves on
to the next number or closes, or by the adopter of a dead writer, which holds its flock. Sealing a segment writes a CRC
for every block of every column; sealing a log fixes where it ends (behind its last good frame).

**Idempotent.** Sealing, adopting and releasing can be repeated. Records are: every operation is.

**Unlinking.** Only the absorber unlinks, only sealed files, only when every store's mark covers them, the segment
before its dictionary; a writer unlinks what it never published anything in. A mapped file stays readable afterwards.
Nothing is ever cut short in place: a reader that maps a file never loses the ground under it.

**Readers** hold nothing. They look who is alive first, then list and map everything, and only then open the stores; a
file that vanishes between the listing and the opening was absorbed in between, and the stores have it. The newest file
of a kind is opened first: so what is seen of a writer is what it had written at one instant, without a hole.
Of each file the header is read before its length and its bytes (`read_log`, `read_head`): one that is sealed or filled
in between would count as read to an end that was not read. A file that is there and cannot be opened waits, and no
absorber moves a mark past it.

**Fork.** The child closes its copies (never LOCK_UN), renews locks, and takes a slot of its own on first use.

**Locks.** Signal handlers and finalizers never come here.
"""

from __future__ import annotations

from mlrun.journal.channel import Channel
from mlrun.journal.writer import Writer

__all__ = ["Channel", "Writer"]
