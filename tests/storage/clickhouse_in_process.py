"""The law of series for the engine in process; `test_clickhouse.py` runs it in a process of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.errors import StoreError
from mlrun.ids import uuid7
from mlrun.registry import storage_class
from mlrun.tables import METRICS
from mlrun.testing.series import SeriesConformance
from mlrun.testing.series_sample import sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALONE = "the engine serves one process"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder, for the engine has one; it runs on while a handle is open."""
    folder = tmp_path_factory.mktemp("engine")
    held = storage_class(url := f"clickhouse+chdb://{folder}")(url)
    held.create(METRICS)
    yield folder
    held.close()


class TestInProcess(SeriesConformance):
    @pytest.fixture
    def url(self, folder: Path) -> str:
        return f"clickhouse+chdb://{folder}?database=t{uuid7().replace('-', '')}"

    @pytest.mark.skip(reason=ALONE)
    def test_two_processes_race_for_the_same_segments(self, series: Any, url: str) -> None: ...

    @pytest.mark.skip(reason=ALONE)
    def test_a_killed_append_is_whole_or_nothing(self, series: Any, url: str) -> None: ...

    @pytest.mark.skip(reason=ALONE)
    def test_processes_lose_nothing(self, series: Any, url: str) -> None: ...


def test_another_folder_is_refused_in_words(folder: Path, tmp_path: Path) -> None:
    here = storage_class(url := f"clickhouse+chdb://{folder}")(url)
    here.append(METRICS, sample(METRICS, 3))
    other = storage_class(url := f"clickhouse+chdb://{tmp_path}/other")(url)
    with pytest.raises(StoreError, match="one process and one folder at a time"):
        other.snapshot(METRICS)
    here.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_told_instead_of_hanging(folder: Path) -> None:
    series = storage_class(url := f"clickhouse+chdb://{folder}")(url)
    series.create(METRICS)
    pid = os.fork()
    if pid == 0:
        try:
            series.snapshot(METRICS)
        except StoreError as error:
            os._exit(0 if "forked child" in str(error) else 2)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    series.close()


def test_an_answer_after_a_failed_query_is_its_own(folder: Path) -> None:
    series = storage_class(url := f"clickhouse+chdb://{folder}?database=after")(url)
    series.append(METRICS, sample(METRICS, 30))
    for _ in range(2):
        with pytest.raises(StoreError):
            series._client.rows("SELECT throwIf(number = 3) AS a FROM numbers(10)")
        assert series.snapshot(METRICS).scan().read_all().num_rows == 30
    series.close()
