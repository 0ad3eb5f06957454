"""Calls that a native library answers from threads of its own, and their end before the interpreter's.

obstore delivers each result from a thread that Python did not start and that attaches to the interpreter for it;
also after the call was cancelled, to find out that it was. Nothing in asyncio waits for such a thread, and one that
attaches while the interpreter is torn down ends the process by a signal: Python up to 3.13 kills the thread, which
Rust answers with an abort (exit code 134), and 3.14 lets it run into types that are gone (139). So each call stands
between the library and the event loop, as both the loop and the future that the library asks for. It therefore knows
when the library's thread is through, can be cancelled whether or not its event loop still runs, and at the end of the
process all of them are cancelled and awaited. So is the return of bytes that a call was lent: a thread enters Python
for that too, and may come after the call is over, from a connection that still had them to send.

It knows no library by name, and nothing about the calls.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

_END_SECONDS = 10.0
"""A cancelled call is over within microseconds, unless its thread waits for a processor."""
_POLL_SECONDS = 0.001


@dataclass(slots=True, eq=False)
class _Shared:
    """State shared by the calls of one `NativeCalls`."""

    under_way: "set[_Call[Any]]" = field(default_factory=set)
    threads: set[int] = field(default_factory=set)
    """Those of the library's threads that were ever inside Python; it keeps a pool of them."""
    lent: dict[int, memoryview] = field(default_factory=dict)
    """By their identity; they compare by what is in them."""
    overdue: dict[int, memoryview] = field(default_factory=dict)
    """Those of `lent` whose call is over."""
    ended: bool = False

    def inside(self) -> set[int]:
        """Those of the library's threads that are inside Python now."""
        # One that is gone leaves its number to the next that begins, which may be a thread of Python's own.
        pythons = {thread.ident for thread in threading.enumerate() if type(thread) is not threading._DummyThread}  # noqa: SLF001
        return (self.threads & sys._current_frames().keys()) - pythons  # noqa: SLF001 - documented

    def take_back(self, view: memoryview) -> bool:
        """Whether the library does not use the view any more; then it is forgotten."""
        with suppress(BufferError):
            view.release()
            self.lent.pop(id(view), None)
            self.overdue.pop(id(view), None)
            return True
        return False


class NativeCalls:
    """The calls under way, of every event loop and thread."""

    def __init__(self) -> None:
        self._shared = _Shared()

    async def run(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the function's future. Cancelling this cancels the call."""
        loop = asyncio.get_running_loop()
        call = _Call[T](loop, self._shared)
        answer: Awaitable[T] | None = None
        try:
            # The library gets the running loop from asyncio; this is how event loops register themselves there.
            asyncio._set_running_loop(cast("asyncio.AbstractEventLoop", call))  # noqa: SLF001
            try:
                answer = function(*args, **kwargs)
            except BaseException:
                self._shared.under_way.discard(call)  # It never began.
                raise
            finally:
                asyncio._set_running_loop(loop)  # noqa: SLF001
            return await answer
        except BaseException:
            call.cancel()
            raise
        finally:
            # An error keeps this frame, which would keep the call, by either name, which keeps the error: so much would
            # wait for the garbage collector with each missing object, and with each listing's end.
            del call, answer

    @contextmanager
    def lend(self, data: bytes) -> Iterator[memoryview]:
        """The data for a call within the block, so that it is known when the library has released it."""
        shared, view = self._shared, memoryview(data)
        shared.lent[id(view)] = view
        try:
            yield view
        finally:
            for each in (*shared.overdue.values(), view):
                if not shared.take_back(each):
                    shared.overdue[id(each)] = each

    def end(self, seconds: float = _END_SECONDS) -> bool:
        """Cancel all calls, accept no more, and wait until none of the library's threads can enter Python again.

        Returns whether that happened in time. It needs no event loop.
        """
        shared = self._shared
        shared.ended = True
        until = time.monotonic() + seconds
        while True:
            for call in tuple(shared.under_way):
                call.cancel()
            for view in tuple(shared.lent.values()):
                shared.take_back(view)
            # In this order: a thread takes its call out in a Python function, and once that has returned, it leaves
            # the interpreter without running anything more in it. So does one that has released bytes.
            if not (shared.under_way or shared.lent or shared.inside()):
                return True
            if time.monotonic() > until:
                return False
            # Sleeping releases the interpreter's lock, which is what they wait for.
            time.sleep(_POLL_SECONDS)

    def forget(self) -> None:
        """Drop all calls, in a forked child: the threads that would answer them have stayed in the parent."""
        self._shared = _Shared()


class _Call(Generic[T]):
    """One call. To the library it is the running event loop, and the future which that loop creates."""

    def __init__(self, loop: asyncio.AbstractEventLoop, shared: _Shared) -> None:
        self._loop = loop
        self._answer: asyncio.Future[T] = loop.create_future()
        self._shared = shared
        self._cancelling = threading.Lock()
        self._cancelled = False
        self._drop: Callable[[_Cancelled], object] | None = None

    def __await__(self) -> Generator[Any, None, T]:
        return self._answer.__await__()

    def cancel(self) -> None:
        """Let the library drop the call; from any thread, any number of times."""
        with self._cancelling:
            self._cancelled = True
            drop, self._drop = self._drop, None
        if drop is not None:
            drop(_Cancelled())

    # --- what the library asks where the call is made ---

    def create_future(self) -> "_Call[T]":
        # In this order, so that either `end` sees the call, or the call sees the end.
        self._shared.under_way.add(self)
        if self._shared.ended:
            raise RuntimeError("the interpreter is shutting down; no more calls can be made")
        return self

    def add_done_callback(self, drop: "Callable[[_Cancelled], object]") -> None:
        """Keep what drops the call when it gets a cancelled future; it must be called no more than once."""
        self._drop = drop

    # --- what the library's own thread asks, at the end of each call ---

    def cancelled(self) -> bool:
        """Whether nobody waits for the result; then the thread delivers none, and is done."""
        self._shared.threads.add(threading.get_ident())
        if self._cancelled:
            self._shared.under_way.discard(self)
            return True
        return False

    def call_soon_threadsafe(
        self, _check: object, _call: object, give: Callable[[Any], None], value: object, *, context: Context | None
    ) -> None:
        """Pass the result or the error to the loop; then the thread is done."""
        try:
            self._loop.call_soon_threadsafe(give, value, context=context)
        except RuntimeError:
            return  # The loop is closed, and with it whoever waited.
        finally:
            self._shared.under_way.discard(self)

    def set_result(self, value: T) -> None:
        if not (self._cancelled or self._answer.done()):
            self._answer.set_result(value)

    def set_exception(self, error: BaseException) -> None:
        if not (self._cancelled or self._answer.done()):
            self._answer.set_exception(error)


class _Cancelled:
    """What the library's callback gets in place of a cancelled future."""

    def cancelled(self) -> bool:
        return True
