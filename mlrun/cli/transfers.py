"""`mlrun export` and `mlrun import`."""

from __future__ import annotations

from pathlib import Path

import click

import mlrun
from mlrun.cli.opening import find_runs, the_store
from mlrun.cli.output import format_options, note, print_frame
from mlrun.cli.progress import stages
from mlrun.errors import NotFound

__all__ = ["export", "import_"]

_TARGET = click.Path(path_type=Path)


@click.command()
@click.argument("names", metavar="[RUN]... TARGET", nargs=-1, required=True)
@click.option("--all", "everything", is_flag=True, help="Every run of the store (or of --project).")
@click.option(
    "--project", "-p", metavar="NAME", help="Every run of this project, or those of --where in it."
)
@click.option("--where", "-w", metavar="EXPR", help="The runs that fit.")
@format_options
@click.pass_context
def export(
    ctx: click.Context,
    names: tuple[str, ...],
    everything: bool,
    project: str | None,
    where: str | None,
    form: str | None,
) -> None:
    """Write runs, their children, points, console lines and artifacts to TARGET.

    TARGET is a new folder, or a tar file if its name ends in .tar. `ALL` in place of runs is --all.
    """
    import polars as pl

    from mlrun.care.transfer import export_runs

    *runs, target = names
    everything = everything or runs == ["ALL"]
    if bool(runs and runs != ["ALL"]) == bool(everything or project or where):
        raise click.UsageError("say which runs: RUN..., --all, --project or --where")
    store = the_store(ctx)
    run_ids: list[str] | None
    if project or where:
        question = {"project": project, "where": where, "columns": ["run_id"], "children": True}
        run_ids = mlrun.runs(**question, archived=True, store=store)["run_id"].to_list()  # type: ignore[arg-type]
        if not run_ids:
            raise NotFound("no run fits: nothing to export")
    else:
        run_ids = None if everything else [v.id for v in find_runs(store, tuple(runs))]
    with stages() as stage:
        manifest = export_runs(store, Path(target), run_ids, progress=stage)
    rows = {name: entry["rows"] for name, entry in manifest["tables"].items()}
    rows |= {"objects": len(manifest["objects"])}
    print_frame(pl.DataFrame({"table": list(rows), "rows": list(rows.values())}), form)
    for sha256, owner in manifest["missing"].items():
        note(
            f"the store has lost the bytes of {owner} ({sha256[:12]}…): everything else was exported"
        )
    ctx.exit(1 if manifest["missing"] else 0)


@click.command("import")
@click.argument("source", type=_TARGET)
@format_options
@click.pass_context
def import_(ctx: click.Context, source: Path, form: str | None) -> None:
    """Read runs from an export, a folder or a .tar; runs that are there already are left alone."""
    import polars as pl

    from mlrun.care.arrival import import_runs

    if not source.exists():
        raise NotFound(f"{source} is not there")
    store = the_store(ctx, create=True)
    with stages() as stage:
        counts = import_runs(store, source, progress=stage)
    print_frame(pl.DataFrame({"what": list(counts), "count": list(counts.values())}), form)
