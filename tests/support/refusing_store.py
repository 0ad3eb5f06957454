"""An S3 server for tests that want to be refused: alone it refuses everything, before a real store what it is told to.

It holds no test and no fixture.
"""

import http.client
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import SplitResult, urlsplit

Refuses = Callable[[str, str], bool]
"""Whether the request with this method and path is refused."""


class RefusingStore:
    """Listens on loopback while the block lasts."""

    def __init__(self, behind: str | None = None) -> None:
        self.status, self.code = 403, "AccessDenied"
        self.refuses: Refuses = lambda _method, _path: behind is None
        self.refused = 0
        self._server = _Server(("127.0.0.1", 0), _handler(self, urlsplit(behind or "")))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def refuse(self, refuses: Refuses, status: int, code: str) -> None:
        """From now on, refuse these."""
        self.status, self.code, self.refuses = status, code, refuses

    def amend(self, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        """What is passed on of the real store's answer."""
        return headers, body

    def date(self) -> float | None:
        """When answers are dated, in Unix seconds; None for now."""
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = (
        1024  # Clients by the hundred connect at once, and one whose connection is lost waits for a second.
    )

    def handle_error(self, request: object, client_address: object) -> None:
        """Of a client that has gone there is nothing to tell."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(store: RefusingStore, behind: SplitResult) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(store.date() if timestamp is None else timestamp)

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if store.refuses(self.command, self.path):
                store.refused += 1
                words = f"<Error><Code>{store.code}</Code><Message>no</Message></Error>"
                self.give(store.status, {}, f'<?xml version="1.0" encoding="UTF-8"?>{words}'.encode())
                return
            # With its own Host, which is signed.
            server = http.client.HTTPConnection(behind.hostname, behind.port, timeout=60)
            try:
                server.request(self.command, self.path, body=body, headers=dict(self.headers))
                found = server.getresponse()
                self.give(found.status, *store.amend(dict(found.getheaders()), found.read()))
            finally:
                server.close()

        def give(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in {"connection", "transfer-encoding", "content-length", "date", "server"}:
                    self.send_header(name, value)
            head = self.command == "HEAD"
            length = headers.get("Content-Length", "0") if head else str(len(body))
            self.send_header("Content-Length", length)
            self.end_headers()
            if not head:
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - the base class names them

    return Handler
