"""`mlrun server`."""

from __future__ import annotations

import sys
from typing import Any

import click

from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, print_frame
from mlrun.registry import app_entry

__all__ = ["server"]


@click.command()
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
    start = app_entry("server")
    urls = {part: given.pop(part) for part in ("records", "series", "objects")}
    store = the_store(ctx, create=True, dbpath=given.pop("dbpath"), urls=urls)
    form = given.pop("form")

    def listening(told: dict[str, Any]) -> None:
        import polars as pl

        if form is not None:
            print_frame(pl.DataFrame([told]), form)
            sys.stdout.flush()

    start(store, listening=listening, **given)
