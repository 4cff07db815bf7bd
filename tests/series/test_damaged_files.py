"""One damaged file of the series store costs the points in it, and no others."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import CorruptStore
from mlrun.journal.absorb import absorb
from mlrun.notices import MlrunWarning
from mlrun.store import close_all, open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POINTS = 200
QUESTIONS: list[dict[str, Any]] = [{}, {"points": 50}, {"keys": ["a"]}, {"x": "relative"}]


def fill(*names: str) -> None:
    for name in names:
        with mlrun.init("p", id=name, console=False, system_metrics=False, git=False) as run:
            for step in range(POINTS):
                run.log({"a": float(step)}, step)
    open_store().writer().close()


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    low, high = len(data) // 4, len(data) // 2  # some of it in a column that every question reads
    return data[:low] + bytes(b ^ 0xFF for b in data[low:high]) + data[high:]


def damaged(own_folder: Path, table: str, damage: Callable[[bytes], bytes]) -> str:
    """Absorb runs `a` and `z` into one file, damage it, leave `m` in the journal; returns the file's name."""
    fill("a", "z")
    absorb(open_store(), wait=True)
    fill("m")
    close_all()
    [path] = (own_folder / ".mlrun" / "series" / table).glob("*.parquet")
    path.write_bytes(damage(path.read_bytes()))
    return path.name


@pytest.mark.parametrize("damage", [cut, flipped])
@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_runs_that_lie_only_in_the_journal_need_no_file(
    own_folder: Path, damage: Callable[[bytes], bytes], question: dict[str, Any]
) -> None:
    name = damaged(own_folder, "metrics", damage)
    found = mlrun.metrics("m", **question)
    assert found.height == question.get("points", POINTS)
    for others in ("a", ["m", "z"]):
        with pytest.raises(CorruptStore, match=name) as raised:
            mlrun.metrics(others, **question)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", [cut, flipped])
@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_damage_to_rollups_costs_no_answer(
    own_folder: Path, damage: Callable[[bytes], bytes], question: dict[str, Any]
) -> None:
    name = damaged(own_folder, "metrics_rollups", damage)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = mlrun.metrics(["a", "m", "z"], **question)
    assert found.height == 3 * question.get("points", POINTS)
    told = [str(w.message) for w in caught if w.category is MlrunWarning]
    assert all(name in text for text in told)
    assert len(told) == ("keys" not in question)
