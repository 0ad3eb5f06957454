"""Uvicorn with what it leaves open: bounds on a call's head and on connections that do nothing, and our own errors."""

import asyncio
import fcntl
import secrets
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Any

import uvicorn
from pydantic_core import to_json
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from backburner.gateway.http.errors import error_body
from backburner.gateway.http.write_pace import WritePace
from backburner_schemas.errors import BackburnerError, CallRefused, CallTooSlow, HeadersTooLarge

HEAD_SECONDS = 20.0
"""Seconds in which the head of a call has to be there."""
_MAX_HEAD_BYTES = 32 * 1024
_MAX_HEADERS = 100
_LINGER_SECONDS = 10.0
"""Seconds that a refused body may still come in, so that its sender reads the answer; then the connection ends."""
_INT = Struct("i")
_OUTGOING: int = getattr(termios, "TIOCOUTQ", 0)
"""What asks the kernel how many bytes of a connection have not arrived; 0 where it cannot be asked."""
STALLED_SECONDS = 60.0
"""Seconds over which it is judged how fast a caller takes what waits: a download would hold its place for ever."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Uvicorn reads a head of any length, for any time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._headers_bytes = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: BackburnerError | None = None
        self._pace = WritePace(STALLED_SECONDS)
        self._judged: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wait(HEAD_SECONDS, CallTooSlow("no call came in time; call again"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait_no_more()
        self._judge_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._timer is None:
                self._wait(HEAD_SECONDS, CallTooSlow("the head of the call did not come in time; call again"))
        super().data_received(data)
        if self._in_head and self._head_bytes > _MAX_HEAD_BYTES:
            self._refuse(HeadersTooLarge())

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head, self._headers_bytes = True, 0

    def on_url(self, url: bytes) -> None:
        """Count the URL too: all of a head may come in one read, which `data_received` does not see as a head."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse too many headers, or too long ones, at the first that is over."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head, self._head_bytes = False, 0
        self._wait_no_more()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is there, and the next head may come."""
        super().on_message_complete()
        self._in_head = True
        self._wait_no_more()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._wait(self.timeout_keep_alive, None)

    def on_response_complete(self) -> None:
        """What is still to come of the body is read and dropped, for a while."""
        super().on_response_complete()
        if not self._in_head and not self.transport.is_closing():
            self._wait(_LINGER_SECONDS, None)

    def pause_writing(self) -> None:
        """Begin to wait for the caller to read: there is more for it than is held here."""
        super().pause_writing()
        self._judge_later()

    def resume_writing(self) -> None:
        """The caller has read nearly all of that."""
        self._judge_no_more()
        self._pace.resume(self._left(), self.loop.time())
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the form of all errors."""
        self._refuse(self._refusal or CallRefused(f"{msg} The connection is closed."))

    def _count(self, size: int) -> None:
        self._headers_bytes += size
        if len(self.headers) > _MAX_HEADERS or self._headers_bytes > _MAX_HEAD_BYTES:
            # The parser makes an error of its own of it.
            self._refusal = HeadersTooLarge()
            raise self._refusal

    def _refuse(self, error: BackburnerError | None) -> None:
        self._wait_no_more()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if error is not None and (cycle is None or cycle.response_complete or not cycle.response_started):
            if cycle is not None:
                # Whatever serves it learns that nobody hears it any more.
                cycle.disconnected = True
                cycle.message_event.set()
            body = to_json(error_body(error))
            head = (
                f"HTTP/1.1 {error.http_status} Refused\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nx-request-id: req_{secrets.token_hex(16)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()

    def _judge_later(self) -> None:
        self._judge_no_more()
        due = self._pace.pause(self._left(), self.loop.time())
        self._judged = self.loop.call_later(due, self._judge)

    def _judge(self) -> None:
        if self._pace.is_kept(self._left(), self.loop.time()):
            self._judge_later()
        else:
            self.transport.abort()

    def _left(self) -> int:
        """Bytes that the caller has not got yet: the kernel holds megabytes of them, and takes more in large steps."""
        size, connection = self.transport.get_write_buffer_size(), self.transport.get_extra_info("socket")
        if connection is None or not _OUTGOING:
            return size
        try:
            (held,) = _INT.unpack(fcntl.ioctl(connection.fileno(), _OUTGOING, bytes(_INT.size)))
        except OSError:
            return size
        return size + int(held)

    def _judge_no_more(self) -> None:
        if self._judged is not None:
            self._judged.cancel()
            self._judged = None

    def _wait(self, seconds: float, error: BackburnerError | None) -> None:
        self._wait_no_more()
        self._timer = self.loop.call_later(seconds, self._refuse, error)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """A server that is stopped by its owner, not by signals of its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none: the process has handlers of its own."""
        yield

    @property
    def bound_port(self) -> int:
        """The port that it listens on, once it has started."""
        return int(self.servers[0].sockets[0].getsockname()[1])


def create_server(app: ASGIApp, *, host: str, port: int, drain_seconds: float, keep_alive_seconds: int) -> Server:
    """A server of the application, which does not listen yet. `keep_alive_seconds` bounds idle connections."""
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=GuardedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_seconds,
            timeout_graceful_shutdown=round(drain_seconds),
        )
    )
