from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import os
from pathlib import Path
from mlrun.journal.detached import stand_back

stand_back(7)
group = Path("/proc/self/autogroup")
print(os.getsid(0) == os.getpid(), os.getpriority(os.PRIO_PROCESS, 0), group.read_text() if group.exists() else "")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no sessions")
def test_a_program_beside_a_training_leaves_its_session_and_lets_it_go_first() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=True
    )
    leads, priority, *group = done.stdout.split()
    assert leads == "True"
    assert int(priority) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7)
    if group:  # "/autogroup-12 nice 7"; without it the priority would count within the session only
        assert group[1:] == ["nice", "7"]
