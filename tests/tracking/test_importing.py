from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Python = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

# what a thread of ours imports takes long, and the child needs the same
SLOW = """
import os, sys, threading, time, warnings

warnings.simplefilter("ignore")
begun = threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            begun.set()
            time.sleep(0.5)
        return None

sys.meta_path.insert(0, Slow())
import mlrun

run = mlrun.init(id="r", quiet=True)
assert begun.wait(30)
child = os.fork()
if child == 0:
    __import__({module!r})
    os._exit(7)
for _ in range(300):
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        print(os.waitstatus_to_exitcode(status))
        break
    time.sleep(0.1)
else:
    os.kill(child, 9)
"""


@pytest.mark.parametrize(
    "module",
    ["mlrun.redact", "mlrun.tracking.provenance", "mlrun.journal.absorb", "mlrun.storage.sqlite"],
)
def test_a_child_that_is_forked_while_a_thread_of_ours_imports_never_hangs(
    python: Python, module: str
) -> None:
    done = python(SLOW.format(module=module))
    assert done.stdout == "7\n", done.stderr


def test_a_fork_waits_for_an_import_that_hangs_only_so_long(python: Python) -> None:
    done = python("""
    import os, threading, time
    from mlrun.tracking import importing

    importing._PATIENCE = 0.1
    inside, leave = threading.Event(), threading.Event()

    def hang():
        with importing.importing():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=hang)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        with importing.importing():
            os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    leave.set()
    thread.join()
    with importing.importing():
        print("free")
    """)
    assert done.stdout == "7\nfree\n", done.stderr
