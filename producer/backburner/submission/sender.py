"""Sends a job's messages in batches, several at a time, and tracks which prefix of the job the broker has."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from backburner.connections import DEFAULT_MAX_RETRIES
from backburner.publishers.base import Message, Publisher, PublishFailed
from backburner.storage import Storage
from backburner.submission.envelopes import to_send_again
from backburner_schemas.job import Prefix

MAX_BATCHES_IN_FLIGHT = 4
"""Batches under way at once. A batch is a chunk of the input, which ends with the line that takes it to a megabyte, so
this bounds the memory."""
_FIRST_PAUSE_SECONDS = 0.2


async def publish(
    publisher: Publisher, storage: Storage, messages: Sequence[Message], *, max_retries: int = DEFAULT_MAX_RETRIES
) -> None:
    """Publish until the broker has every message; what it did not acknowledge is sent again, with growing pauses.

    What is too large for its topic is sent again with its body stored. Raises `PublishFailed` when so many repetitions
    were not enough, `MessageTooLarge` for what is too large even so, and `StoreError`.
    """
    left = messages
    for attempt in range(1, max_retries + 2):
        try:
            await publisher.publish(left)
        except PublishFailed as error:
            if attempt > max_retries:
                raise
            left = await to_send_again(storage, left, error)
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) * (0.5 + random.random()))  # noqa: S311 - jitter
        else:
            return


class Sender:
    """Publishes batches side by side. Use it from one task, and always `close` it."""

    def __init__(self, start: Prefix) -> None:
        self._settled = start
        self._under_way: deque[tuple[asyncio.Task[None], Prefix]] = deque()

    @property
    def acknowledged(self) -> Prefix:
        """The prefix that the broker has, without gaps."""
        found = self._settled
        for task, end in self._under_way:
            if not task.done() or task.cancelled() or task.exception() is not None:
                break
            found = end
        return found

    async def send(self, work: Callable[[], Awaitable[None]], end: Prefix) -> None:
        """Start one batch, which reaches up to `end`, once there is room. Raises what an earlier batch raised."""
        while len(self._under_way) >= MAX_BATCHES_IN_FLIGHT:
            await self._settle_first()
        self._under_way.append((asyncio.ensure_future(_run(work)), end))
        while self._under_way and self._under_way[0][0].done():
            await self._settle_first()

    async def drain(self) -> None:
        """Wait until the broker has everything. Raises what a batch raised."""
        while self._under_way:
            await self._settle_first()

    async def close(self) -> None:
        """Give up what is still under way."""
        tasks = [task for task, _ in self._under_way]
        self._under_way.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            # Retrieved, so that asyncio does not report them: the first error is on its way to the caller already.
            with suppress(asyncio.CancelledError):
                task.exception()

    async def _settle_first(self) -> None:
        task, end = self._under_way[0]
        # Cancelling the wait must not cancel the batch: the broker may have it.
        await asyncio.wait([task])
        task.result()
        self._under_way.popleft()
        self._settled = end


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()
