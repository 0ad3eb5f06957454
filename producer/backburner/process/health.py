"""`/livez`, `/readyz` and `/metrics` on one port, served by a thread, so that they report a stuck event loop too."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from socket import SHUT_RDWR, socket
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from backburner.process.readiness import Readiness
from backburner_schemas.errors import SettingsError

_STUCK_SECONDS = 60.0
"""Seconds without a turn of the event loop after which the process counts as stuck."""
_HEARTBEAT_SECONDS = 1.0
_MAX_CONNECTIONS_COUNT = 32
"""Each takes a thread and a descriptor, which the process needs for brokers and the store."""
_CONNECTION_SECONDS = 10.0
"""How long a caller has for its request and its answer together."""


class Health:
    """The HTTP server that reports the state of the process."""

    def __init__(self, registry: CollectorRegistry, readiness: Readiness, host: str, port: int) -> None:
        """Listen at once; port 0 takes a free one. Raises `SettingsError` if the port is taken."""
        self._metrics = make_wsgi_app(registry)
        self._readiness = readiness
        self._beat: float | None = None
        try:
            self._server = make_server(host, port, self._answer, server_class=_Server, handler_class=_QuietHandler)
        except OSError as error:
            raise SettingsError(
                f"port {port} cannot be used ({error.strerror}); set BACKBURNER_HTTP_PORT to another, or to 0"
            ) from error
        self._thread = Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_port

    async def beat(self) -> None:
        """Show that the event loop turns, for ever."""
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        status, text = {
            "/livez": self._alive(),
            "/readyz": (
                HTTPStatus.OK if self._readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE,
                self._readiness.line,
            ),
        }.get(path, (HTTPStatus.NOT_FOUND, "there are /livez, /readyz and /metrics"))
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]

    def _alive(self) -> tuple[HTTPStatus, str]:
        # A model loads on the loop's own thread, for minutes; until it is warm, a start-up probe decides how long to
        # wait.
        silent = 0.0 if self._beat is None else time.monotonic() - self._beat
        if silent < _STUCK_SECONDS:
            return HTTPStatus.OK, "alive"
        return HTTPStatus.SERVICE_UNAVAILABLE, f"the event loop has been stuck for {silent:.0f} s"


@dataclass(slots=True)
class _Connection:
    socket: socket
    ends_at: float
    has_head: bool = False


class _Server(ThreadingMixIn, WSGIServer):
    """Holds few connections, none of them for long: whoever reaches the port may call it."""

    daemon_threads = True
    request_queue_size = _MAX_CONNECTIONS_COUNT

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._open: dict[int, _Connection] = {}
        """By the socket's identity, the oldest first."""
        self._lock = Lock()
        super().__init__(*args, **kwargs)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, for which an old one gives way: a probe gets through whatever others hold."""
        with self._lock:
            if len(self._open) >= _MAX_CONNECTIONS_COUNT:
                silent = (one for one in self._open.values() if not one.has_head)
                self._end(next(silent, None) or next(iter(self._open.values())))
            self._open[id(request)] = _Connection(request, time.monotonic() + _CONNECTION_SECONDS)
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End what is open for too long. Called twice a second."""
        now = time.monotonic()
        with self._lock:
            for one in [one for one in self._open.values() if one.ends_at <= now]:
                self._end(one)

    def note_head(self, request: Any) -> None:
        """The head of its request is there."""
        with self._lock:
            if (found := self._open.get(id(request))) is not None:
                found.has_head = True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.pop(id(request), None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and end all connections."""
        with self._lock:
            for one in list(self._open.values()):
                self._end(one)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that leaves, or that is sent away, is worth no traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def _end(self, one: _Connection) -> None:
        # Its thread wakes up, and closes it.
        del self._open[id(one.socket)]
        with suppress(OSError):
            one.socket.shutdown(SHUT_RDWR)


class _QuietHandler(WSGIRequestHandler):
    server: _Server

    def parse_request(self) -> bool:
        """Read the head."""
        whole = super().parse_request()
        self.server.note_head(self.connection)
        return whole

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Probes come every few seconds; their log lines help nobody."""
