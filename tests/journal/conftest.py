from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlrun.config import Settings
from mlrun.journal import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def writer(journal: Path) -> Iterator[Writer]:
    opened = Writer.open(journal, settings=Settings())
    yield opened
    opened.close()
