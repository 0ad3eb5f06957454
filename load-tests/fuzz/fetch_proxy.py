"""A proxy before a broker that puts batches into its answers to fetches which no broker would take from a producer.

It also tells clients that the broker is where the proxy is, so that they stay with it.
"""

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Self

from aiokafka.protocol import fetch

from fuzz.hostile_batches import MadeBatch, placed

_HOST = "127.0.0.1"
_SIZE = struct.Struct(">i")
_SHUT_SECONDS = 1.0
"""Between answers while a topic is shut, whose clients ask again at once."""
_REQUEST = struct.Struct(">hhi")
_FETCH_KEY = 1
_BATCH = struct.Struct(">qi")
_RESPONSES = {version: getattr(fetch, f"FetchResponse_v{version}") for version in range(4, 12)}


class FetchProxy:
    """One broker's. `shut` topics have nothing to fetch."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.port = 0
        self.shut: set[str] = set()
        self.spliced: Mapping[tuple[str, int, int], MadeBatch] = {}
        """By topic, partition and offset what goes in the place of the batch that is there."""
        self.reached: set[tuple[str, int, int]] = set()
        """Of these those that were in an answer."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, _HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def bootstrap(self) -> str:
        """Where clients come to."""
        return f"{_HOST}:{self.port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there, back = await asyncio.open_connection(_HOST, self._target_port)
        fetches: dict[int, int] = {}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._ask(reader, back, fetches))
                both.create_task(self._answer(there, writer, fetches))
        except (asyncio.CancelledError, ExceptionGroup):
            pass  # Closed, or one side disconnected: so does the other.
        finally:
            writer.close()
            back.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fetches: dict[int, int]) -> None:
        while True:
            request = await _message(reader)
            key, version, number = _REQUEST.unpack_from(request)
            if key == _FETCH_KEY:
                fetches[number] = version
            await _send(writer, request)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fetches: dict[int, int]
    ) -> None:
        own, seen = (f"{_HOST}".encode() + _SIZE.pack(port) for port in (self._target_port, self.port))
        while True:
            answer = await _message(reader)
            (number,) = _SIZE.unpack_from(answer)
            if (version := fetches.pop(number, None)) is not None:
                answer = answer[: _SIZE.size] + self._with_others(_RESPONSES[version], answer[_SIZE.size :])
                if self.shut:
                    await asyncio.sleep(_SHUT_SECONDS)
            else:
                answer = answer.replace(own, seen)
            await _send(writer, answer)

    def _with_others(self, form: Any, data: bytes) -> bytes:
        response = form.decode(BytesIO(data))
        response.topics = [
            (topic, [(*part[:-1], self._records(topic, part[0], part[-1])) for part in parts])
            for topic, parts in response.topics
        ]
        encoded: bytes = response.encode()
        return encoded

    def _records(self, topic: str, partition: int, data: bytes | None) -> bytes | None:
        if topic in self.shut or not data:
            return b"" if data else data
        found, at, since = [], 0, 0
        while at + _BATCH.size <= len(data):
            offset, length = _BATCH.unpack_from(data, at)
            end = at + _BATCH.size + length
            place = (topic, partition, offset)
            if (other := self.spliced.get(place)) is not None and end <= len(data):
                found += [data[since:at], placed(other.data, offset)]
                since = end
                self.reached.add(place)
            at = end
        found.append(data[since:])
        return b"".join(found)

    def forms(self) -> Counter[str]:
        """How many batches of each form were in an answer."""
        return Counter(self.spliced[place].form for place in self.reached)


async def _message(reader: asyncio.StreamReader) -> bytes:
    (size,) = _SIZE.unpack(await reader.readexactly(_SIZE.size))
    return await reader.readexactly(size)


async def _send(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(_SIZE.pack(len(message)) + message)
    with contextlib.suppress(ConnectionResetError):
        await writer.drain()
