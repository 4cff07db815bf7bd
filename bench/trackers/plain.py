"""Yardsticks: what a loop costs that writes files by hand and loses nothing when it is killed."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Database", "JsonLines", "Lists", "Nothing"]


class Nothing:
    """Stores nothing: what the machine and the interpreter take from any call."""

    script = "pass"

    def __init__(self, folder: str) -> None:
        self.run_id = ""

    def start(self) -> None:
        pass

    def log(self, values: dict[str, float], step: int) -> None:
        pass

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        pass

    def points(self) -> int:
        return 0

    def latest(self, run_id: str) -> Callable[[], float | None]:
        return lambda: None


class Lists(Nothing):
    """Keeps the same five columns in lists: what fifteen stores take that nobody else sees."""

    def start(self) -> None:
        self._columns: list[list[float | str]] = [[], [], [], [], []]

    def log(self, values: dict[str, float], step: int) -> None:
        runs, keys, steps, times, numbers = self._columns
        now = time.time_ns()
        for key, value in values.items():
            runs.append("r")
            keys.append(key)
            steps.append(step)
            times.append(now)
            numbers.append(value)


class JsonLines:
    """One `write` of a line for every call."""

    script = "import json"

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "points.jsonl")
        self.run_id = ""

    def start(self) -> None:
        self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def log(self, values: dict[str, float], step: int) -> None:
        line = json.dumps({"step": step, "time": time.time(), **values})
        os.write(self._file, line.encode() + b"\n")

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        os.fsync(self._file)
        os.close(self._file)

    def points(self) -> int:
        with open(self._path, encoding="utf-8") as file:
            return sum(len(json.loads(line)) - 2 for line in file)

    def latest(self, run_id: str) -> Callable[[], float | None]:
        file = open(self._path, encoding="utf-8")  # noqa: SIM115  it stays open between two questions
        newest: float | None = None

        def ask() -> float | None:
            nonlocal newest
            for line in file:
                newest = json.loads(line)["x"]
            return newest

        return ask


class Database:
    """One SQLite transaction (write-ahead log, `synchronous=normal`) for every call."""

    script = "import sqlite3"

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "points.db")
        self.run_id = ""

    def start(self) -> None:
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.execute("create table points (key text, step int, time real, value real)")

    def log(self, values: dict[str, float], step: int) -> None:
        now = time.time()
        self._db.execute("begin")
        self._db.executemany(
            "insert into points values (?, ?, ?, ?)", [(k, step, now, v) for k, v in values.items()]
        )
        self._db.execute("commit")

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        self._db.close()

    def points(self) -> int:
        db = sqlite3.connect(self._path)
        return int(db.execute("select count(*) from points").fetchone()[0])

    def latest(self, run_id: str) -> Callable[[], float | None]:
        db = sqlite3.connect(self._path)
        query = "select value from points where key = 'x' order by step desc limit 1"

        def ask() -> float | None:
            row = db.execute(query).fetchone()
            return None if row is None else float(row[0])

        return ask
