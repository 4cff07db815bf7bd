"""`mlrun artifacts`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

import mlrun
from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, note, print_frame, split_names
from mlrun.content.naming import artifact_uri
from mlrun.errors import NotFound

if TYPE_CHECKING:
    import polars as pl

    from mlrun.store import Store

__all__ = ["artifacts"]


@click.command()
@click.argument("source", metavar="[PROJECT|RUN|PROJECT/KEY]", required=False)
@click.option("--project", "-p", metavar="NAME", help="Only this project.")
@click.option(
    "--keys", "-k", multiple=True, callback=split_names, metavar="NAMES", help="Only these keys."
)
@click.option("--type", "kind", metavar="TYPE", help="Only this type, such as model or dataset.")
@click.option(
    "--download", metavar="TARGET", type=click.Path(path_type=Path),
    help="Copy them into this folder, which is made if it is not there.",
)  # fmt: skip
@format_options
@click.pass_context
def artifacts(
    ctx: click.Context,
    source: str | None,
    project: str | None,
    keys: list[str] | None,
    kind: str | None,
    download: Path | None,
    form: str | None,
) -> None:
    """List the artifacts of a project, of a run, or of everything; or download them.

    PROJECT/KEY may end in :v2 or :alias to name one version.
    """
    import polars as pl

    store = the_store(ctx)
    found = _find(store, source)
    for column, value in (("project", project), ("type", kind)):
        if value:
            found = found.filter(pl.col(column) == value)
    if keys:
        found = found.filter(pl.col("key").is_in(keys))
    if download is None:
        print_frame(found, form)
        return
    if not found.height:
        raise NotFound("no artifact fits: nothing to download")
    print_frame(_download(store, found, download), form)


def _find(store: Store, source: str | None) -> pl.DataFrame:
    import polars as pl

    if source is None:
        return mlrun.artifacts(store=store)
    if source in mlrun.projects(store=store)["name"].to_list():
        return mlrun.artifacts(store=store).filter(pl.col("project") == source)
    if "/" not in source and not source.startswith("store://"):
        return mlrun.artifacts(mlrun.get_run(source, store=store), store=store)
    item = mlrun.get_artifact(source, store=store)
    same = (pl.col("project") == item.project) & (pl.col("key") == item.key)
    return mlrun.artifacts(store=store).filter(same & (pl.col("version") == item.version))


def _download(store: Store, found: pl.DataFrame, target: Path) -> pl.DataFrame:
    """Copy every distinct version; returns what came where."""
    import polars as pl

    from mlrun.cli.progress import progress

    distinct = found.unique(["project", "key", "version"], maintain_order=True)
    target.mkdir(parents=True, exist_ok=True)
    names = distinct.select("project", "key", "version").rows()
    items = [mlrun.get_artifact(artifact_uri(*name), store=store) for name in names]
    files = Counter(item.file_name for item in items)
    copied = []
    with progress("downloading", total=len(items)) as advance:
        for item in items:
            # files of one name are told apart by their content
            alone = files[item.file_name] == 1
            place = target / (item.file_name if alone else f"{item.sha256[:12]}-{item.file_name}")
            if place.exists():
                note(f"{place} is there already")
            else:
                place = item.download(place)
            copied.append((item.project, item.key, item.version, str(place)))
            advance(1)
    return pl.DataFrame(copied, schema=["project", "key", "version", "path"], orient="row")
