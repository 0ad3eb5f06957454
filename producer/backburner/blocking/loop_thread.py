"""An event loop in a thread of its own, for callers that block: runs work, iterates, and consumes what they read.

Whatever happens to a caller, none waits for ever: what a callback raises, `sys.exit()` among it, reaches the caller; a
client that nobody refers to any more ends its thread; the interpreter's end closes all that are left; a forked child,
which has the objects and not the thread, is told so.
"""

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import suppress
from typing import Any, Generic, TypeVar

from backburner.inputs.items import Filling, Item, as_json
from backburner.runtime.remedies import collect_remedies
from backburner_schemas.errors import BackburnerError, ClientClosed, ClientError

T = TypeVar("T")
Given = TypeVar("Given", bound=Item)

_LEAVE_SECONDS = 10.0
"""Seconds that the interpreter's end waits for a client that nobody closed."""


class _Running:
    """The loop and its thread. It does not know who uses it, so that the thread keeps nobody alive."""

    def __init__(self, closing: Callable[[], Awaitable[None]]) -> None:
        """`closing` disconnects what was used on the loop."""
        self.loop = asyncio.new_event_loop()
        self.ending = False
        """Whether the end has begun: known before anything is cancelled by it."""
        self.ended: Future[None] | None = None
        """The end, once it has begun."""
        self._closing = closing
        self._pid = os.getpid()
        self._stopped = False
        # Between starting work and the end: what was started is on the loop before the end cancels all. Reentrant,
        # since a garbage collection, which may end another iteration, can come in the middle.
        self.gate = threading.RLock()
        # A daemon: a program that forgets to close must still be able to end.
        self.thread = threading.Thread(target=self._run, name="backburner", daemon=True)
        self.thread.start()
        atexit.register(self._leave)

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that has the thread."""
        return os.getpid() != self._pid

    @property
    def is_current(self) -> bool:
        """Whether this is the loop's own thread."""
        return threading.current_thread() is self.thread

    def end(self) -> "Future[None] | None":
        """Begin the end, from any thread: disconnect, cancel what is under way, stop. None in a forked child."""
        if self.forked:
            return None
        atexit.unregister(self._leave)
        with self.gate:
            if self.ended is None:
                self.ending = True
                self.ended = asyncio.run_coroutine_threadsafe(self._shut_down(), self.loop)
                # Only now: the loop has told the result by then.
                self.ended.add_done_callback(lambda _: self.loop.call_soon_threadsafe(self._stop))
        return self.ended

    def _leave(self) -> None:
        """At the interpreter's end: whoever still iterates would wait for a thread that does not run any more."""
        if self.end() is not None:
            self.thread.join(_LEAVE_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._stopped:
            # A task that raises one of these ends the loop's run as well. Its caller has it by then, as any error.
            with suppress(KeyboardInterrupt, SystemExit):
                self.loop.run_forever()
        self.loop.close()

    def _stop(self) -> None:
        self._stopped = True
        self.loop.stop()

    async def _shut_down(self) -> None:
        try:
            await self._closing()
        finally:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self.loop.shutdown_asyncgens()
            await self.loop.shutdown_default_executor()


class LoopThread:
    """An event loop that runs in a thread of its own until it is closed, or nobody refers to it any more."""

    def __init__(self, closing: Callable[[], Awaitable[None]]) -> None:
        """`closing` disconnects what was used on the loop; it may not refer to this object."""
        self._running = _Running(closing)
        self._remedies = weakref.WeakKeyDictionary[Future[Any], list[str]]()
        weakref.finalize(self, self._running.end).atexit = False

    @property
    def closed(self) -> bool:
        """Whether it accepts no more work."""
        return self._running.ending

    def check(self) -> None:
        """Raise `ClientClosed`, or `ClientError` where its work cannot be waited for."""
        if self._running.forked:
            raise ClientError("the client was created before this process was forked; create one in each process")
        if self._running.is_current:
            raise ClientError("a blocking client cannot be used in its own callbacks; use Client there")
        if self.closed:
            raise ClientClosed

    def start(self, work: Callable[[], Awaitable[T]]) -> "Future[T]":
        """Start the work on the loop. Raises what `check` raises."""
        remedies: list[str] = []

        async def run() -> T:
            collect_remedies(remedies)
            return await work()

        self.check()
        with self._running.gate:
            if self.closed:
                raise ClientClosed
            future = asyncio.run_coroutine_threadsafe(run(), self._running.loop)
            self._remedies[future] = remedies
            return future

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run the work on the loop and wait for it. Whatever interrupts the waiting cancels it.

        Raises what the work raises, what `check` raises, and `ClientClosed` if it is closed meanwhile.
        """
        return self.result(self.start(work))

    def result(self, future: "Future[T]") -> T:
        """What the work that was started returns. Raises what `call` raises, and interrupted as it is."""
        try:
            return future.result()
        except CancelledError:
            if not self.closed:
                raise
            closed = ClientClosed()
            self._note(future, closed)
            raise closed from None
        except BaseException as error:
            self.break_off(future, error)
            raise

    def break_off(self, future: "Future[Any]", error: BaseException) -> None:
        """Cancel what was started, since this happened to its caller: a note tells how to go on with what it began."""
        if not future.done() or future.cancelled():
            self._note(future, error)
        future.cancel()

    def _note(self, future: "Future[Any]", error: BaseException) -> None:
        for remedy in [*self._remedies[future]]:
            error.add_note(remedy)

    def iterate(self, batches: Callable[[], AsyncGenerator[Sequence[T]]]) -> Iterator[T]:
        """What an async generator of batches yields, one by one. Raises what `check` raises, before the first."""
        self.check()
        return self._iterate(batches())

    def _iterate(self, generator: AsyncGenerator[Sequence[T]]) -> Iterator[T]:
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
            self._finish(end)

    def _finish(self, end: Callable[[], Awaitable[None]]) -> None:
        """Run the end of an iteration, which a garbage collection may bring about in any thread."""
        if self._running.is_current:
            asyncio.run_coroutine_threadsafe(_awaited(end), self._running.loop)
            return
        # A closed loop has closed its generators, and a forked child has none that runs.
        with suppress(ClientError):
            self.call(end)

    def close(self) -> None:
        """Disconnect, cancel what is under way, end the thread and close the loop. Safe to call twice.

        Raises what disconnecting raises, and `ClientError` in a callback.
        """
        if self._running.is_current:
            raise ClientError("a blocking client cannot be closed in its own callbacks; close it where it was created")
        was_closed = self.closed
        ended = self._running.end()
        if ended is None or was_closed:
            return
        try:
            ended.result()
        finally:
            # Not where waiting was interrupted.
            if ended.done():
                self._running.thread.join()


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


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

    def sized(self, count: int) -> "SizedItems":
        """The same items, of which there are so many."""
        return SizedItems(self.items(), count)

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


class SizedItems(AsyncIterable[Item]):
    """Items that come one after another, and whose number is known."""

    def __init__(self, items: AsyncGenerator[Item], count: int) -> None:
        self._items = items
        self._count = count

    def __aiter__(self) -> AsyncIterator[Item]:
        return self._items

    def __len__(self) -> int:
        return self._count
