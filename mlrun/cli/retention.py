"""`mlrun retention`."""

from __future__ import annotations

import click

from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, print_frame

__all__ = ["retention"]


@click.group(invoke_without_command=True)
@format_options
@click.pass_context
def retention(ctx: click.Context, form: str | None) -> None:
    """For how long projects keep points, rollups and deleted runs, and how much they may write; alone it lists them.

    `mlrun compact` applies it; a gateway does that by itself, once a day.
    """
    if ctx.invoked_subcommand is None:
        from mlrun.care.retention import policies

        print_frame(policies(the_store(ctx)), form)


@retention.command("set")
@click.argument("project")
@click.option("--raw-days", type=int, help="After which points go of which rollups tell; 0 unsets.")
@click.option("--rollup-days", type=int, help="After which only summaries stay; 0 unsets.")
@click.option("--deleted-days", type=int, help="That deleted runs can be restored; 0 unsets.")
@click.option("--max-metric-keys", type=int, help="Of one run, through a gateway; 0 unsets.")
@click.option("--points-per-second", type=int, help="Through a gateway; 0 unsets.")
@click.pass_context
def set_retention(ctx: click.Context, /, project: str, **given: int | None) -> None:
    """Set the policy of PROJECT; what is not named stays."""
    from mlrun.care.retention import set_policy

    named = {name: value or None for name, value in given.items() if value is not None}
    set_policy(the_store(ctx, create=True), project, **named)
