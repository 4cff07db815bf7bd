from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlrun.testing.series import SeriesConformance

if TYPE_CHECKING:
    from pathlib import Path


class TestDelta(SeriesConformance):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"delta://{tmp_path}/series"
