from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import mlrun
from mlrun.errors import ConfigError, RunError
from mlrun.functions.making import new_function
from mlrun.workflows.workflow import Plan, on_exit, run_workflow, workflow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

    from mlrun.view import RunView


def step(handler: Callable[..., Any], name: str = "", **options: Any) -> Any:
    """Add a step that runs a callable."""
    return new_function(handler=handler).as_step(name=name, **options)


def plus(a, b=1):  # type: ignore[no-untyped-def]
    return a + b


def boom(context, x=0):  # type: ignore[no-untyped-def]
    raise ValueError(f"boom {x}")


def run(function: Callable[..., Any], **arguments: Any) -> RunView:
    """Run a workflow on the local engine."""
    return run_workflow(Plan.of(function), arguments, engine="local")


def failed(function: Callable[..., Any], **options: Any) -> RunView:
    """Run a workflow that must not complete; returns its run."""
    with pytest.raises(RunError) as caught:
        run_workflow(Plan.of(function), engine="local", **options)
    view: Any = caught.value.run
    found: RunView = view
    return found


def steps_of(view: RunView) -> dict[str, dict[str, Any]]:
    """Return the runs of a workflow's steps by name."""
    frame = mlrun.runs(where=f"parent = '{view.id}'", children=True)
    return {row["name"]: row for row in frame.iter_rows(named=True)}


def states_of(view: RunView) -> dict[str, str]:
    return {name: row["state"] for name, row in steps_of(view).items()}


def test_data_goes_from_step_to_step_by_reference() -> None:
    def make(context):  # type: ignore[no-untyped-def]
        import polars as pl

        context.log_dataset("numbers", pl.DataFrame({"x": [1, 2, 3]}))
        context.log_result("factor", 10)

    def total(numbers: pl.DataFrame, factor):  # type: ignore[no-untyped-def]
        return factor * numbers["x"].sum()

    def flow():  # type: ignore[no-untyped-def]
        made = step(make)
        summed = step(
            total, params={"factor": made.outputs["factor"]},
            inputs={"numbers": made.outputs["numbers"]}, returns=["total"],
        )  # fmt: skip
        return {"total": summed.outputs["total"], "data": made.outputs["numbers"]}

    view = run(flow)
    assert (view.state, view.results["total"]) == ("completed", 60)
    assert view.results["data"].startswith("store://")
    given = mlrun.get_run(steps_of(view)["total"]["run_id"])
    assert given.params == {"factor": 10}
    assert given.provenance["task"]["inputs"] == {"numbers": view.results["data"]}


def test_branches_run_side_by_side(tmp_path: Path) -> None:
    def meet(me, other, folder):  # type: ignore[no-untyped-def]
        import time
        from pathlib import Path

        Path(folder, me).touch()
        end = time.monotonic() + 60
        while not Path(folder, other).exists():
            assert time.monotonic() < end, f"{me} never met {other}"
            time.sleep(0.01)

    def flow():  # type: ignore[no-untyped-def]
        for me, other in ("ab", "ba"):
            step(meet, me, params={"me": me, "other": other, "folder": str(tmp_path)})

    assert run(flow).state == "completed"


def test_what_is_ready_does_not_wait_for_what_is_not(tmp_path: Path) -> None:
    """More steps than threads hang on a slow one; a free one made after them lets it end."""

    def wait(folder):  # type: ignore[no-untyped-def]
        import time
        from pathlib import Path

        end = time.monotonic() + 60
        while not Path(folder, "free").exists():
            assert time.monotonic() < end
            time.sleep(0.01)

    def free(folder):  # type: ignore[no-untyped-def]
        from pathlib import Path

        Path(folder, "free").touch()

    def flow():  # type: ignore[no-untyped-def]
        slow = step(wait, params={"folder": str(tmp_path)})
        for _ in range(40):
            step(plus, params={"a": 1}, after=slow, local=True)
        step(free, params={"folder": str(tmp_path)})

    assert run(flow).state == "completed"


