"""Puts requests back onto the queue: a worker that retries is a producer. It decides nothing about when or whether."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from backburner.logs import get_logger
from backburner.publishers.base import Message, Publisher
from backburner.settings import QueueKind
from backburner.storage import Storage
from backburner.submission.envelopes import claim_check
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane
from backburner_worker.policy import Retry
from backburner_worker.settlement.until_stored import asked_to_end, until_stored

_MAX_WAITING_RETRIES = 4096
_MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Retries that wait for the queue, and the bytes of their requests, at which the worker takes in no more."""
_TROUBLE_SECONDS = 5.0

log = get_logger(__name__)


class RetryPublisher:
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
        self._refused: tuple[float, str] | None = None
        """Since when, by the monotonic clock, and why the queue takes no retry."""

    @property
    def has_room(self) -> bool:
        """Whether more retries may come; false while too many wait for the queue."""
        return self._waiting < _MAX_WAITING_RETRIES and self._waiting_bytes < _MAX_WAITING_BYTES

    def trouble(self) -> str | None:
        """Why the queue takes no retry, in one line; None while it does, or nothing was retried."""
        if self._refused is None or time.monotonic() - self._refused[0] < _TROUBLE_SECONDS:
            return None
        return f"retries cannot be published: {self._refused[1]}"

    async def put(self, retry: Retry, size: int) -> None:
        """Publish the retry; `size` is that of its request in bytes. Bounded by cancellation alone."""
        self._waiting += 1
        self._waiting_bytes += size
        try:
            message = Message(self._pool, Lane.RETRY, retry.envelope, retry.facts)
            if retry.envelope.body is not None:
                claim = partial(claim_check, self._storage, message, size, self._queue)
                message = await until_stored(claim, "store a body")
            await self._until_published(message)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size

    async def close(self) -> None:
        """Disconnect. Nothing may be put any more."""
        if self._publisher is not None:
            await self._publisher.close()

    async def _until_published(self, message: Message) -> None:
        def say(state: RetryCallState) -> None:
            why = str(state.outcome.exception()) if state.outcome else ""
            self._refused = (self._refused[0] if self._refused else time.monotonic(), why)
            log.warning("the queue does not take a retry; trying again", attempt=state.attempt_number, error=why)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(QueueError),
            wait=wait_exponential_jitter(multiplier=0.2, max=5.0),
            before_sleep=say,
        )
        await retrying(self._publish, message)

    async def _publish(self, message: Message) -> None:
        try:
            await (await self._connected()).publish([message])
        except asyncio.CancelledError:
            if asked_to_end():
                raise
            raise QueueError("the connection ended while a retry was on its way") from None
        self._refused = None

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
