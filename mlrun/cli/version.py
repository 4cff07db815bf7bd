"""`mlrun version`."""

from __future__ import annotations

import click

from mlrun import __version__
from mlrun.cli.output import format_options, print_json

__all__ = ["version"]


@click.command()
@format_options
def version(form: str | None) -> None:
    """Print the version; as JSON and CSV with the format of stores."""
    from mlrun.store import FORMAT

    if form == "json":
        print_json({"version": __version__, "store_format": FORMAT})
    elif form == "csv":
        click.echo(f"version,store_format\n{__version__},{FORMAT}")
    else:
        click.echo(__version__)
