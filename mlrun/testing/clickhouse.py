"""A ClickHouse for tests: the real engine, of the wheel `chdb`, in a process of its own behind HTTP on loopback.

The engine must not live in the process of the tests: a child forked from it would hang, and it takes half a gigabyte.

```python
with ClickHouseServer() as server:
    series = ClickHouseSeries(server.database())
```
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from mlrun.ids import uuid7

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ClickHouseServer"]


class ClickHouseServer:
    """An engine in a new folder; a context manager.

    Args:
        password: what clients must give, for any user; empty for none.
        folder: where the data lie; default a temporary folder, removed afterwards.

    Attributes:
        port: where it listens, anew after every start.
    """

    def __init__(self, *, password: str = "", folder: Path | None = None) -> None:
        self._password = password
        self._given = folder
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> ClickHouseServer:
        """Make the folder and start."""
        self._folder = self._given or Path(tempfile.mkdtemp(prefix="mlrun-ch-"))
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill it and remove its folder."""
        self.kill()
        if self._given is None and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the engine on its folder; returns when it answers."""
        import mlrun

        home = str(Path(mlrun.__file__).absolute().parent.parent)
        command = [sys.executable, "-P", "-m", "mlrun.testing.clickhousefront"]
        self._process = subprocess.Popen(
            [*command, f"{self._folder}/engine", self._password],
            env={**os.environ, "PYTHONPATH": home},
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        told = self._process.stdout.readline()
        if not told:
            raise RuntimeError(f"the engine did not start: code {self._process.wait()}")
        self.port = int(told)

    def kill(self) -> None:
        """End it as SIGKILL does: nothing is flushed."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def restart(self) -> None:
        """Kill it and start it again on the same data, at another port."""
        self.kill()
        self.start()

    def url(self, database: str) -> str:
        """Return the URL of a database, as MLRUN_SERIES_URL takes it."""
        word = f":{self._password}" if self._password else ""
        return f"clickhouse://default{word}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """Return the URL of a database that is not there yet."""
        return self.url(f"t{uuid7().replace('-', '')}")

    def sql(self, statement: str) -> str:
        """Run a statement over plain HTTP; returns what it prints, tab-separated."""
        request = Request(f"http://127.0.0.1:{self.port}/", statement.encode())
        request.add_header("X-ClickHouse-Key", self._password)
        with urlopen(request, timeout=120) as answer:
            return str(answer.read().decode())

    def drop(self, url: str) -> None:
        """Drop a database."""
        self.sql(f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} SYNC")
