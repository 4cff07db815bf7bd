"""Notifications: who is told how a run or a workflow ended.

They are sent by the process that watched the end. A notification that cannot be sent is warned about and recorded; it
never changes how a run ended. Tokens and webhook addresses are secrets: `secret_params` holds references
(`env:SLACK_URL`, `file:/run/secrets/token`), which are read when it is sent and are stored nowhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean
from mlrun.hyper.expression import Condition
from mlrun.ids import now_us
from mlrun.notices import warn
from mlrun.redact import redact_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Ending", "Notification", "parse_notifications", "push"]

KINDS = ("console", "git", "mail", "slack", "webhook")
SEVERITIES = ("info", "debug", "verbose", "warning", "error")
STATES = ("completed", "error", "aborted", "lost", "skipped", "running")


@dataclass(frozen=True)
class Notification:
    """One message to one place.

    Attributes:
        kind: console, webhook, slack, mail or git (a comment on an issue, pull or merge request).
        name: names it among the run's; default its kind.
        message: what it says; default how the run ended. `{name}`, `{state}`, `{project}`, `{run_id}` and
            `{results[key]}` are filled in.
        severity: info, debug, verbose, warning or error.
        when: states that it is sent at; "running" is the begin of a workflow.
        condition: an expression over the results, such as `accuracy < 0.9`; only asked of runs that completed.
        params: of the kind: webhook `url method headers override_body verify_ssl`; slack `webhook`; mail
            `server_host server_port sender_address email_addresses subject use_tls`; git `repo issue merge_request
            server gitlab`.
        secret_params: the same, as references to secrets: webhook `url headers`, slack `webhook`, mail `username
            password`, git `token`.

    Raises:
        ConfigError: an unknown kind, severity or state, or a condition that cannot be read.
    """

    kind: str = "console"
    name: str = ""
    message: str = ""
    severity: str = "info"
    when: tuple[str, ...] = ("completed", "error")
    condition: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    secret_params: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, value, known in (
            ("kind", self.kind, KINDS),
            ("severity", self.severity, SEVERITIES),
        ):
            if value not in known:
                hint = did_you_mean(str(value), known)
                raise ConfigError(f"{what} is one of {', '.join(known)}, not {value!r}{hint}")
        given: Any = self.when  # one word, too
        when = (given,) if isinstance(given, str) else tuple(given)
        for state in when:
            if state not in STATES:
                raise ConfigError(
                    f"when is made of {', '.join(STATES)}, not {state!r}{did_you_mean(str(state), STATES)}"
                )
        object.__setattr__(self, "when", when)
        if self.condition:
            Condition.parse(self.condition)
        for key, reference in self.secret_params.items():
            if not isinstance(reference, str) or ":" not in reference:
                raise ConfigError(
                    f"secret_params[{key!r}] is a reference such as env:NAME or file:PATH, not the secret itself"
                )

    @classmethod
    def of(cls, given: Notification | Mapping[str, Any]) -> Notification:
        """Take a notification as an object or a dict; unknown names raise ConfigError."""
        if isinstance(given, Notification):
            return given
        known = [f.name for f in fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigError(f"a notification has no {name!r}{did_you_mean(str(name), known)}")
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Return what differs from the defaults; references to secrets, never secrets."""
        base = asdict(Notification())
        found = asdict(self)
        found["when"], base["when"] = list(found["when"]), list(base["when"])
        # mappings of any kind, as plain dicts
        for name in ("params", "secret_params"):
            found[name] = dict(found[name])
        return {k: v for k, v in found.items() if v != base[k] or k == "kind"}

    def wanted(self, ending: Ending) -> bool:
        """Whether it is sent for this ending."""
        if ending.state not in self.when:
            return False
        if not self.condition or ending.state != "completed":
            return True
        return Condition.parse(self.condition).holds(
            {"results": ending.results, "metrics": ending.metrics}
        )


@dataclass(frozen=True)
class Ending:
    """How a run or workflow ended, as messages tell it.

    Attributes:
        what: "run" or "workflow".
        rows: of a workflow, its steps: dicts with name, state and error.
    """

    run_id: str
    name: str
    project: str
    state: str
    error: str | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    what: str = "run"
    rows: tuple[Mapping[str, Any], ...] = ()

    def text(self, message: str = "") -> str:
        """Return the message with its names filled in; what is in braces and unknown stays as it is."""
        if not message:
            told = f"{self.what} {self.name!r} in project {self.project!r}: {self.state}"
            return f"{told}\n{self.error.strip().splitlines()[-1]}" if self.error else told
        for name in ("run_id", "name", "project", "state", "error"):
            message = message.replace("{" + name + "}", str(getattr(self, name) or ""))
        for key, value in self.results.items():
            message = message.replace("{results[" + str(key) + "]}", str(value))
        return message


def parse_notifications(
    given: Iterable[Notification | Mapping[str, Any]] | None,
) -> list[Notification]:
    """Read the notifications of a run.

    Raises:
        ConfigError: one has no meaning, or two have the same name.
    """
    found = [Notification.of(g) for g in given or ()]
    names = [n.name or n.kind for n in found]
    if twice := {n for n in names if names.count(n) > 1}:
        raise ConfigError(f"two notifications are named {sorted(twice)[0]!r}: give each a name")
    return found


def push(notifications: Iterable[Notification], ending: Ending) -> list[dict[str, Any]]:
    """Send those that are wanted for this ending.

    Returns:
        A row for each: `name, kind, status` ("sent", "error" or "skipped"), `time` (microseconds), `reason`.
    """
    from mlrun.workflows.sending import send

    rows = []
    for notification in notifications:
        row = {"name": notification.name or notification.kind, "kind": notification.kind}
        if not notification.wanted(ending):
            rows.append({**row, "status": "skipped", "time": now_us(), "reason": ""})
            continue
        try:
            send(notification, ending)
        except Exception as error:  # noqa: BLE001  a message that cannot be sent must not end anything
            reason = redact_text(f"{type(error).__name__}: {error}")[:998]
            warn(f"notification {row['name']!r} was not sent: {reason}")
            rows.append({**row, "status": "error", "time": now_us(), "reason": reason})
        else:
            rows.append({**row, "status": "sent", "time": now_us(), "reason": ""})
    return rows
