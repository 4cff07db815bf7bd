"""`mlrun secrets`."""

from __future__ import annotations

import sys
from typing import Any

import click

from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, note, print_frame
from mlrun.config import settings

__all__ = ["secrets"]

_project = click.option("-p", "--project", help="Whose; default MLRUN_PROJECT.")


@click.group(invoke_without_command=True)
@_project
@format_options
@click.pass_context
def secrets(ctx: click.Context, project: str | None, form: str | None) -> None:
    """Set, name and delete secrets that the store keeps for a project, encrypted; alone it names them.

    Nobody reads them again but runs of the project.
    """
    if ctx.invoked_subcommand is None:
        from mlrun.project.secretstore import secret_names

        print_frame(secret_names(the_store(ctx), _named(project)), form)


@secrets.command("set")
@click.argument("name")
@_project
@click.pass_context
def set_secret(ctx: click.Context, name: str, project: str | None) -> None:
    """Set the secret NAME; it is asked for, or read from standard input."""
    from mlrun.project.secretstore import store_secrets

    asked: Any = click.prompt(name, hide_input=True) if sys.stdin.isatty() else sys.stdin.read()
    value = str(asked).rstrip("\r\n")
    store_secrets(the_store(ctx, create=True), _named(project), {name: value})
    note(f"kept {name}: a function has it by the reference secret:{_named(project)}/{name}")


@secrets.command()
@click.argument("name")
@_project
@click.pass_context
def delete(ctx: click.Context, name: str, project: str | None) -> None:
    """Forget the secret NAME."""
    from mlrun.project.secretstore import delete_secret

    delete_secret(the_store(ctx), _named(project), name)


@secrets.command()
@click.pass_context
def rotate(ctx: click.Context) -> None:
    """Encrypt by the newest key what was encrypted by older ones; then those can go."""
    from mlrun.project.secretstore import rotate_secrets

    count = rotate_secrets(the_store(ctx, here=True))
    note(f"{count} secrets were encrypted anew")


@secrets.command("new-key")
def new_key() -> None:
    """Print a key for MLRUN_SECRETS_KEY, which takes several, the newest first."""
    from mlrun.project.secretstore import new_secrets_key

    click.echo(new_secrets_key())


def _named(project: str | None) -> str:
    return project or settings().project