def test_conditions_and_loops_on_outputs_are_plain_python() -> None:
    def flow(n: int = 3):  # type: ignore[no-untyped-def]
        found = step(plus, params={"a": n, "b": 0}, returns=["y"])
        for _ in range(found.outputs["y"]):
            found = step(plus, params={"a": found.outputs["y"]}, returns=["y"])
        if found.outputs["y"] > 5 and 10 - found.outputs["y"] == 4:
            step(plus, "big", params={"a": 1})
        else:
            step(plus, "small", params={"a": 1})
        return f"{found.outputs['y']:03d}"

    view = run(flow, n=3)
    assert view.results == {"return": "006"}
    assert set(states_of(view)) == {"plus", "plus-2", "plus-3", "plus-4", "big"}


def test_after_orders_steps_that_share_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def write(word, log, nap):  # type: ignore[no-untyped-def]
        import time
        from pathlib import Path

        time.sleep(nap)
        with Path(log).open("a") as file:
            file.write(word)

    def flow():  # type: ignore[no-untyped-def]
        first = step(write, params={"word": "a", "log": str(log), "nap": 0.3})
        second = step(write, params={"word": "b", "log": str(log), "nap": 0}).after(first)
        step(write, params={"word": "c", "log": str(log), "nap": 0}, after=[first, second])

    run(flow)
    assert log.read_text() == "abc"


def test_after_says_when_it_comes_too_late() -> None:
    def flow():  # type: ignore[no-untyped-def]
        first = step(plus, params={"a": 1})
        first.after(step(plus, params={"a": 2}))

    assert "say .after(...) where it is made" in str(failed(flow).error)


def test_dependants_of_a_failed_step_are_skipped_and_the_others_run() -> None:
    def flow():  # type: ignore[no-untyped-def]
        bad = step(boom)
        middle = step(plus, "middle", params={"a": bad.outputs["y"]}, returns=["y"])
        step(plus, "last", params={"a": middle.outputs["y"]})
        step(plus, "ordered", params={"a": 1}).after(bad)
        step(plus, "free", params={"a": 1})

    view = failed(flow)
    assert view.state == "error"
    assert "1 of 5 steps failed, 3 after them skipped: boom: ValueError: boom 0" in str(view.error)
    steps = steps_of(view)
    assert states_of(view) == {
        "boom": "error", "middle": "skipped", "last": "skipped", "ordered": "skipped", "free": "completed",
    }  # fmt: skip
    assert steps["middle"]["error"] == "step 'boom' before it failed"
    assert steps["last"]["error"] == "step 'middle' before it failed"


def test_looking_at_an_output_of_a_failed_step_ends_the_workflow_and_not_the_other_steps() -> None:
    def nap():  # type: ignore[no-untyped-def]
        import time

        time.sleep(0.5)

    def flow():  # type: ignore[no-untyped-def]
        step(nap, "free")
        if step(boom).outputs["y"] > 1:
            step(plus, "never", params={"a": 1})

    view = failed(flow)
    assert "1 of 2 steps failed: boom" in str(view.error)
    assert states_of(view) == {"boom": "error", "free": "completed"}


def test_a_fault_of_the_workflow_itself_is_its_traceback() -> None:
    def flow():  # type: ignore[no-untyped-def]
        step(plus, params={"a": 1})
        raise KeyError("mine")

    view = failed(flow)
    assert "KeyError: 'mine'" in str(view.error)
    assert states_of(view) == {"plus": "completed"}


def test_an_output_that_a_step_has_not_is_told_with_the_nearest() -> None:
    def flow():  # type: ignore[no-untyped-def]
        made = step(plus, params={"a": 1}, returns=["accuracy"])
        step(plus, "next", params={"a": made.outputs["acuracy"]})

    view = failed(flow)
    assert "did you mean 'accuracy'" in steps_of(view)["next"]["error"]


def test_exit_handlers_hear_how_it_ended_and_may_run_steps() -> None:
    heard: list[Any] = []

    def flow(good: bool):  # type: ignore[no-untyped-def]
        def tidy(state, error, word):  # type: ignore[no-untyped-def]
            heard.append((state, error, word))
            step(plus, "tidy", params={"a": 1})

        on_exit(tidy, word="w")
        step(plus if good else boom, "work", params={"a": 1} if good else {})

    view = run(flow, good=True)
    assert states_of(view) == {"work": "completed", "tidy": "completed"}
    bad = failed(flow, arguments={"good": False})
    assert states_of(bad) == {"work": "error", "tidy": "completed"}
    assert [h[0] for h in heard] == ["completed", "error"]
    assert "boom" in heard[1][1]


