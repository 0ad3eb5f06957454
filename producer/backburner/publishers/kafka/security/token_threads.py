"""Threads for what blocks until it has a token: functions of users, token endpoints, AWS's chain.

They are no threads of the event loop's own, of which there are a handful for all parts: one that never comes back, as
where a service accepts a connection and says nothing, would take one from all others each time. Nor do they keep a
process from ending.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

MAX_THREADS_COUNT = 4
"""At once. Whoever asks for a token gives up before; what is left in a thread then goes on."""


class ThreadsBusy(Exception):
    """As many calls as may run at once have not come back."""


class TokenThreads:
    """Runs blocking calls of one client. Not for several event loops."""

    def __init__(self) -> None:
        self._running = 0

    async def run(self, call: Callable[[], T]) -> T:
        """What the call returns or raises. Raises `ThreadsBusy`. Cancelled, it leaves the call to its thread."""
        if self._running >= MAX_THREADS_COUNT:
            raise ThreadsBusy(f"{self._running} earlier calls for a token have not come back")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def ended(value: T | None, error: BaseException | None) -> None:
            self._running -= 1
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(value)  # type: ignore[arg-type]  # it is the call's own value, None included

        def work() -> None:
            value, error = None, None
            try:
                value = call()
            except BaseException as raised:  # noqa: BLE001 - whatever it is, whoever waits gets it
                error = RuntimeError("it ended") if isinstance(raised, StopIteration) else raised
            try:
                loop.call_soon_threadsafe(ended, value, error)
            except RuntimeError:  # The loop is closed: nobody waits any more.
                return

        self._running += 1
        threading.Thread(target=work, name="kafka-token", daemon=True).start()
        return await done
