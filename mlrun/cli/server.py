"""`mlrun server`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, print_frame
from mlrun.registry import app_entry

if TYPE_CHECKING:
    from mlrun.store import Store

__all__ = ["migrate", "server"]


@click.group(invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=3001, show_default=True, help="Port; 0 takes any that is free.")
@click.option(
    "--flight-port", default=50051, show_default=True, help="Port of Arrow Flight; 0 takes any."
)
@click.option("--no-flight", is_flag=True, help="Start no Arrow Flight.")
@click.option("--dbpath", metavar="PATH", help="Folder of the store, as --store.")
@click.option(
    "--records", metavar="URL", help="Where records are: postgresql://…  [MLRUN_RECORDS_URL]"
)
@click.option(
    "--series", metavar="URL", help="Where series are: clickhouse://…  [MLRUN_SERIES_URL]"
)
@click.option("--objects", metavar="URL", help="Where bytes are: s3://…  [MLRUN_OBJECTS_URL]")
@click.option("--tls-cert", metavar="FILE", default="", help="Certificate and its chain, PEM.")
@click.option("--tls-key", metavar="FILE", default="", help="Private key, PEM.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Name by which others reach it.")
@click.option(
    "--allow-origin", multiple=True, metavar="ORIGIN", help="Page that may call it from a browser."
)
@click.option(
    "--answer-processes",
    type=click.IntRange(0, 64),
    help="That work out answers; default one a processor, 4 at most.",
)
@click.option(
    "--requests-per-second", type=float, metavar="N", help="Of one caller; 0 for no bound. [1000]"
)
@click.option(
    "--points-per-second", type=float, metavar="N", help="Of one caller; 0 for no bound. [0]"
)
@click.option(
    "--max-metric-keys", type=int, metavar="N", help="Of one run; 0 for no bound. [10000]"
)
@click.option(
    "--heartbeat",
    type=float,
    metavar="S",
    help="Silence after which runs are lost. [MLRUN_HEARTBEAT]",
)
@click.option(
    "--reserve-bytes",
    type=int,
    metavar="N",
    help="Of the disk that stay free. [MLRUN_RESERVE_BYTES]",
)
@click.option(
    "--oidc-issuer", metavar="URL", default="", help="Take bearer tokens of this OpenID provider."
)
@click.option("--oidc-audience", metavar="NAME", default="", help="For whom its tokens are made.")
@click.option(
    "--oidc-jwks", metavar="URL", default="", help="Its keys; default what its configuration says."
)
@click.option("--oidc-claim", default="email", show_default=True, help="Claim that names the user.")
@click.option(
    "--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"])
)
@format_options
@click.pass_context
def server(ctx: click.Context, /, **given: Any) -> None:
    """Serve the store to others over HTTP; without arguments, the embedded one to programs of this user.

    Until a key has been made (`mlrun keys create`) only programs of this user on this host are let in, and only an
    address of this host is listened at. With --json or --csv the address is printed once it listens.
    """
    if ctx.invoked_subcommand is not None:
        return
    start = app_entry("server")
    store = _store(ctx, given)
    form = given.pop("form")

    def listening(told: dict[str, Any]) -> None:
        import polars as pl

        if form is not None:
            print_frame(pl.DataFrame([told]), form)
            sys.stdout.flush()

    start(store, listening=listening, **given)


@server.command()
@click.option("--backed-up", is_flag=True, help="A backup has been made.")
@format_options
@click.pass_context
def migrate(ctx: click.Context, backed_up: bool, form: str | None) -> None:
    """Bring the schema of every part of the store to this version of mlrun; there is no way back.

    Parts that make no backup themselves are migrated only with --backed-up; without, the command that makes one is
    named.
    """
    import polars as pl

    from mlrun.care.migration import migrate as migrate_store, part_versions
    from mlrun.cli.progress import stages

    assert ctx.parent is not None
    store = _store(ctx, dict(ctx.parent.params), here=True)
    with stages() as stage:
        migrate_store(store, backed_up=backed_up, progress=stage)
    rows = [{"part": p.part, "url": p.url, "version": p.stored} for p in part_versions(store)]
    print_frame(pl.DataFrame(rows), form)


def _store(ctx: click.Context, given: dict[str, Any], *, here: bool = False) -> Store:
    """Return the store that the options name, and take them out."""
    urls = {part: given.pop(part) for part in ("records", "series", "objects")}
    return the_store(ctx, create=True, here=here, dbpath=given.pop("dbpath"), urls=urls)
