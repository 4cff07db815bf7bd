"""Sending a notification: console, webhook, Slack, mail, a comment on an issue or a pull request."""

from __future__ import annotations

import json
import smtplib
import ssl
import sys
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPSHandler, OpenerDirector, Request, build_opener

from mlrun.errors import ConfigError, MlrunError
from mlrun.execution.secrets import read_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlrun.workflows.notification import Ending, Notification

__all__ = ["send"]

_TIMEOUT = 15.0  # seconds
_SIGNS = {
    "completed": "✅",
    "error": "❌",
    "aborted": "⏹",
    "lost": "❓",
    "skipped": "⏭",
    "running": "▶",
}


def send(notification: Notification, ending: Ending) -> None:
    """Send one notification.

    Raises:
        ConfigError: a parameter that the kind needs is missing.
        OSError, MlrunError: the place cannot be reached, or refused.
    """
    params = {k: v for k, v in notification.params.items() if v is not None}
    for key, reference in notification.secret_params.items():
        secret = read_reference(reference)
        params[key] = json.loads(secret) if key == "headers" else secret
    _KINDS[notification.kind](notification, ending, params)


def _console(notification: Notification, ending: Ending, params: Mapping[str, Any]) -> None:
    lines = [f"[{notification.severity}] {ending.text(notification.message)}", *_steps(ending)]
    sys.stderr.write("\n".join(lines) + "\n")


def _webhook(notification: Notification, ending: Ending, params: Mapping[str, Any]) -> None:
    url = _needed(params, "url", "webhook")
    body: Any = {
        "message": ending.text(notification.message), "severity": notification.severity,
        "runs": [_facts(ending), *ending.rows],
    }  # fmt: skip
    if (override := params.get("override_body")) is not None:
        body = _filled(override, ending)
    method = str(params.get("method", "POST")).upper()
    opener = _opener(verify=bool(params.get("verify_ssl", True)))
    _call(opener, url, method, body, params.get("headers") or {})


def _slack(notification: Notification, ending: Ending, params: Mapping[str, Any]) -> None:
    sign = _SIGNS.get(ending.state, "")
    lines = [f"{sign} {ending.text(notification.message)}", *_steps(ending)]
    if ending.results:
        lines.append(", ".join(f"{k} = {v}" for k, v in list(ending.results.items())[:20]))
    text = "\n".join(lines)[:2900].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": text}}]
    body = {"text": text.splitlines()[0], "blocks": blocks}
    _call(_opener(), _needed(params, "webhook", "slack"), "POST", body, {})


def _mail(notification: Notification, ending: Ending, params: Mapping[str, Any]) -> None:
    to = _needed(params, "email_addresses", "mail")
    message = EmailMessage()
    subject = params.get("subject") or ending.text().splitlines()[0]
    message["Subject"] = " ".join(ending.text(str(subject)).split())
    message["From"] = _needed(params, "sender_address", "mail")
    message["To"] = to if isinstance(to, str) else ", ".join(to)
    message.set_content("\n".join([ending.text(notification.message), *_steps(ending)]))
    host, port = _needed(params, "server_host", "mail"), int(params.get("server_port", 587))
    with smtplib.SMTP(host, port, timeout=_TIMEOUT) as server:
        if params.get("use_tls", True):
            server.starttls(context=ssl.create_default_context())
        if params.get("username"):
            server.login(str(params["username"]), str(params.get("password", "")))
        server.send_message(message)


def _git(notification: Notification, ending: Ending, params: Mapping[str, Any]) -> None:
    """Comment on a GitHub issue or pull request, or a GitLab issue or merge request."""
    repo = _needed(params, "repo", "git")
    token = _needed(params, "token", "git")
    text = "\n".join([f"**{ending.text(notification.message)}**", *_steps(ending)])
    server = str(params.get("server") or "")
    if params.get("gitlab") or "gitlab" in server:
        place = "merge_requests" if params.get("merge_request") else "issues"
        number = params.get("merge_request") or _needed(params, "issue", "git")
        url = f"{_site(server, 'gitlab.com')}/api/v4/projects/{quote(repo, safe='')}/{place}/{int(number)}/notes"
        headers = {"PRIVATE-TOKEN": token}
    else:
        number = params.get("issue") or _needed(params, "merge_request", "git")
        api = f"{_site(server, '')}/api/v3" if server else "https://api.github.com"
        url = f"{api}/repos/{quote(repo, safe='/')}/issues/{int(number)}/comments"
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
    _call(_opener(), url, "POST", {"body": text}, headers)


def _site(server: str, default: str) -> str:
    site = server or default
    return site.rstrip("/") if "://" in site else f"https://{site}"


def _needed(params: Mapping[str, Any], name: str, kind: str) -> Any:
    if not params.get(name):
        raise ConfigError(
            f"a notification of kind {kind!r} needs {name!r} in params or secret_params"
        )
    return params[name]


def _facts(ending: Ending) -> dict[str, Any]:
    return {
        "run_id": ending.run_id, "name": ending.name, "project": ending.project, "state": ending.state,
        "error": ending.error, "results": dict(ending.results),
    }  # fmt: skip


def _steps(ending: Ending) -> list[str]:
    return [
        f"{_SIGNS.get(r.get('state', ''), '')} {r.get('name')}: {r.get('state')}"
        for r in ending.rows
    ]


def _filled(body: Any, ending: Ending) -> Any:
    """Fill names into every text of a body of the user's own."""
    if isinstance(body, str):
        return ending.text(body) if body else body
    if isinstance(body, dict):
        return {k: _filled(v, ending) for k, v in body.items()}
    return [_filled(v, ending) for v in body] if isinstance(body, list) else body


def _opener(*, verify: bool = True) -> OpenerDirector:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return build_opener(HTTPSHandler(context=context))


def _call(
    opener: OpenerDirector, url: str, method: str, body: Any, headers: Mapping[str, str]
) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError("a webhook is an http or https address")
    data = None if method == "GET" else json.dumps(body, default=str).encode()
    request = Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            answer.read(1)
    except HTTPError as error:
        with error:
            raise MlrunError(f"the server answered {error.code} {error.reason}") from None


_KINDS: Mapping[str, Callable[[Notification, Ending, Mapping[str, Any]], None]] = {
    "console": _console,
    "git": _git,
    "mail": _mail,
    "slack": _slack,
    "webhook": _webhook,
}
