"""Sends HTTP requests as fast as they are answered: bytes made beforehand, a few connections, one request on each.

It reads of an answer what it must, its status and where it ends, so that it costs a small part of what it measures.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backburner.local.programs.ports import LOOPBACK

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_STATUS_AT = slice(9, 12)


@dataclass(frozen=True, slots=True)
class Load:
    """What became of so many requests."""

    seconds: float
    """From the first that was sent to the last answer."""
    latencies: list[float]
    """Seconds of each, in the order of the answers."""

    @property
    def p99(self) -> float:
        """Seconds below which 99 of 100 were."""
        return sorted(self.latencies)[int(len(self.latencies) * 0.99)]


def post(path: str, body: bytes, *, authorization: str = "", content_type: str = "application/json") -> bytes:
    """A POST as it goes over the wire."""
    head = [
        f"POST {path} HTTP/1.1",
        f"host: {LOOPBACK}",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
        *([f"authorization: {authorization}"] if authorization else []),
    ]
    return "\r\n".join(head).encode() + _HEAD_END + body


async def send_all(ports: Sequence[int], requests: Sequence[bytes], *, connections: int, status: int) -> Load:
    """Send all of them over so many connections, spread evenly over the ports.

    Raises `RuntimeError` for an answer with another status, and for a connection that ends.
    """
    left, latencies = iter(requests), list[float]()
    loop = asyncio.get_running_loop()
    lines = []
    for number in range(connections):
        _, line = await loop.create_connection(
            lambda: _Connection(left, latencies, b"%d" % status), LOOPBACK, ports[number % len(ports)]
        )
        lines.append(line)
    started = time.monotonic()
    for line in lines:
        line.send()
    try:
        await asyncio.gather(*(line.done for line in lines))
    finally:
        for line in lines:
            line.close()
    return Load(time.monotonic() - started, latencies)


class _Connection(asyncio.Protocol):
    """One connection; takes the next request when the last one is answered."""

    def __init__(self, left: Iterator[bytes], latencies: list[float], status: bytes) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = left
        self._latencies = latencies
        self._status = status
        self._read = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self) -> None:
        """Send the next request; `done` when there is none."""
        request = next(self._left, None)
        if request is None:
            self.done.set_result(None)
            return
        assert self._transport is not None
        self._sent = time.monotonic()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """A piece of the answer."""
        self._read += data
        head = self._read.find(_HEAD_END)
        if head < 0:
            return
        lowered = self._read[:head].lower()
        length = lowered.find(_LENGTH)
        end = head + len(_HEAD_END)
        if length >= 0:
            end += int(lowered[length + len(_LENGTH) :].split(b"\r", 1)[0])
        if len(self._read) < end or self.done.done():
            return
        if self._read[_STATUS_AT] != self._status:
            self._fail(f"a request was answered with {self._read[:end].decode(errors='replace')}")
            return
        self._latencies.append(time.monotonic() - self._sent)
        self._read = b""
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._fail(f"a connection ended before its request was answered: {exc}")

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))
