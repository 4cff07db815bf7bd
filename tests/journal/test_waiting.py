from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.journal import waiting
from mlrun.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_absorber_opens_the_parts_that_this_process_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(waiting, "is_due", lambda *args, **options: True)
    monkeypatch.setattr(waiting, "start_detached", lambda *args, **env: started.append((args, env)))
    records = f"sqlite:///{tmp_path}/elsewhere.db"
    store = Store(tmp_path / "store", records=records)  # as `mlrun server --records` says
    store.prepare()
    assert waiting.absorb_in_background(store)
    [(arguments, variables)] = started
    assert arguments == ("mlrun.journal.absorber", str(store.folder))
    assert variables == {
        "MLRUN_RECORDS_URL": records, "MLRUN_SERIES_URL": "", "MLRUN_OBJECTS_URL": "",
    }  # fmt: skip
