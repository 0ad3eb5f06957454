"""A port on loopback that leads to a server, counts what the server sends, and can hold it back from some byte on."""

import asyncio
from contextlib import suppress

_PIECE_BYTES = 16 * 1024


class CountingProxy:
    """Use it as a context manager, in the event loop of the test."""

    def __init__(self, target: int) -> None:
        """Lead to that port."""
        self._target = target
        self.sent = 0
        """Bytes that the server's answers had so far."""
        self._hold_at: int | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def held(self) -> bool:
        return not self._open.is_set()

    def hold_after(self, count: int) -> None:
        """Let so many bytes more through, and then none."""
        self._hold_at = self.sent + count

    def go_on(self) -> None:
        """Let everything through again."""
        self._hold_at = None
        self._open.set()

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError, asyncio.CancelledError):
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._carry(reader, to_server))
                    both.create_task(self._carry(from_server, writer, counted=True))
            except* OSError:
                pass
            finally:
                to_server.close()
                writer.close()

    async def _carry(self, reader, writer, *, counted=False):
        while data := await reader.read(_PIECE_BYTES):
            if counted:
                if self._hold_at is not None and self.sent + len(data) > self._hold_at:
                    self._open.clear()
                await self._open.wait()
                self.sent += len(data)
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()
