"""The tests of another file, with every question asked over a gateway: the same frames, the same errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlrun.testing.suites import suite_of

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("over_http")
globals().update(suite_of(ROOT / "tests/promises/conftest.py"))
globals().update(suite_of(ROOT / "tests/promises/test_contract_ask.py"))
