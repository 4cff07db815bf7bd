from __future__ import annotations

import pytest

from mlrun.testing.series import SeriesConformance

pytestmark = [pytest.mark.clickhouse, pytest.mark.xdist_group("clickhouse")]


class TestClickHouse(SeriesConformance):
    @pytest.fixture
    def url(self, clickhouse_url: str) -> str:
        return clickhouse_url
