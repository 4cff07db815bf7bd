"""`mlrun run` and `mlrun abort`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlrun.cli.opening import find_runs, the_store
from mlrun.cli.output import format_options, note, print_frame, print_json
from mlrun.config import settings
from mlrun.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlrun.functions.function import Function
    from mlrun.store import Store
    from mlrun.view import RunView

__all__ = ["abort", "run"]

_FILES = (".py", ".ipynb", ".yaml", ".yml")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("target")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--handler", help="Function of the file to call; without, the file is run as a script."
)
@click.option("--param", "-p", "params", multiple=True, metavar="NAME=VALUE", help="A parameter.")
@click.option("--input", "-i", "inputs", multiple=True, metavar="NAME=URL", help="An input.")
@click.option("--returns", "-r", multiple=True, metavar="HINT", help="What the handler returns.")
@click.option("--name", help="Name of the run.  [default: the function's]")
@click.option("--project", help="Its project.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label.")
@click.option("--tag", "tags", multiple=True, help="A tag.")
@click.option("--executor", "-e", help="local, ray, ray-job or kuberay.")
@click.option("--local", is_flag=True, help="The same as --executor local.")
@click.option("--retry", type=click.IntRange(0), help="Further attempts when it fails.")
@click.option("--time-limit", metavar="TIME", help="Abort it after 90s, 5m, 1h30m, …")
@click.option(
    "--hyperparam", "-x", "hyper", multiple=True, metavar="NAME=[…]", help="Values to try."
)
@click.option("--param-file", help="CSV or JSON file of values to try.")
@click.option("--strategy", help="grid, list, random, custom or tune.")
@click.option("--selector", help="Which iteration is the best: max.accuracy, min.loss.")
@click.option("--max-iterations", type=click.IntRange(1), help="At most so many iterations.")
@click.option("--parallel-runs", type=click.IntRange(1), help="So many iterations at once.")
@click.option(
    "--hyper-param-options", metavar="JSON", help="Further options of the job, as an object."
)
@click.option("--watch/--no-watch", default=True, help="Wait for its end.  [default: watch]")
@format_options
@click.pass_context
def run(ctx: click.Context, /, target: str, form: str | None, **given: Any) -> None:
    """Run TARGET: a file (.py, .ipynb, .yaml), or a stored function [PROJECT/]NAME[:TAG][@HASH].

    A Python file without --handler is a script, ARGS are its arguments. In it, `mlrun.init()` and
    `mlrun.get_or_create_ctx()` open the run; ARGS may hold parameters in braces, such as `-- --lr {lr}`. Values of
    parameters are JSON where they can be read as JSON, else text.
    """
    from mlrun.execution import launch

    if not given["watch"]:
        _check_end(given)
    store = the_store(ctx, create=True)
    function = _function(store, target, given)
    try:
        view = launch.run(function, store=store, **_asked(given))
    except RunError as error:
        view_of: Any = error.run
        if view_of is None:
            raise
        _tell(view_of, form)
        note(str(error))
        ctx.exit(1)
    _tell(view, form)


def _function(store: Store, target: str, given: dict[str, Any]) -> Function:
    """Return the function that TARGET means; a Python file without a handler is a script."""
    from mlrun.functions.making import as_name, import_function, make, new_function

    path, project = Path(target), given["project"] or settings().project
    if path.suffix not in _FILES:
        return import_function(target, project, store=store)
    if not path.is_file():
        raise click.UsageError(f"there is no file {target!r}")
    if path.suffix == ".py" and not given["handler"]:
        fn = new_function(
            as_name(path), project, command=str(path.absolute()), args=list(given["args"])
        )
        fn.store = store
        return fn
    return make(str(path.absolute()), store=store, project=project, handler=given["handler"])


def _check_end(given: dict[str, Any]) -> None:
    """Refuse to leave a run alone that ends with this command."""
    from mlrun.execution.law import CanReattach
    from mlrun.execution.places import HERE, chosen, place

    where = chosen(given["local"], given["executor"], settings())
    if where == HERE or not isinstance(place(where), CanReattach):
        raise click.UsageError(
            f"--no-watch: a run on {where!r} ends with this command; take --executor ray-job or kuberay"
        )


def _asked(given: dict[str, Any]) -> dict[str, Any]:
    asked = {
        "params": _pairs(given["params"], "--param"),
        "inputs": dict(_split(pair, "--input") for pair in given["inputs"]),
        "labels": _pairs(given["labels"], "--label"),
        "returns": list(given["returns"]) or None,
        "hyperparams": _pairs(given["hyper"], "--hyperparam") or None,
        **{k: given[k] for k in ("name", "project", "tags", "executor", "local", "retry", "watch")},
        "handler": given["handler"],
        "time_limit": given["time_limit"],
    }
    options = ("param_file", "strategy", "selector", "max_iterations", "parallel_runs")
    chosen = _object(given["hyper_param_options"], "--hyper-param-options")
    chosen |= {k: given[k] for k in options if given[k] is not None}
    if chosen:
        asked["hyper_param_options"] = chosen
    return asked


def _object(text: str | None, option: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{option} is JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{option} is an object, such as '{{\"max_errors\": 0}}'")
    return found


def _pairs(given: Iterable[str], option: str) -> dict[str, Any]:
    return {name: _value(text) for name, text in (_split(pair, option) for pair in given)}


def _split(pair: str, option: str) -> tuple[str, str]:
    name, equals, text = pair.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{option} is NAME=VALUE, not {pair!r}")
    return name, text


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _tell(view: RunView, form: str | None) -> None:
    if form == "csv":
        import polars as pl

        row = {"run_id": view.id, "name": view.name, "project": view.project, "state": view.state}
        print_frame(pl.DataFrame([row]), form)
    elif form:
        print_json(
            {
                "run_id": view.id, "name": view.name, "project": view.project, "state": view.state,
                "results": view.results, "outputs": view.outputs, "error": view.error,
            }
        )  # fmt: skip
    else:
        click.echo(view.id)
        note(f"run {view.name!r} is {view.state}")


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--reason", help="Why; becomes the run's error.")
@click.option("--no-wait", is_flag=True, help="Do not wait for their end.")
@format_options
@click.pass_context
def abort(
    ctx: click.Context, runs: tuple[str, ...], reason: str | None, no_wait: bool, form: str | None
) -> None:
    """Abort runs, whoever performs them.

    RUNS are ids, beginnings or ends of ids (4 characters or more), or names: the newest run of that name.
    """
    views = find_runs(the_store(ctx), runs)
    for view in views:
        view.abort(reason, timeout=0 if no_wait else 60)
        if form is None:
            note(f"run {view.name!r} is {view.state}")
    if form is not None:
        import polars as pl

        rows = [{"run_id": v.id, "name": v.name, "state": v.state} for v in views]
        print_frame(pl.DataFrame(rows), form)
