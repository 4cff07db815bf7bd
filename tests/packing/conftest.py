from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import mlrun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlrun.tracking.run import Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)
    with mlrun.init(
        "p", console=False, system_metrics=False, git=False, strict=True, quiet=True
    ) as run:
        yield run
