"""A TCP proxy before one server, whose link can be broken in six ways. It does not parse what passes through.

It runs on an event loop in a thread of its own, so that whatever the harness does never slows the link.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from enum import Enum
from typing import Any, Self

_CHUNK_BYTES = 64 * 1024
_SLOW_SECONDS = 0.25
"""Before each chunk, in each direction."""
_SLOW_CHUNK_BYTES = 4 * 1024
_LATE_SECONDS = 2.0
_CALL_SECONDS = 10.0


class Link(Enum):
    """What the proxy does with bytes."""

    WHOLE = "whole"
    """Passes them on."""
    PAUSED = "paused"
    """Holds them; they arrive once the link is whole again."""
    RESET = "reset"
    """Resets every connection, and each new one at once."""
    CLOSED = "closed"
    """Resets every connection, and listens no more: new ones are refused."""
    SLOW = "slow"
    """Passes 4 KiB every quarter of a second in each direction."""
    LATE = "late"
    """Holds each request for two seconds. The first bytes after an answer begin a request."""
    DARK = "dark"
    """Accepts connections and swallows all bytes. What was swallowed is gone for good, so those end with the fault."""


class Proxy:
    """A port on loopback that leads to another one."""

    def __init__(self, port: int, target: int) -> None:
        """Listen on that port, or on any that is free for 0; `port` is the one that it was."""
        self.port = port
        self._target = target
        self._link = Link.WHOLE
        self.requests = 0
        """How many have begun, where each waits for the answer to the one before, as in HTTP. Others only read."""
        self._changed = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)

    def become(self, link: Link) -> None:
        """Change the link; from any thread."""
        self._call(self._become(link))

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for connection in [*self._connections]:
            connection.reset()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _become(self, link: Link) -> None:
        before, self._link = self._link, link
        if link is Link.CLOSED:
            self._server.close()
        elif before is Link.CLOSED:
            await self._listen()
        self._changed.set()
        self._changed = asyncio.Event()
        for connection in [*self._connections]:
            if link in {Link.RESET, Link.CLOSED} or (before is Link.DARK and connection.torn):
                connection.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = _Connection(writer)
        if self._link in {Link.RESET, Link.CLOSED}:
            connection.reset()
            return
        self._connections.add(connection)
        try:
            while self._link in {Link.PAUSED, Link.DARK}:
                connection.torn |= self._link is Link.DARK
                await self._changed.wait()
            if connection.torn:
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            connection.ends.append(back)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(connection, reader, back, asks=True))
                both.create_task(self._carry(connection, there, writer, asks=False))
            connection.close()
        except (asyncio.CancelledError, OSError, ExceptionGroup):
            pass  # Closed, or one side disconnected: so does the other.
        finally:
            self._connections.discard(connection)
            connection.reset()

    async def _carry(
        self, connection: "_Connection", reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asks: bool
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            begins = asks and connection.answered
            connection.answered = not asks
            self.requests += begins
            if begins and self._link is Link.LATE:
                await asyncio.sleep(_LATE_SECONDS)
            while data:
                while self._link is Link.PAUSED:
                    await self._changed.wait()
                connection.torn |= self._link is Link.DARK
                if connection.torn:
                    break
                size = _CHUNK_BYTES
                if self._link is Link.SLOW:
                    await asyncio.sleep(_SLOW_SECONDS)
                    size = _SLOW_CHUNK_BYTES
                piece, data = data[:size], data[size:]
                writer.write(piece)
                await writer.drain()
        while self._link in {Link.PAUSED, Link.DARK}:
            await self._changed.wait()
        if writer.can_write_eof():
            writer.write_eof()


class _Connection:
    """Both ends of one connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.ends = [writer]
        self.torn = False
        """Whether bytes of it were swallowed."""
        self.answered = True
        """Whether the last bytes were an answer's, so that the next ones begin a request."""

    def close(self) -> None:
        """End it properly, with everything delivered."""
        for writer in self.ends:
            writer.close()

    def reset(self) -> None:
        """End it with a reset, as a firewall or a rebooted machine does. No effect after `close`."""
        for writer in self.ends:
            if writer.transport.is_closing():
                continue
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
