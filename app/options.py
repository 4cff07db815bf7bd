"""What a gateway is started with: where it listens, what it serves, and its limits."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_address

from mlrun.errors import ConfigError

__all__ = ["Options", "is_loopback"]


@dataclass(frozen=True)
class Options:
    """Settings of one gateway process.

    Attributes:
        host, port: where it listens; port 0 takes any that is free.
        flight_port: of Arrow Flight; 0 takes any, None starts none.
        tls_cert, tls_key: PEM files; both or none.
        hosts: names by which others reach it, beside its own; what `Host` may say.
        origins: pages that may call it from a browser (CORS); none by default.
        threads: of this process, for what would block the event loop; more than a few hold one another up.
        answer_processes: that work out answers beside it; 0 leaves that to the threads.
        waiting: requests that may wait for one of them; more get 503 and `Retry-After`.
        max_body: bytes of a question or a change (ingest and objects have their own).
        max_rows: rows of one page.
        sql_seconds, sql_bytes, sql_rows, sql_children: what one query of a caller may take, and how many run at once.
        drain_seconds: how long a stop waits for requests that have begun.
        requests_per_second: of one caller; 0 for no bound. An uploader sends every 40 ms, so a host sends about 25
            uploads a second, however many runs it has (W2: 100 runs, 100,000 points a second, one uploader), and one
            that catches up sends the next when the last is acknowledged; fifty users who ask without a pause get some
            110 answers a second of two processors (W3). A key that twenty hosts and all of these users share stays well
            below the default. The smallest request costs the event loop half a millisecond: whoever sends as many as
            this has half of it, and leaves the others the rest.
        points_per_second: of one caller; 0 for no bound. A project's policy may bound its points, too.
        max_metric_keys: of one run, where its project's policy says nothing; 0 for no bound.
        compact_hours: after which it compacts the store by itself; 0 for never.
        heartbeat: seconds of silence after which a writer's runs are lost; default MLRUN_HEARTBEAT, else 60.
        reserve_bytes: of the gateway's disk that stay free; default MLRUN_RESERVE_BYTES, else 1 GB.
        oidc_issuer, oidc_audience: whose tokens are taken besides keys, and for whom they must be made.
        oidc_jwks: where the issuer's keys are; default what its configuration document says.
        oidc_claim: which claim names the user.
    """

    host: str = "127.0.0.1"
    port: int = 3001
    flight_port: int | None = 50051
    tls_cert: str = ""
    tls_key: str = ""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    threads: int = 4
    answer_processes: int = 0
    waiting: int = 256
    max_body: int = 16 << 20
    max_rows: int = 10_000
    sql_seconds: float = 30.0
    sql_bytes: int = 2 << 30
    sql_rows: int = 5_000_000
    sql_children: int = 2
    drain_seconds: float = 20.0
    requests_per_second: float = 1000.0
    points_per_second: float = 0.0
    max_metric_keys: int = 10_000
    compact_hours: float = 24.0
    heartbeat: float = field(default_factory=lambda: _number("MLRUN_HEARTBEAT", 60.0))
    reserve_bytes: int = field(default_factory=lambda: int(_number("MLRUN_RESERVE_BYTES", 1 << 30)))
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_jwks: str = ""
    oidc_claim: str = "email"


def _number(name: str, default: float) -> float:
    text = os.environ.get(name)
    try:
        return float(text) if text else default
    except ValueError:
        raise ConfigError(f"{name} is a number, not {text!r}") from None


def is_loopback(host: str) -> bool:
    """Whether a name or address is this host's own, which no other can reach.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
