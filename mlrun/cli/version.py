"""`mlrun version`."""

from __future__ import annotations

import json

import click

from mlrun import __version__

__all__ = ["version"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As a JSON object, with the store's format.")
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        from mlrun.store import FORMAT

        click.echo(json.dumps({"version": __version__, "store_format": FORMAT}))
    else:
        click.echo(__version__)
