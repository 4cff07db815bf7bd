"""`mlrun scheduler`."""

from __future__ import annotations

import signal

import click

from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, note, print_frame

__all__ = ["scheduler"]


@click.command()
@click.option("--list", "listed", is_flag=True, help="Print the schedules and do nothing else.")
@click.option("--invoke", metavar="PROJECT/NAME", help="Run one schedule now, and wait for it.")
@click.option("--delete", metavar="PROJECT/NAME", help="Forget one schedule.")
@format_options
@click.pass_context
def scheduler(
    ctx: click.Context, listed: bool, invoke: str | None, delete: str | None, form: str | None
) -> None:
    """Start runs and workflows at the times that their schedules say, until it is stopped.

    One process a store; every firing runs in a process of its own.
    """
    from mlrun.workflows.fire import fire
    from mlrun.workflows.schedule import delete_schedule, get_schedule, list_schedules
    from mlrun.workflows.scheduler import Scheduler

    store = the_store(ctx, create=not (listed or delete or invoke))
    if listed:
        print_frame(list_schedules(store), form)
    elif delete:
        delete_schedule(store, *_named(delete))
        note(f"deleted {delete}")
    elif invoke:
        view = fire(store, get_schedule(store, *_named(invoke)))
        click.echo(view.id)
        note(f"run {view.name!r} is {view.state}")
    else:
        keeper = Scheduler(store)
        signal.signal(signal.SIGTERM, lambda *_: keeper.stop())
        signal.signal(signal.SIGINT, lambda *_: keeper.stop())
        note(f"keeping the schedules of {store.url}; ctrl-C ends it")
        keeper.run()


def _named(text: str) -> tuple[str, str]:
    project, slash, name = text.rpartition("/")
    if not slash:
        raise click.UsageError(f"say PROJECT/NAME, not {text!r}")
    return project, name
