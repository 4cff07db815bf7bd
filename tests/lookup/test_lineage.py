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


def test_an_artifact_tells_which_runs_made_and_used_it() -> None:
    with mlrun.init(project="p", name="maker") as maker:
        maker.log_artifact("train", body="rows")
        maker.log_artifact("other", body="rows")
    with mlrun.init(project="p", name="user") as user:
        user.use_artifact("p/train:v1")
    with mlrun.init(project="p", name="again") as again:
        again.log_artifact("train", body="more")
    found = mlrun.get_artifact("p/train:v1").lineage()
    assert found.columns == ["role", "run_id", "step", "time"]
    assert found.select("role", "run_id").rows() == [("output", maker.id), ("input", user.id)]
