"""The client's end: connections that stay open, what is sent again, TLS, proxies, keys."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import mlrun
from mlrun.errors import ConfigError, NotSignedIn, StoreError, StoreUnreachable
from mlrun.statefolder import keys_file, write_private
from mlrun.storage.gateway_http import Http
from mlrun.store import close_all, open_store
from mlrun.testing.gatewayserver import GatewayServer
from mlrun.wire import API

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlrun.testing.gatewaythread import GatewayThread

Script = list[Any]


@pytest.fixture
def scripted() -> Iterator[Callable[[Script], tuple[str, list[str]]]]:
    """Serve a list of answers, one a request: a status, or "cut" for a connection that ends without one."""
    servers: list[ThreadingHTTPServer] = []

    def start(script: Script) -> tuple[str, list[str]]:
        heard: list[str] = []

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                heard.append(f"{self.command} {self.client_address[1]}")
                answer = script.pop(0)
                if answer == "cut":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                body = b'{"error": "StoreBusy", "detail": "later"}'
                self.send_response(answer)
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", heard

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_connections_stay_open(scripted: Callable[[Script], tuple[str, list[str]]]) -> None:
    url, heard = scripted([200] * 3)
    http = Http(url)
    for _ in range(3):
        http.send("GET", "/")
    http.close()
    assert len(set(heard)) == 1


def test_what_may_be_sent_again_is_and_nothing_else(
    scripted: Callable[[Script], tuple[str, list[str]]],
) -> None:
    url, heard = scripted([503, "cut", 200, 200, "cut", 503])
    http = Http(url)
    assert http.send("GET", "/", again=True).status == 200
    assert len(heard) == 3
    http.send("POST", "/")
    with pytest.raises(StoreUnreachable):
        http.send("POST", "/")
    with pytest.raises(StoreError, match="later"):
        http.send("POST", "/")
    assert len(heard) == 6
    http.close()


def test_a_server_of_something_else_is_told_apart(
    scripted: Callable[[Script], tuple[str, list[str]]],
) -> None:
    url, _ = scripted([404])
    http = Http(url)
    with pytest.raises(StoreError, match="later"):
        http.send("GET", "/")
    http.close()


@pytest.mark.parametrize("url", ["http://", "http://a:b@host", "http://host:port", "ftp://host"])
def test_urls_that_are_no_gateway_s(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Http(url)
    assert "a:b" not in str(raised.value)


def test_the_key_comes_from_settings_then_from_login_and_is_never_shown(
    serve: Callable[..., GatewayThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve().url
    token = os.environ["MLRUN_API_KEY"]
    monkeypatch.delenv("MLRUN_API_KEY")
    with pytest.raises(NotSignedIn):
        mlrun.runs(store=url)
    write_private(keys_file(), json.dumps({url: token}))
    store = open_store(url)
    assert mlrun.runs(store=store).height == 0
    assert token not in f"{store!r}{store.__reduce__()}{store.records!r}"


def test_login_keeps_a_key_that_is_good(
    serve: Callable[..., GatewayThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve().url
    token = os.environ["MLRUN_API_KEY"]
    monkeypatch.delenv("MLRUN_API_KEY")
    command = [sys.executable, "-P", "-m", "mlrun.cli", "login", url]

    def login(key: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, input=key + "\n", capture_output=True, text=True, check=False
        )

    refused = login("wrong")
    assert refused.returncode == 1
    assert not keys_file().exists()
    done = login(token)
    assert done.returncode == 0, done.stderr
    assert token not in done.stdout + done.stderr
    assert mlrun.runs(store=url).height == 0
    assert login("").returncode == 0
    assert json.loads(keys_file().read_text()) == {}


def test_certificates_are_checked(
    tmp_path: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLRUN_API_KEY")
    certificate, key = _certificate(tmp_path)
    words = ("--tls-cert", str(certificate), "--tls-key", str(key), "--no-flight")
    with GatewayServer(tmp_path / "s", *words, state=state_folder, answer_processes=0) as server:
        assert server.url.startswith("https://")
        with pytest.raises(StoreUnreachable, match="certificate verify failed"):
            mlrun.runs(store=server.url)
        monkeypatch.setenv("MLRUN_CA_FILE", str(certificate))
        close_all()
        assert mlrun.runs(store=server.url).height == 0
        assert server.stop() == 0
        assert "timeout" not in server.log.read_text()  # it has waited for no idle connection


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway of a test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_a_proxy_of_the_environment_is_asked_for_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(1000))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(StoreUnreachable, match="403"):
            Http("http://gateway.example:3001").send("GET", f"{API}/info")
        thread.join()
    assert heard[0].startswith(b"CONNECT gateway.example:3001 ")
    assert b"Bearer" not in heard[0]


def test_asking_by_key_loads_no_frame() -> None:
    code = """
import sys
from mlrun.registry import storage_class
from mlrun.tables import RUNS
try:
    storage_class("http://x")("http://127.0.0.1:1").lookup(RUNS, {})
except Exception as error:
    assert type(error).__name__ == "StoreUnreachable", error
print([m for m in ("polars", "pyarrow", "httpx", "fastapi", "requests") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
