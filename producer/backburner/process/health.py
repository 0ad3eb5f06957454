"""`/livez`, `/readyz` and `/metrics` on one port, served by a thread, so that they report a stuck event loop too."""

import asyncio
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from backburner.process.readiness import Readiness
from backburner_schemas.errors import SettingsError

_STUCK_SECONDS = 60.0
"""Seconds without a turn of the event loop after which the process counts as stuck."""
_HEARTBEAT_SECONDS = 1.0


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


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    timeout = 10  # a caller that sends nothing must not hold a thread

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Probes come every few seconds; their log lines help nobody."""
