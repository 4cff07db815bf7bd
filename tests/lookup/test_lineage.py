from __future__ import annotations

import mlrun


def test_a_view_tells_what_the_run_made_and_used_with_steps() -> None:
    with mlrun.init(project="p", name="maker") as maker:
        maker.log_artifact("train", body="rows")
    with mlrun.init(project="p", name="user") as run:
        run.use_artifact("p/train:v1")
        run.log({"seen": mlrun.Histogram([1.0, 2.0])}, step=3)
    found = mlrun.get_run(run.id).lineage()
    rows = found.select("role", "key", "version", "step", "uri").rows()
    assert ("input", "train", 1, 0, "store://p/train:v1") in rows
    assert ("output", "seen", 1, 3, "store://p/seen:v1") in rows
    assert found.height == 2
