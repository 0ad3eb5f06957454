"""A metadata service as clouds have it, on loopback: answers that a test sets, and what it was asked."""

import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MetadataServer(ThreadingHTTPServer):
    """Use it as a context manager. A path that has no answer is answered with 404."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[tuple[str, str], tuple[int, str]] = {}
        """Status and text by method and path, the query left out."""
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        """Method, path with its query, and headers, in lower case."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request, client_address):
        # Who asked may leave in the middle of an answer.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def counted(self, method: str) -> int:
        return sum(asked == method for asked, _, _ in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer()

    def do_PUT(self):
        self._answer()

    def _answer(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers))
        status, text = self.server.answers.get((self.command, self.path.partition("?")[0]), (404, ""))
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)
