"""The command group: global options, commands loaded when they are called, and what an error looks like.

Exit codes: 0 done, 1 an error, 2 the command or question cannot be understood, 3 what was asked for is not there,
130 interrupted. `doctor` has its own: 0 clean, 1 notes or repairs, 2 something is lost.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import click

from mlrun import __version__
from mlrun.errors import MlrunError, NotFound, QueryError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main", "run"]

ERROR, USAGE, NOT_FOUND, INTERRUPTED = 1, 2, 3, 130

# name -> (module:command, one line for the list of commands, so that --help loads none of them)
_COMMANDS = {
    "run": ("execute:run", "Run a script or a function, here or on an executor."),
    "abort": ("execute:abort", "Abort runs, whoever performs them."),
    "project": ("project:project", "Show a project, load it, run a workflow of it."),
    "runs": ("runlist:runs", "List runs."),
    "show": ("show:show", "Show one run: parameters, results, metrics, artifacts, provenance."),
    "metrics": ("questions:metrics", "Print logged points."),
    "sql": ("questions:sql", "Answer one SELECT over the stored tables."),
    "logs": ("console:logs", "Print what a run printed."),
    "artifacts": ("artifactlist:artifacts", "List artifacts, or download them."),
    "export": ("transfers:export", "Write runs to a folder or a .tar."),
    "import": ("transfers:import_", "Read runs from an export."),
    "compact": ("care:compact", "Absorb the journal, merge files, free what is past its time."),
    "ui": ("ui:ui", "Show the store in the browser."),
    "server": ("server:server", "Serve the store to others over HTTP."),
    "sync": ("sync:sync", "Send a gateway what waits for it on this host."),
    "login": ("keys:login", "Keep a key for a gateway."),
    "keys": ("keys:keys", "Make, list and revoke keys of a gateway; give roles."),
    "secrets": ("secrets:secrets", "Set, name and delete secrets of a project."),
    "scheduler": ("scheduler:scheduler", "Start runs and workflows by the clock."),
    "retention": ("retention:retention", "Say for how long projects keep what."),
    "doctor": ("care:doctor", "Check every file of the store; repair what can be repaired."),
    "version": ("version:version", "Print the version."),
}


class _Commands(click.Group):
    """Loads a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"mlrun.cli.{module}"), attribute)
        if cmd_name != "version" and not any(p.name == "store" for p in command.params):
            command.params.append(_store_option())
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = click.utils.make_str(args[0])
        if name not in _COMMANDS and not name.startswith("-"):
            ctx.fail(f"no command {name!r}{did_you_mean(name, _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


def _store_option() -> click.Option:
    """Return `--store` as it stands behind a command, where it counts for more than before it."""
    return click.Option(
        ["--store"],
        metavar="PATH",
        help="Folder of the store, as before the command.",
        expose_value=False,
        callback=_choose_store,
    )


def _choose_store(ctx: click.Context, option: click.Parameter, store: str | None) -> None:
    if store is not None:
        ctx.obj = store


def _print_version(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        click.echo(__version__)
        ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 error, 2 cannot be understood, 3 not found. MLRUN_DEBUG=1 shows tracebacks.",
)
@click.option(
    "--store",
    metavar="PATH",
    envvar="MLRUN_DBPATH",
    help="Folder of the store.  [default: MLRUN_DBPATH, else .mlrun]",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
@click.pass_context
def cli(ctx: click.Context, store: str | None) -> None:
    """Track runs, and ask questions of thousands of them."""
    ctx.obj = store


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    # bytes that the terminal's encoding lacks must not turn an answer into an error
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code, and prints errors as one line on stderr."""
    if "_MLRUN_COMPLETE" in os.environ:
        cli.main(args=args, prog_name="mlrun")  # a shell asks for completions
    words = list(sys.argv[1:] if args is None else args)
    try:
        with cli.make_context("mlrun", words) as ctx:
            cli.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        sys.stdout.flush()
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # `mlrun runs | head` has seen enough; nothing may be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("MLRUN_DEBUG", "") not in {"", "0"}:
            raise
        click.echo(f"mlrun: {_message(error)}", err=True)
        return _code(error)
    return 0


def _code(error: Exception) -> int:
    if isinstance(error, NotFound):
        return NOT_FOUND
    return USAGE if isinstance(error, QueryError) else ERROR


def _message(error: Exception) -> str:
    from mlrun.redact import redact_text

    text = str(error.args[0]) if isinstance(error, NotFound) and error.args else str(error)
    if not isinstance(error, MlrunError | OSError):
        text = f"{type(error).__name__}: {text}  (MLRUN_DEBUG=1 shows where)"
    # a question's error points at the place with a second and third line
    text = text if isinstance(error, QueryError) else " ".join(text.split())
    return redact_text(text)
