"""`mlrun keys`, `mlrun login`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from mlrun.cli.opening import the_store
from mlrun.cli.output import format_options, note, print_frame
from mlrun.errors import AccessDenied, ConfigError
from mlrun.ids import now_us, uuid7
from mlrun.registry import app_entry, storage_class
from mlrun.statefolder import keys_file, read_private, write_private
from mlrun.tables import AUDIT
from mlrun.tracking.whoami import host, user as this_user
from mlrun.wire import API, JSON

if TYPE_CHECKING:
    import polars as pl

    from mlrun.contracts import Op
    from mlrun.store import Store

__all__ = ["keys", "login"]

_ROLES = ("viewer", "editor", "admin")


@click.group(invoke_without_command=True)
@format_options
@click.pass_context
def keys(ctx: click.Context, form: str | None) -> None:
    """Make, list and revoke keys of a gateway, and give roles; beside its store, or over it.

    Alone it lists them, without what would let anybody use them.
    """
    if ctx.invoked_subcommand is None:
        print_frame(_frame(_Desk(the_store(ctx)).every()), form)


@keys.command()
@click.argument("user")
@click.option("--role", type=click.Choice(_ROLES), help="Role to give the user, too.")
@click.option("-p", "--project", help="Of the role; default the whole server.")
@click.option("--scope", "scopes", multiple=True, help="Only these of read, write, admin.")
@click.option("--only", metavar="PROJECT", help="The key is good for this project alone.")
@click.option("--days", type=float, help="After which the key expires.")
@click.option("--name", help="What the key is for.")
@format_options
@click.pass_context
def create(
    ctx: click.Context,
    /,
    user: str,
    role: str | None,
    project: str | None,
    scopes: tuple[str, ...],
    only: str | None,
    days: float | None,
    name: str | None,
    form: str | None,
) -> None:
    """Make a key for USER and print it; it is not shown again."""
    given = {"user": user, "name": name, "scopes": list(scopes) or None, "project": only}
    desk = _Desk(the_store(ctx, create=True))
    if role is not None:
        desk.set_role(user, project or "", role)
    made = desk.create(given, days)
    if form is None:
        click.echo(made["key"])
        note("keep it: it is stored as a hash only; `mlrun login URL` takes it")
    else:
        print_frame(_frame([made]), form)


@keys.command()
@click.argument("prefix")
@format_options
@click.pass_context
def revoke(ctx: click.Context, prefix: str, form: str | None) -> None:
    """Make a key worthless, for good; PREFIX is its part between `mlr_` and the second `_`."""
    print_frame(_frame([_Desk(the_store(ctx)).revoke(prefix)]), form)


@keys.command()
@click.argument("user")
@click.argument("role", type=click.Choice([*_ROLES, "none"]))
@click.option("-p", "--project", help="Where; default the whole server.")
@click.pass_context
def role(ctx: click.Context, user: str, role: str, project: str | None) -> None:
    """Give USER a role, in a project or on the whole server; `none` takes it."""
    before = _Desk(the_store(ctx)).set_role(user, project or "", None if role == "none" else role)
    note(f"{user} was {before or 'nobody'} {'on the server' if not project else f'in {project}'}")


@click.command()
@click.argument("url")
@format_options
def login(url: str, form: str | None) -> None:
    """Keep a key for the gateway at URL, in a file that only this user can read; asks for the key.

    The key may be given on standard input; empty forgets the one that was kept.
    """
    gateway = storage_class(url)(url)
    key = click.prompt("key", default="", hide_input=True, show_default=False).strip()
    known = _kept()
    known.pop(gateway.url, None)
    if key:
        known[gateway.url] = key
        me = json.loads(
            type(gateway.http)(gateway.url, key=key).send("GET", f"{API}/me", again=True).body
        )
        roles = {"server": me["server"] or None, "roles": json.dumps(me["roles"])}
        if form is not None:
            print_frame(_frame([{"url": gateway.url, "name": me["name"], **roles}]), form)
        note(f"signed in to {gateway.url} as {me['name']}")
    else:
        note(f"forgot the key for {gateway.url}")
    write_private(keys_file(), json.dumps(known))


def _kept() -> dict[str, str]:
    try:
        found = json.loads(read_private(keys_file()) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class _Desk:
    """Where keys are made: the store, or a gateway."""

    def __init__(self, store: Store) -> None:
        self._http = getattr(getattr(store, "gateway", None), "http", None)
        if self._http is None:
            self._entry = app_entry("keys")
            self._keys = self._entry(store.records)

    def create(self, given: dict[str, Any], days: float | None) -> dict[str, Any]:
        if days is not None and not 0 < days <= 3650:
            raise ConfigError("a key expires after 0 to 3,650 days")
        if self._http is not None:
            told = {**given, "days": days}
            return self._send("POST", "keys", {k: v for k, v in told.items() if v is not None})
        until = None if days is None else now_us() + int(days * 86_400e6)
        key, row = self._keys.create(
            **given,
            expires_at=until,
            by="local",
            also=lambda row: [_noted("key.create", row["prefix"], after=row)],
        )
        return {**row, "key": key}

    def every(self) -> list[dict[str, Any]]:
        if self._http is not None:
            found: list[dict[str, Any]] = self._send("GET", "keys")["keys"]
            return found
        return list(self._keys.every())

    def revoke(self, prefix: str) -> dict[str, Any]:
        if self._http is not None:
            if not prefix.isalnum():
                raise AccessDenied(f"{prefix!r} is no prefix of a key")
            return self._send("DELETE", f"keys/{prefix}")
        return dict(self._keys.revoke(prefix, [_noted("key.revoke", prefix)]))

    def set_role(self, user: str, project: str, role: str | None) -> str | None:
        if self._http is None:
            before: str | None = self._keys.set_role(
                user,
                project,
                role,
                lambda before: [_noted("role.set", user, project or None, before, role)],
            )
            return before
        told = {"user": user, "project": project, "role": role}
        found: str | None = self._send("PUT", "roles", told)["before"]
        return found

    def _send(self, method: str, noun: str, body: Any = None) -> dict[str, Any]:
        assert self._http is not None
        text = b"" if body is None else json.dumps(body).encode()
        reply = self._http.send(method, f"{API}/{noun}", text, {"Content-Type": JSON})
        found: dict[str, Any] = json.loads(reply.body)
        return found


def _noted(
    action: str, target: str, project: str | None = None, before: Any = None, after: Any = None
) -> Op:
    """Return the op that notes in the audit log what was done beside the store, and by which user of this host."""
    row = {
        "id": uuid7(), "time": now_us(), "actor": f"local:{this_user() or ''}", "action": action, "project": project,
        "target": target[:1000], "before": None if before is None else json.dumps(before),
        "after": None if after is None else json.dumps(after), "address": host(),
    }  # fmt: skip
    return ("put", AUDIT.name, row)


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    import polars as pl

    frame = pl.DataFrame(rows, infer_schema_length=None)
    times = [c for c in frame.columns if c.endswith("_at") and frame[c].dtype == pl.Int64]
    return frame.with_columns(
        pl.from_epoch(c, time_unit="us").dt.replace_time_zone("UTC") for c in times
    )