def test_a_failing_exit_handler_is_told_and_changes_nothing() -> None:
    def flow():  # type: ignore[no-untyped-def]
        on_exit(lambda: 1 / 0)
        step(plus, params={"a": 1})

    with pytest.warns(Warning, match="ZeroDivisionError"):
        assert run(flow).state == "completed"


def test_a_step_is_retried_where_it_is_asked(tmp_path: Path) -> None:
    def flaky(path):  # type: ignore[no-untyped-def]
        from pathlib import Path

        if not Path(path).exists():
            Path(path).touch()
            raise OSError("first time")
        return 7

    def flow():  # type: ignore[no-untyped-def]
        made = step(
            flaky, params={"path": str(tmp_path / "seen")}, returns=["y"],
            retry={"count": 1, "backoff": 0},
        )  # fmt: skip
        return made.outputs["y"]

    view = run(flow)
    assert view.results == {"return": 7}
    attempts = mlrun.runs(where=f"parent = '{steps_of(view)['flaky']['run_id']}'", children=True)
    assert sorted(attempts["state"]) == ["completed", "error"]


def test_a_sweep_is_a_step() -> None:
    def square(context, x):  # type: ignore[no-untyped-def]
        context.log_result("y", -((x - 2) ** 2))

    def flow():  # type: ignore[no-untyped-def]
        best = step(
            square, hyperparams={"x": [1, 2, 3]}, hyper_param_options={"selector": "max.y"},
        )  # fmt: skip
        return step(plus, params={"a": best.outputs["y"]}, returns=["z"]).outputs["z"]

    view = run(flow)
    assert view.results == {"return": 1}
    assert mlrun.get_run(steps_of(view)["square"]["run_id"]).iterations.height == 3


def test_a_workflow_called_inside_another_is_a_part_of_it() -> None:
    @workflow
    def inner(a):  # type: ignore[no-untyped-def]
        return step(plus, params={"a": a}, returns=["y"])

    @workflow
    def outer():  # type: ignore[no-untyped-def]
        return inner(inner(1).outputs["y"]).outputs["y"]

    view = outer()
    assert view.results == {"return": 3}
    assert set(states_of(view)) == {"plus", "plus-2"}
    assert mlrun.runs(where="kind = 'workflow'").height == 1


def test_outside_a_workflow_there_are_no_steps() -> None:
    with pytest.raises(ConfigError, match=r"mlrun\.workflow"):
        step(plus, params={"a": 1})
    with pytest.raises(ConfigError, match=r"mlrun\.workflow"):
        on_exit(print)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parms": {"a": 1}}, "did you mean 'params'"),
        ({"parent": "x"}, "not for a step"),
        ({"schedule": "0 0 * * *"}, "not for a step"),
        ({"params": {"a": "STEP"}}, "which of its outputs"),
    ],
)
def test_what_a_step_cannot_be_given_is_told(options: dict[str, Any], words: str) -> None:
    def flow():  # type: ignore[no-untyped-def]
        if "params" in options:
            options["params"]["a"] = step(plus, params={"a": 1})
        step(plus, **options)

    assert words in str(failed(flow).error)


def test_arguments_are_checked_before_a_run_is_made() -> None:
    def flow(depth: int):  # type: ignore[no-untyped-def]
        pass

    with pytest.raises(ConfigError, match="did you mean 'depth'"):
        run(flow, dept=1)
    with pytest.raises(ConfigError, match="engine is local or ray"):
        run_workflow(Plan.of(flow), {"depth": 1}, engine="kfp")
    assert mlrun.runs().is_empty()


