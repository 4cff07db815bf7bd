from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_prints_but_is_not_heard() -> None:
    code = """
import os, sys
from mlrun.tracking.console import capture
heard = []
one = capture(heard.extend)
print("parent", flush=True)
pid = os.fork()
if pid == 0:
    print("child", flush=True)
    one.flush(); one.stop()
    os._exit(len([h for h in heard if h[2] == "child"]))
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print("parent again")
one.stop()
assert [h[2] for h in heard] == ["parent", "parent again"], heard
sys.exit(status)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "parent\nchild\nparent again\n"


def test_lines_older_than_half_a_second_survive_kill_9() -> None:
    code = """
import os, sys, time
from mlrun.tracking.console import capture
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
one = capture(lambda batch: os.write(file, "".join(f"{l[2]}\\n" for l in batch).encode()))
for i in range(100):
    print(i)
time.sleep(3)
print("newest")
os.kill(os.getpid(), 9)
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lines")
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, timeout=60
        )
        assert done.returncode == -signal.SIGKILL
        assert path.read_text().split() == [str(i) for i in range(100)]
