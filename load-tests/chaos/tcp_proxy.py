"""A TCP proxy before one server, so that a scenario can take that server alone away, or make it slow."""

import asyncio
import contextlib
from threading import Thread
from typing import Self

_CHUNK = 1 << 16


class TcpProxy:
    """Listens on loopback while the block lasts. Its methods may be called from any thread."""

    def __init__(self, host: str, port: int) -> None:
        """Stand before that server."""
        self.port = 0
        self._target = (host, port)
        self._delay = 0.0
        self._links: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        asyncio.run_coroutine_threadsafe(self._ended(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self) -> None:
        """Refuse new connections and break the old ones."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    def restore(self) -> None:
        """Be there, without delay."""
        self._delay = 0.0
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def slow(self, seconds: float) -> None:
        """Hold each request for so long before it goes on."""
        self._delay = seconds

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._link, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in [*self._links]:
            writer.transport.abort()

    async def _ended(self) -> None:
        links = asyncio.all_tasks() - {asyncio.current_task()}
        if links:
            await asyncio.wait(links, timeout=self._delay + 5)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, beyond = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, beyond}
        self._links |= ends
        answered = asyncio.Event()
        answered.set()
        ways = [
            self._carry(reader, beyond, writer, answered, asks=True),
            self._carry(there, writer, beyond, answered, asks=False),
        ]
        try:
            async with asyncio.TaskGroup() as both:
                for way in ways:
                    both.create_task(way)
        finally:
            self._links -= ends

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        answered: asyncio.Event,
        *,
        asks: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(_CHUNK):
                if asks and answered.is_set():
                    # The first piece after an answer begins a request.
                    answered.clear()
                    await asyncio.sleep(self._delay)
                elif not asks:
                    answered.set()
                writer.write(piece)
                await writer.drain()
        # Whichever way ends first takes the other with it.
        for each in (writer, back):
            each.close()
