"""A stand-in for our own parts: ready after a while, leaves at SIGTERM, and can be told to misbehave.

LOCAL_WORKER_NOTES: a folder. It writes `PORT.json` there when it is warm (pid, its own child's pid, settings) and
`PORT.left` at SIGTERM, with what of the stack still answered then. LOCAL_WORKER_CHILD: starts a process of its own
and forgets about it. LOCAL_WORKER_FAILS: ends with that text, cold. LOCAL_WORKER_HANGS: never becomes warm.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        ready = self.path == "/readyz" and "LOCAL_WORKER_HANGS" not in os.environ
        self.send_response(200 if ready else 503)
        self.end_headers()

    def log_message(self, *_arguments):
        pass


def answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
    except OSError:
        return False
    return True


def main() -> None:
    if "LOCAL_WORKER_FAILS" in os.environ:
        sys.exit(os.environ["LOCAL_WORKER_FAILS"])
    port = os.environ["BACKBURNER_HTTP_PORT"]
    notes = Path(os.environ["LOCAL_WORKER_NOTES"])
    own_child = subprocess.Popen(["sleep", "600"]).pid if "LOCAL_WORKER_CHILD" in os.environ else None

    def leave(_number, _frame):
        left = {
            "broker": answers(os.environ["BACKBURNER_QUEUE_URL"]),
            "store": answers(os.environ["BACKBURNER_STORE_ENDPOINT"]),
        }
        (notes / f"{port}.left").write_text(json.dumps(left))
        # Its own child stays: cleaning up after a worker that forgets is what is tested.
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    server = HTTPServer(("127.0.0.1", int(port)), Health)
    note = {"pid": os.getpid(), "child": own_child, "env": dict(os.environ)}
    part = notes / f"{port}.part"
    part.write_text(json.dumps(note))
    part.rename(notes / f"{port}.json")
    server.serve_forever()


if __name__ == "__main__":
    main()
