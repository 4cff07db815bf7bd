"""A dashboard of Ray 2.60 as far as its API is asked: real HTTP on loopback, with a token, jobs that can be stopped."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "a-token-of-the-cluster"
_USAGE = {
    "node:InternalHead": [0.0, 1.0],
    "objectStoreMemory": [0.0, 2e8],
    "memory": [1e9, 2e10],
    "CPU": [2.0, 2.0],
}


def job(number: int, status: str, **more: Any) -> dict[str, Any]:
    """Return a submitted job as the API tells it."""
    began = {"start_time": 1795290151000 + number, "end_time": None}
    return {
        "type": "SUBMISSION", "job_id": None, "submission_id": f"raysubmit_{number}", "driver_info": None,
        "status": status, "entrypoint": "python train.py", "message": "Job is currently running.",
        "error_type": None, **began, "metadata": {"mlrun/name": f"job {number}"}, "runtime_env": None, **more,
    }  # fmt: skip


class RayServer:
    """The server; `jobs` may be changed, `broken` gives bytes that are answered to everything."""

    def __init__(self) -> None:
        driver = job(
            0, "RUNNING", type="DRIVER", job_id="01000000", submission_id=None, metadata={}
        )
        self.jobs: Any = [job(2, "PENDING"), job(1, "RUNNING"), driver]
        self.broken: bytes | None = None
        self.moved = ""
        self.seen: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self) -> RayServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        """Return status and body of a request."""
        raylet = {
            "nodeId": "82c5", "nodeManagerHostname": "vm", "isHeadNode": True, "state": "ALIVE", "numWorkers": 2,
            "resourcesTotal": {"CPU": 2.0, "memory": 2e10},
        }  # fmt: skip
        match path.partition("?")[0]:
            case "/nodes":
                node = {
                    "hostname": "vm",
                    "cpu": 50.0,
                    "mem": [25e9, 20e9, 18.2, 4e9],
                    "raylet": raylet,
                }
                return 200, {"result": True, "data": {"summary": [node]}}
            case "/api/cluster_status":
                report = {"usage": _USAGE, "resourceDemand": [[{"CPU": 2.0, "GPU": 1.0}, 3]]}
                return 200, {"data": {"clusterStatus": {"loadMetricsReport": report}}}
            case "/api/jobs/":
                return 200, self.jobs
        if method == "POST" and path.endswith("/stop"):
            for each in self.jobs:
                if path == f"/api/jobs/{each['submission_id']}/stop":
                    each["status"] = "STOPPED"
                    return 200, {"stopped": True}
        return 404, "there is none"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.seen.append(f"{self.command} {self.path}")
                if server.moved:
                    return self._send(302, b"", server.moved)
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    return self._send(401, b"Unauthorized: Missing authentication token")
                if server.broken is not None:
                    return self._send(200, server.broken)
                status, body = server.answer(self.command, self.path)
                return self._send(status, json.dumps(body).encode())

            do_POST = do_GET

            def _send(self, status: int, body: bytes, to: str = "") -> None:
                self.send_response(status)
                if to:
                    self.send_header("Location", to)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
