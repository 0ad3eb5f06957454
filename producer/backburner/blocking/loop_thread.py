"""An event loop in a thread of its own, for callers that block: runs work, iterates, and consumes what they read."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import Any, Generic, TypeVar

from backburner.inputs.items import Filling, Item, as_json
from backburner_schemas.errors import BackburnerError

T = TypeVar("T")
Given = TypeVar("Given", bound=Item)


class _Closed(RuntimeError):
    """The loop accepts no more work."""


class LoopThread:
    """An event loop that runs in a thread of its own until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closing = False
        # Between starting work and closing: what was started is on the loop before closing cancels all.
        self._gate = threading.Lock()
        # A daemon: a program that forgets to close must still be able to end.
        self._thread = threading.Thread(target=self._run, name="backburner", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it accepts no more work."""
        return self._closing

    def start(self, work: Callable[[], Awaitable[T]]) -> "Future[T]":
        """Start the work on the loop."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("a blocking client cannot be used in its own callbacks; use Client there")

        async def run() -> T:
            return await work()

        with self._gate:
            if self._closing:
                raise _Closed("the client is closed; create a new one")
            return asyncio.run_coroutine_threadsafe(run(), self._loop)

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run the work on the loop and wait for it. Whatever interrupts the waiting cancels it."""
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, batches: Callable[[], AsyncGenerator[Sequence[T]]]) -> Iterator[T]:
        """What an async generator of batches yields, one by one."""
        generator = batches()
        # A step that was interrupted still unwinds on the loop when the generator is to be closed.
        stepping = asyncio.Lock()

        async def step() -> Sequence[T] | None:
            async with stepping:
                return await anext(generator, None)

        async def end() -> None:
            async with stepping:
                await generator.aclose()

        try:
            while (batch := self.call(step)) is not None:
                yield from batch
        finally:
            # A closed loop has closed its generators.
            with suppress(_Closed):
                self.call(end)

    def close(self) -> None:
        """Cancel what is under way, end the thread and close the loop. Safe to call twice."""
        with self._gate:
            if self._closing:
                return
            self._closing = True
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _cancel_all(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()


class Feed(Generic[Given]):
    """Items that the caller's thread reads and writes as JSON, and that the loop consumes, a few chunks at a time."""

    def __init__(self, thread: LoopThread) -> None:
        self._thread = thread
        self._chunks: asyncio.Queue[list[Item] | Exception | None] = asyncio.Queue(2)

    async def items(self) -> AsyncGenerator[Item]:
        """The items, on the loop. Raises what reading them raised."""
        while (chunk := await self._chunks.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            for item in chunk:
                yield item

    def fill(self, items: Iterable[Given], taker: "Future[Any]") -> None:
        """Read the items in this thread, to their end or until the taker has ended."""
        chunk: list[Item] = []
        filling = Filling()
        try:
            for item in items:
                text = as_json(item)
                filling.add(text)
                # What is not JSON is passed on as it is, for the taker to refuse; its size is unknown, so it ends its
                # chunk.
                chunk.append(item if isinstance(text, BackburnerError) else text)
                if isinstance(text, BackburnerError) or filling.due:
                    if not self._put(chunk, taker):
                        return
                    chunk, filling = [], Filling()
        except Exception as error:  # noqa: BLE001 - the taker raises it, and tells what became of the job
            self._put(error, taker)
            return
        self._put(chunk, taker)
        self._put(None, taker)

    def _put(self, chunk: list[Item] | Exception | None, taker: "Future[Any]") -> bool:
        put = self._thread.start(lambda: self._chunks.put(chunk))
        wait((put, taker), return_when=FIRST_COMPLETED)
        if not put.done():
            put.cancel()
        return not taker.done()