def test_its_graph_is_kept_as_picture_and_text() -> None:
    def flow():  # type: ignore[no-untyped-def]
        first = step(plus, '<script>alert("1")</script>\x01 & co', params={"a": 1}, returns=["y"])
        step(plus, "x" * 5000, params={"a": first.outputs["y"]})

    view = run(flow)
    picture = view.artifact("workflow_graph").path().read_text()
    assert "<script>" not in picture
    assert "&lt;script&gt;" in picture
    from xml.etree import ElementTree

    ElementTree.fromstring(picture)
    text = view.provenance["mermaid"]
    assert "script>" not in text
    assert "s0 --> s1" in text
    (first, second) = view.provenance["graph"]
    assert second["before"] == [first["name"]]
    assert len(second["name"]) == 1024
    assert {s["state"] for s in (first, second)} == {"completed"}


@pytest.mark.parametrize("name", ["../../etc/passwd", "'; drop table runs --", "é🎉", "", "a\0b"])
def test_any_text_is_a_steps_name(name: str) -> None:
    def flow():  # type: ignore[no-untyped-def]
        step(plus, name, params={"a": 1})
        step(plus, name, params={"a": 1})

    wanted = name.replace("\0", "") or "plus"
    assert states_of(run(flow)) == {wanted: "completed", f"{wanted}-2": "completed"}


def test_two_hundred_steps() -> None:
    def flow():  # type: ignore[no-untyped-def]
        first = [step(plus, params={"a": i}, returns=["y"], local=True) for i in range(199)]
        total = [s.outputs["y"] for s in first]
        return step(sum, "sum", params={"iterable": total}, returns=["y"], local=True).outputs["y"]

    view = run(flow)
    assert view.results == {"return": sum(range(1, 200))}
    assert view.provenance["graph"][-1]["before"][:2] == ["plus", "plus-2"]


def test_a_pickle_is_trusted_by_steps_of_the_same_workflow_and_by_nobody_else(
    tmp_path: Path,
) -> None:
    code = tmp_path / "fractions_of.py"
    code.write_text(
        "from fractions import Fraction\n"
        "def make():\n    return Fraction(1, 2)\n"
        "def read(thing: Fraction):\n    return float(thing)\n"
    )
    function = new_function("fractions", command=str(code), handler="make")

    def flow():  # type: ignore[no-untyped-def]
        made = function.as_step(handler="make", returns=["thing: object"])
        thing = made.outputs["thing"]
        found = function.as_step(handler="read", inputs={"thing": thing}, returns=["n"])
        return {"n": found.outputs["n"], "thing": thing}

    view = run(flow)
    assert view.results["n"] == 0.5
    thing = view.results["thing"]
    with pytest.raises(RunError, match="UntrustedPickle"):
        function.run(handler="read", inputs={"thing": thing}, local=True)

    def other(thing):  # type: ignore[no-untyped-def]
        function.as_step(handler="read", inputs={"thing": thing})

    assert "UntrustedPickle" in str(failed(other, arguments={"thing": thing}).error)


def test_what_it_logs_itself_is_its_runs() -> None:
    def flow():  # type: ignore[no-untyped-def]
        mlrun.log({"progress": 0.5})
        found = mlrun.current_run()
        assert found is not None
        found.log_result("mine", 1)

    view = run(flow)
    assert (view.summary, view.results) == ({"progress": 0.5}, {"mine": 1})


def test_a_workflow_that_takes_too_long_is_aborted_with_its_steps() -> None:
    def nap():  # type: ignore[no-untyped-def]
        import time

        time.sleep(600)

    def flow():  # type: ignore[no-untyped-def]
        slow = step(nap)
        step(plus, "next", params={"a": 1}).after(slow)

    view = failed(flow, timeout=1)
    assert (view.state, "time limit of 1 s" in str(view.error)) == ("aborted", True)
    assert states_of(view) == {"nap": "aborted", "next": "skipped"}


def test_beside_the_caller_it_goes_on_and_can_be_aborted() -> None:
    def nap():  # type: ignore[no-untyped-def]
        import time

        time.sleep(600)

    def flow():  # type: ignore[no-untyped-def]
        step(nap)

    view = run_workflow(Plan.of(flow), engine="local", watch=False)
    end = time.monotonic() + 60
    while "running" not in states_of(view).values():
        assert time.monotonic() < end
        time.sleep(0.05)
    view.abort(reason="enough")
    assert (view.state, view.error) == ("aborted", "enough")
    assert states_of(view) == {"nap": "aborted"}
