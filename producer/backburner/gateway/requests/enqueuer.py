"""Puts single requests onto the queue together: those that come while a publish is under way go with the next one."""

import asyncio
import secrets
from collections import defaultdict, deque
from typing import Protocol

from backburner.logs import get_logger
from backburner.publishers.base import Message, Publisher, PublishFailed
from backburner.publishers.encoded import EncodedMessages
from backburner_schemas.errors import BackburnerError, Overloaded, QueueError
from backburner_schemas.names import Lane
from backburner_schemas.routing import NEIGHBOUR_REQUESTS

_MAX_BATCH_MESSAGES = 500
_MAX_BATCH_BYTES = 4 * 1024 * 1024
_MAX_PUBLISHES = 2
"""Publishes under way at once: one alone would add a whole round trip to the wait, and many would be small."""
_MAX_WAITING_MESSAGES = 10_000

Waiting = tuple[Message, asyncio.Future[None]]
"""A message and who waits for it."""

log = get_logger(__name__)


class Connected(Protocol):
    """Where the publisher comes from, connected."""

    async def publisher(self) -> Publisher:
        """The publisher. Raises `QueueError` while no broker answers."""
        ...


class Enqueuer:
    """Collects messages and publishes them. Use it from one event loop, and `close` it."""

    def __init__(self, connected: Connected) -> None:
        self._connected = connected
        self._waiting: deque[Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._kicked = False
        self._name = secrets.token_hex(8).encode()
        self._runs = 0

    async def enqueue(self, message: Message) -> None:
        """Return when the broker has the message. Raises `QueueError`; then it may be there or not.

        Raises `PublishFailed` for one that is too large, and `Overloaded` while too many wait. Cancelled before it is
        sent, it is not sent.
        """
        if len(self._waiting) >= _MAX_WAITING_MESSAGES:
            raise Overloaded
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((message, acknowledged))
        if not self._kicked:
            # In a moment: what comes in the same turn of the loop goes along.
            self._kicked = True
            asyncio.get_running_loop().call_soon(self._kick)
        await acknowledged

    async def close(self) -> None:
        """Wait for what is under way."""
        while self._under_way or self._waiting:
            self._kick()
            if self._under_way:
                await asyncio.wait(self._under_way)

    def _kick(self) -> None:
        self._kicked = False
        while self._waiting and len(self._under_way) < _MAX_PUBLISHES:
            batch = self._batch()
            if not batch:
                return
            task = asyncio.create_task(self._publish(batch))
            self._under_way.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._kick()

    def _batch(self) -> list[Waiting]:
        batch: list[Waiting] = []
        size = 0
        while self._waiting and len(batch) < _MAX_BATCH_MESSAGES and size < _MAX_BATCH_BYTES:
            message, acknowledged = self._waiting.popleft()
            if not acknowledged.done():
                batch.append((message, acknowledged))
                size += len(message.value)
        return batch

    async def _publish(self, batch: list[Waiting]) -> None:
        lanes: defaultdict[tuple[str, Lane], list[Waiting]] = defaultdict(list)
        for waiting in batch:
            lanes[waiting[0].pool, waiting[0].lane].append(waiting)
        for (pool, lane), members in lanes.items():
            failed: dict[int, BackburnerError] = {}
            try:
                publisher = await self._connected.publisher()
                await publisher.publish(self._together(pool, lane, [message.value for message, _ in members]))
            except PublishFailed as error:
                failed = dict.fromkeys(error.failed, error)
            except BackburnerError as error:
                failed = dict.fromkeys(range(len(members)), error)
            except Exception:
                log.exception("publishing failed; its callers are told to call again")
                failed = dict.fromkeys(range(len(members)), QueueError())
            _tell(members, failed)

    def _together(self, pool: str, lane: Lane, values: list[bytes]) -> EncodedMessages:
        """The messages, some of them on one partition: each with its own would be a batch of one to the broker."""
        keys = list[bytes]()
        while len(keys) < len(values):
            self._runs += 1
            keys += [b"%b/%d" % (self._name, self._runs)] * min(NEIGHBOUR_REQUESTS, len(values) - len(keys))
        return EncodedMessages(pool, lane, keys, values)


def _tell(members: list[Waiting], failed: dict[int, BackburnerError]) -> None:
    for position, (_, acknowledged) in enumerate(members):
        if acknowledged.done():
            continue
        if (refused := failed.get(position)) is not None:
            # Each its own: one instance would gather the traces of all who raise it.
            if isinstance(refused, PublishFailed) and position in refused.too_large:
                acknowledged.set_exception(PublishFailed([0], "it is over the queue's limit", [0]))
                continue
            acknowledged.set_exception(QueueError(refused.message))
        else:
            acknowledged.set_result(None)
