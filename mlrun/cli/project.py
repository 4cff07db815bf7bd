"""`mlrun project`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, note, print_frame, print_json
from mlrun.errors import RunError

if TYPE_CHECKING:
    import polars as pl

    from mlrun.project.project import Project
    from mlrun.store import Store

__all__ = ["project"]


@click.command()
@click.argument("context", default="./")
@click.option("--name", "-n", help="Its name.  [default: the one in project.yaml]")
@click.option("--url", "-u", help="Fetch it: a git URL, an archive or a folder.")
@click.option("--subpath", help="Folder inside, where project.yaml is.")
@click.option("--clone", is_flag=True, help="Fetch it again.")
@click.option("--create", is_flag=True, help="Make it if it is not there; needs --name.")
@click.option("--trust", is_flag=True, help="Run project_setup.py also when it came from a URL.")
@click.option(
    "--setup/--no-setup",
    default=None,
    help="Run project_setup.py.  [default: with --run, --save, --create]",
)
@click.option("--save", is_flag=True, help="Store it and its functions, and write project.yaml.")
@click.option(
    "--param",
    "-p",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the project.",
)
@click.option(
    "--run",
    "-r",
    "workflow",
    metavar="WORKFLOW",
    help="Run one of its workflows; '' for its only one.",
)
@click.option(
    "--argument",
    "-a",
    "arguments",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument of the workflow.",
)
@click.option("--engine", help="local or ray: where the workflow's steps run.")
@click.option(
    "--resume", metavar="RUN", help="Take what a failed run of the workflow has completed."
)
@click.option(
    "--schedule", metavar="CRON", help="Store the workflow's run for `mlrun scheduler` instead."
)
@format_options
@click.pass_context
def project(ctx: click.Context, /, form: str | None, **given: Any) -> None:
    """Show the project in CONTEXT, load it from a URL, or run a workflow of it.

    Values are JSON where they can be read as JSON, else text. Showing a project runs none of its code.
    """
    store = the_store(ctx, create=True)
    found = _open(store, given)
    if given["save"]:
        found.save()
    if given["workflow"] is None:
        if form == "json":
            print_json(found.to_dict())
        else:
            print_frame(_parts(found), form, title=found.name)
        return
    _run(ctx, found, given, form)


def _open(store: Store, given: dict[str, Any]) -> Project:
    from mlrun.project.open import get_or_create_project, load_project

    changes = bool(given["save"] or given["create"] or given["workflow"] is not None)
    options = {
        "context": given["context"], "url": given["url"] or "", "subpath": given["subpath"] or "",
        "clone": given["clone"], "trust": given["trust"], "store": store, "save": given["create"],
        "run_setup": changes if given["setup"] is None else given["setup"],
        "parameters": _values(given["params"], "--param"),
    }  # fmt: skip
    if not given["create"]:
        return load_project(name=given["name"] or "", **options)
    if not given["name"]:
        raise click.UsageError("--create needs --name")
    return get_or_create_project(given["name"], **options)


def _run(ctx: click.Context, found: Project, given: dict[str, Any], form: str | None) -> None:
    options = {k: given[k] for k in ("engine", "resume", "schedule") if given[k]}
    arguments = _values(given["arguments"], "--argument")
    try:
        view = found.run(given["workflow"], arguments=arguments, **options)
    except RunError as error:
        note(str(error))
        ctx.exit(1)
    if given["schedule"]:
        note(f"scheduled {view.name}: {view.cron}")
        return
    if form == "json":
        print_json({"run_id": view.id, "state": view.state, "results": view.results})
    else:
        print_frame(_results(view), form, title=view.name)


def _results(view: Any) -> pl.DataFrame:
    import polars as pl

    rows = [("run_id", view.id), ("state", view.state)]
    rows += [(k, json.dumps(v, default=str)) for k, v in view.results.items()]
    return pl.DataFrame(rows, schema=["name", "value"], orient="row")


def _parts(found: Project) -> pl.DataFrame:
    """Return what a project consists of, a row each."""
    import polars as pl

    spec = found.to_dict()["spec"]
    rows = [("param", k, json.dumps(v, default=str)) for k, v in found.params.items()]
    for part, key in (("function", "name"), ("workflow", "name"), ("artifact", "key")):
        for entry in spec.get(f"{part}s", []):
            place = entry.get("url") or entry.get("path") or entry.get("target_path") or "(inside)"
            rows.append((part, str(entry.get(key)), str(place)))
    rows += [("secret", name, reference) for name, reference in found.secrets.items()]
    return pl.DataFrame(
        rows, schema={"part": pl.String, "name": pl.String, "value": pl.String}, orient="row"
    )


def _values(pairs: tuple[str, ...], option: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} is NAME=VALUE, not {pair!r}")
        try:
            out[name] = json.loads(text)
        except ValueError:
            out[name] = {"True": True, "False": False, "None": None}.get(text, text)
    return out
