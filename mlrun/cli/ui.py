"""`mlrun ui`."""

from __future__ import annotations

import sys
from typing import Any

import click

from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, print_frame
from mlrun.registry import app_entry

__all__ = ["ui"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=3000, show_default=True, help="Port; 0 takes any that is free.")
@click.option("--no-browser", is_flag=True, help="Do not open it in the browser.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Name by which others reach it.")
@click.option("--tls-cert", metavar="FILE", default="", help="Certificate and its chain, PEM.")
@click.option("--tls-key", metavar="FILE", default="", help="Private key, PEM.")
@format_options
@click.pass_context
def ui(ctx: click.Context, /, no_browser: bool, form: str | None, **given: Any) -> None:
    """Show the store in the browser.

    At any other address than this host's own, the store must be a gateway's (MLRUN_DBPATH=https://...), and whoever
    comes signs in. With --json or --csv the address is printed once it listens.
    """
    start = app_entry("ui")
    store = the_store(ctx, create=True)

    def listening(told: dict[str, Any]) -> None:
        import polars as pl

        if form is not None:
            print_frame(pl.DataFrame([told]), form)
            sys.stdout.flush()
        else:
            click.echo(f"mlrun ui: {told['url']}  (ctrl-C ends it)", err=True)

    start(store, browser=not no_browser, listening=listening, **given)
