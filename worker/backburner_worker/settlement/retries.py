"""Puts requests back onto the queue: a worker that retries is a producer. It decides nothing about when or whether."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from backburner.availability import Availability
from backburner.publishers.base import Message, Publisher, PublishFailed
from backburner.runtime.retrying import FailureLog, retry_until_done
from backburner.runtime.until_stored import asked_to_end, until_stored
from backburner.settings import QueueKind
from backburner.storage import Storage
from backburner.submission.envelopes import claim_check, to_send_again
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane
from backburner_worker.policy import Retry
from backburner_worker.settlement.availability import RetriesAvailability

_MAX_WAITING_RETRIES = 4096
_MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Retries that wait for the queue, and the bytes of their requests, at which the worker takes in no more."""


class RetryPublisher(Availability):
    """Retries on their way to the lane `retry`, each as a full envelope with its address.

    `put` returns when the queue has the retry, and not before. While the queue is away it waits, and `has_room` turns
    false before memory grows: take in no more then. A retry whose publish was in doubt is published again, so it may be
    there twice; nobody sees two.
    """

    def __init__(self, open_publisher: Callable[[], Publisher], storage: Storage, pool: str, queue: QueueKind) -> None:
        """The publisher is made and connected at the first retry: most workers never need one."""
        self._open_publisher = open_publisher
        self._storage = storage
        self._pool = pool
        self._queue = queue
        self._publisher: Publisher | None = None
        self._opening = asyncio.Lock()
        self._waiting = 0
        self._waiting_bytes = 0
        self._availability = RetriesAvailability(time.monotonic)
        self._failures = FailureLog("publishing a retry failed; retrying")

    @property
    def has_room(self) -> bool:
        """Whether more retries may come; false while too many wait for the queue."""
        return self._waiting < _MAX_WAITING_RETRIES and self._waiting_bytes < _MAX_WAITING_BYTES

    def unavailable_reason(self) -> str | None:
        """Why the queue takes no retry, in one line; None while it does, or nothing was retried."""
        return self._availability.unavailable_reason()

    async def put(self, retry: Retry, size: int) -> None:
        """Publish the retry; `size` is that of its request in bytes. Bounded by cancellation alone.

        Raises `MessageTooLarge` where the queue will not take it even with its body stored.
        """
        self._waiting += 1
        self._waiting_bytes += size
        try:
            message = Message(self._pool, Lane.RETRY, retry.envelope, retry.facts)
            if retry.envelope.body is not None:
                message = await until_stored(partial(claim_check, self._storage, message, self._queue), "store a body")

            async def attempt() -> None:
                nonlocal message
                try:
                    await self._publish(message)
                except PublishFailed as error:
                    again = partial(to_send_again, self._storage, [message], error)
                    (message,) = await until_stored(again, "store a body")
                    raise

            await retry_until_done(attempt, _is_queue_error, self._not_published)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size

    async def close(self) -> None:
        """Disconnect. Nothing may be put any more."""
        if self._publisher is not None:
            await self._publisher.close()

    async def _publish(self, message: Message) -> None:
        try:
            await (await self._connected()).publish([message])
        except asyncio.CancelledError:
            if asked_to_end():
                raise
            raise QueueError("the connection ended while a retry was on its way") from None
        self._availability.answered()

    def _not_published(self, error: BaseException, attempt: int, waited_seconds: float) -> None:
        self._availability.failed(str(error))
        self._failures.note("publish a retry", error, attempt, waited_seconds)

    async def _connected(self) -> Publisher:
        async with self._opening:
            if self._publisher is None:
                publisher = self._open_publisher()
                try:
                    await publisher.start()
                except BaseException:
                    await publisher.close()
                    raise
                self._publisher = publisher
        return self._publisher


def _is_queue_error(error: BaseException) -> bool:
    return isinstance(error, QueueError)
