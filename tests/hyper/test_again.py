"""Jobs that are taken up again, and checkpoints of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mlrun
from mlrun.errors import MlrunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.view import RunView

    Start = Callable[..., RunView]


def fragile(context: Any, x: int) -> int:
    from pathlib import Path

    if x in (2, 3) and not Path("mended").exists():
        raise ValueError(f"{x} is broken")
    return x


@pytest.mark.parametrize("parallel", [None, 2])
def test_retry_runs_what_has_not_completed_and_keeps_the_rest(
    parallel: int | None, failed: Start
) -> None:
    view = failed(
        fragile, {"x": [1, 2, 3, 4]}, selector="return", max_errors=1, parallel_runs=parallel
    )
    done = {
        o["iteration"]: o["run_id"]
        for o in mlrun.runs(where=f"parent = '{view.id}' and state = 'completed'").to_dicts()
    }
    Path("mended").touch()
    assert view.retry().state == "completed"
    assert view.iterations["state"].to_list() == ["completed"] * 4
    assert view.results == {"best_iteration": 4, "return": 4}
    assert view.error is None
    found = mlrun.runs(where=f"parent = '{view.id}' and state = 'completed'").to_dicts()
    assert done.items() <= {o["iteration"]: o["run_id"] for o in found}.items()
    assert len(found) == 4


def test_a_random_job_goes_on_with_the_draws_that_it_had(failed: Start) -> None:
    values = {"x": list(range(100))}
    Path("broken").touch()

    def handler(context: Any, x: int) -> int:
        from pathlib import Path

        if context.iteration > 3 and Path("broken").exists():
            raise ValueError
        return x

    view = failed(handler, values, strategy="random", max_iterations=6, max_errors=0)
    before = view.iterations["param.x"].to_list()
    Path("broken").unlink()
    view.retry()
    assert view.iterations["param.x"].to_list()[: len(before)] == before
    assert view.iterations["state"].to_list() == ["completed"] * 6


def test_a_job_whose_inputs_were_in_memory_says_that_it_cannot_go_on(failed: Start) -> None:
    def handler(data: pl.DataFrame, x: int) -> None:
        raise ValueError

    view = failed(handler, {"x": [1]}, inputs={"data": pl.DataFrame({"a": [1]})})
    with pytest.raises(MlrunError, match=r"inputs data .* were values in memory"):
        view.retry()
    assert view.refresh().state == "error"


def test_a_further_attempt_finds_the_checkpoint_of_the_last(sweep: Start) -> None:
    def handler(context: Any) -> int:
        from pathlib import Path

        begun = context.load_checkpoint()
        first = int(Path(begun, "epoch").read_text()) if begun is not None else 0
        Path("epoch").write_text(str(first + 1))
        context.save_checkpoint("epoch")
        if first < 2:
            raise ValueError("once more")
        return first

    from mlrun.functions.making import new_function

    function = new_function("again", project="p", handler=handler)
    view = function.run(local=True, retry={"count": 3, "backoff": 0})
    assert view.results["return"] == 2
