"""A port on loopback in front of a server: who comes in is led on, until the connections are cut."""

import asyncio
from contextlib import suppress

_PIECE_BYTES = 64 * 1024


class Front:
    """Use it as a context manager, in the event loop of the test."""

    def __init__(self, port: int, target: int) -> None:
        """Listen on that port, and lead to the other."""
        self._port = port
        self._target = target
        self.accepted = 0
        """Connections so far."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.cut()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End every connection."""
        for writer in [*self._writers]:
            writer.transport.abort()

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        with suppress(OSError, asyncio.CancelledError):
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers |= {writer, to_server}
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._carry(reader, to_server))
                    both.create_task(self._carry(from_server, writer))
            except* OSError:
                pass
            finally:
                self._writers -= {writer, to_server}
                to_server.close()
                writer.close()

    @staticmethod
    async def _carry(reader, writer):
        while data := await reader.read(_PIECE_BYTES):
            writer.write(data)
            await writer.drain()
        writer.transport.abort()
