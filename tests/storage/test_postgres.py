from __future__ import annotations

import pytest

from mlrun.testing.records import RecordsConformance

pytestmark = pytest.mark.postgres


class TestPostgreSQL(RecordsConformance):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url
