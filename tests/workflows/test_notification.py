from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from mlrun.errors import ConfigError
from mlrun.notices import MlrunWarning
from mlrun.workflows.notification import Ending, Notification, parse_notifications, push

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDING = Ending("id-1", "train", "digits", "completed", results={"acc": 0.97})


class Place:
    """A server on loopback that keeps what it is sent."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, str], Any]] = []
        self.status = 200
        place = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                place.calls.append(
                    (
                        self.command,
                        self.path,
                        dict(self.headers),
                        json.loads(body) if body else None,
                    )
                )
                self.send_response(place.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_PUT = do_GET = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()


@pytest.fixture
def place() -> Iterator[Place]:
    found = Place()
    yield found
    found.server.shutdown()
    found.thread.join()
    found.server.server_close()


def one(kind: str, **params: Any) -> Notification:
    return Notification(kind, params=params)


def test_the_console_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = push([Notification("console")], ENDING)
    out = capsys.readouterr()
    assert (out.out, row["status"]) == ("", "sent")
    assert "run 'train' in project 'digits': completed" in out.err


def test_a_webhook_gets_facts_as_json(place: Place) -> None:
    push(
        [
            Notification(
                "webhook", message="{name}: {results[acc]}", params={"url": place.url + "/x"}
            )
        ],
        ENDING,
    )
    ((method, path, _, body),) = place.calls
    assert (method, path, body["message"]) == ("POST", "/x", "train: 0.97")
    assert body["runs"][0]["results"] == {"acc": 0.97}


def test_a_webhooks_body_and_method_can_be_ones_own(place: Place) -> None:
    body = {"text": "{name} is {state}", "n": [1, "{project}"]}
    push([one("webhook", url=place.url, method="put", override_body=body)], ENDING)
    assert place.calls[0][0] == "PUT"
    assert place.calls[0][3] == {"text": "train is completed", "n": [1, "digits"]}


def test_slack_gets_escaped_text(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", place.url + "/services/T0/s3cr3t")
    hostile = Ending("id", "<!channel> & co", "p", "error", "boom")
    push([Notification("slack", secret_params={"webhook": "env:HOOK"})], hostile)
    text = place.calls[0][3]["blocks"][0]["text"]["text"]
    assert "&lt;!channel&gt; &amp; co" in text


def test_a_comment_goes_to_github_and_gitlab(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cr3t")
    secret = {"token": "env:TOKEN"}
    push(
        [
            Notification(
                "git", params={"repo": "a/b", "issue": 3, "server": place.url}, secret_params=secret
            )
        ],
        ENDING,
    )
    push(
        [
            Notification(
                "git",
                params={"repo": "a/b", "merge_request": 4, "gitlab": True, "server": place.url},
                secret_params=secret,
            )
        ],
        ENDING,
    )
    assert [c[1] for c in place.calls] == [
        "/api/v3/repos/a/b/issues/3/comments",
        "/api/v4/projects/a%2Fb/merge_requests/4/notes",
    ]
    assert place.calls[0][2]["Authorization"] == "Bearer s3cr3t"


def test_a_mail_is_sent_by_smtp() -> None:
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    got: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as lines:
            lines.write(b"220 hi\r\n")
            lines.flush()
            while line := lines.readline():
                word = line[:4].upper()
                if word == b"DATA":
                    lines.write(b"354 go\r\n")
                    lines.flush()
                    while (part := lines.readline()) != b".\r\n":
                        got.append(part)
                lines.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                lines.flush()
                if word == b"QUIT":
                    return

    thread = threading.Thread(target=serve)
    thread.start()
    (row,) = push(
        [one("mail", server_host="127.0.0.1", server_port=listener.getsockname()[1], use_tls=False,
             sender_address="a@b.c", email_addresses=["x@y.z"], subject="{name}\nBcc: evil@x.y")],
        ENDING,
    )  # fmt: skip
    thread.join()
    listener.close()
    text = b"".join(got).decode()
    assert row["status"] == "sent"
    assert "Subject: train Bcc: evil@x.y\r\n" in text
    assert "To: x@y.z" in text


def test_what_cannot_be_sent_is_told_and_keeps_its_secret(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", place.url + "/services/T0/s3cr3t")
    place.status = 403
    with pytest.warns(MlrunWarning, match="403"):
        (row,) = push([Notification("slack", secret_params={"webhook": "env:HOOK"})], ENDING)
    assert row["status"] == "error"
    assert "s3cr3t" not in row["reason"]
    with pytest.warns(MlrunWarning, match="needs 'url'"):
        push([Notification("webhook")], ENDING)
    with pytest.warns(MlrunWarning, match="http or https"):
        push([one("webhook", url="file:///etc/passwd")], ENDING)


@pytest.mark.parametrize(
    ("options", "state", "wanted"),
    [
        ({}, "completed", True),
        ({}, "aborted", False),
        ({"when": ["error"]}, "completed", False),
        ({"condition": "acc > 0.99"}, "completed", False),
        ({"condition": "acc > 0.9"}, "completed", True),
        ({"condition": "acc > 0.99"}, "error", True),
    ],
)
def test_it_is_sent_when_its_state_and_condition_hold(
    options: dict[str, Any], state: str, wanted: bool
) -> None:
    ending = Ending("id", "n", "p", state, results={"acc": 0.95})
    assert Notification("console", **options).wanted(ending) is wanted


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "slak"}, "did you mean 'slack'"),
        ({"kind": "slack", "when": ["done"]}, "when is made of"),
        ({"kind": "console", "condition": "import os"}, "cannot read"),
        ({"kind": "slack", "secret_params": {"webhook": "hunter2"}}, "reference"),
        ({"kind": "console", "mesage": ""}, "did you mean 'message'"),
    ],
)
def test_what_has_no_meaning_is_told(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        parse_notifications([given])
    assert "hunter2" not in str(error.value)


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="named 'console'"):
        parse_notifications([{"kind": "console"}, {"kind": "console"}])


def test_a_notification_becomes_a_dict_and_comes_back() -> None:
    given = Notification("slack", when=("error",), secret_params={"webhook": "env:HOOK"})
    assert Notification.of(given.to_dict()) == given
