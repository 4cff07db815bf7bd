"""`mlrun compact` and `mlrun doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, note, print_frame
from mlrun.cli.progress import stages

if TYPE_CHECKING:
    from mlrun.contracts import Finding

__all__ = ["compact", "doctor"]


@click.command()
@format_options
@click.pass_context
def compact(ctx: click.Context, form: str | None) -> None:
    """Absorb the journal, merge small files, free runs deleted over 30 days ago and what nobody references.

    Safe at any time, beside writers and readers.
    """
    import polars as pl

    from mlrun.care.compaction import compact as work

    store = the_store(ctx, here=True)
    with stages() as stage:
        counts = work(store, progress=stage)
    rows = {"what": list(counts), "count": list(counts.values())}
    print_frame(pl.DataFrame(rows, schema={"what": pl.String, "count": pl.Int64}), form)


@click.command()
@click.option(
    "--repair", is_flag=True, help="Mend what can be mended; nothing that can be read is removed."
)
@click.option(
    "--quick",
    is_flag=True,
    help="Leave out what reads every byte: hashes of objects and of series files.",
)
@format_options
@click.pass_context
def doctor(ctx: click.Context, repair: bool, quick: bool, form: str | None) -> None:
    """Check every file of the store.

    Exit code 0: clean; 1: notes, or things repaired or repairable; 2: something is lost.
    """
    import polars as pl

    from mlrun.care.doctor import examine

    store = the_store(ctx, here=True)
    with stages() as stage:
        findings = examine(store, repair=repair, quick=quick, progress=stage)
    names = ("severity", "where", "what")
    rows = {name: [getattr(f, name) for f in findings] for name in names}
    if findings or form or not sys.stdout.isatty():
        print_frame(pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String)), form)
    if not form:
        note(_verdict(findings))
    ctx.exit(_code(findings))


def _verdict(findings: list[Finding]) -> str:
    if not findings:
        return "clean"
    counts = {
        s: sum(f.severity == s for f in findings)
        for s in ("lost", "repairable", "repaired", "note")
    }
    told = ", ".join(f"{n} {s}" for s, n in counts.items() if n)
    return told + ("; --repair mends what can be mended" if counts["repairable"] else "")


def _code(findings: list[Finding]) -> int:
    if any(f.severity == "lost" for f in findings):
        return 2
    return 1 if findings else 0
