"""A queue in memory, with any number of sources and publishers on it. For tests of speed, faults and odd timings.

`FakeQueue` is what a test holds, to put messages in, see what became of them, and inject faults. `FakeSource` and
`FakePublisher` are the two ports onto it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from backburner.publishers.base import Message
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, RevokedCallback
from backburner_worker.sources.fake.broker import FakeBroker

_IDLE_SECONDS = 1.0


class FakeQueue(FakeBroker):
    """The queue. A message is held by one source at a time, and again when that source closes or loses it."""

    def source(self) -> "FakeSource":
        """A new member."""
        return FakeSource(self)

    def publisher(self) -> "FakePublisher":
        """A new publisher onto the same lanes."""
        return FakePublisher(self)


class FakeSource:
    """The source port onto a `FakeQueue`. Made by `FakeQueue.source`."""

    def __init__(self, queue: FakeBroker) -> None:
        self._queue = queue
        self._revoked: RevokedCallback | None = None
        self._stopped = False
        self._closed = False
        self.begun: list[Delivery] = []
        """What went to the engine, in that order."""
        self.clean: bool | None = None
        """How it was closed; None while it is open."""

    async def start(self, revoked: RevokedCallback) -> None:
        """Nothing to connect to."""
        self._revoked = revoked

    async def pull(self, budget: Mapping[Lane, int]) -> list[Delivery]:
        """Up to that many deliveries of each lane. Raises `QueueError` after a close."""
        if self._closed:
            raise QueueError("the source is closed; start a new one")
        # A broker takes a moment; without that, whoever pulls in a loop would never let anything else run.
        await asyncio.sleep(0)
        clock = asyncio.get_running_loop().time
        end = clock() + _IDLE_SECONDS
        while not (taken := [] if self._stopped else self._queue.give(self, budget)) and clock() < end:
            due = self._queue.next_due()
            seconds = end - clock() if due is None else min(end - clock(), due - self._queue.now())
            with suppress(TimeoutError):
                async with asyncio.timeout(max(seconds, 0.0)):
                    await self._queue.changed.until(partial(self._has_news, budget, due))
        return taken

    def _has_news(self, budget: Mapping[Lane, int], due: float | None) -> bool:
        """Whether there is something to hand out, or another moment at which there will be."""
        return not self._stopped and (self._queue.has(budget) or self._queue.next_due() != due)

    async def begin(self, delivery: Delivery) -> None:
        """Noted in `begun`."""
        self.begun.append(delivery)

    async def settle(self, delivery: Delivery) -> None:
        """End the delivery; no effect where its lease is lost."""
        self._queue.end(delivery)

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Others get them at once."""
        for delivery in deliveries:
            self._queue.lose(delivery, clean=True)

    async def revoke(self, delivery: Delivery, to: "FakeSource | None" = None) -> None:
        """For tests: let the delivery go as a rebalance would, announced first, then lost; `to` has it from now on."""
        if self._revoked is not None:
            await self._revoked()
        self._queue.lose(delivery, to, clean=True)

    def held(self) -> list[Delivery]:
        """For tests: deliveries that this source has and has not settled, in the order of their sending."""
        return self._queue.held_by(self)

    def lag(self) -> Mapping[Lane, int]:
        """Messages that nobody holds, and those that this source holds, by lane."""
        counts = self._queue.waiting()
        for delivery in self.held():
            counts[delivery.lane] += 1
        return counts

    def uncommitted(self) -> int:
        """Deliveries handed out and not settled."""
        return len(self.held())

    def unavailable_reason(self) -> str | None:
        """The reason of the queue's outage; None if there is none."""
        return self._queue.away

    async def stop(self) -> None:
        """Hand out no more deliveries."""
        self._stopped = True

    async def close(self, *, clean: bool = True) -> None:
        """What is held goes to others; `clean` is noted."""
        self.clean = clean
        self._stopped = self._closed = True
        for delivery in self.held():
            self._queue.lose(delivery, clean=clean)


class FakePublisher:
    """The publisher port onto a `FakeQueue`. Made by `FakeQueue.publisher`."""

    def __init__(self, queue: FakeBroker) -> None:
        self._queue = queue
        self.open = False
        """Whether it is connected."""

    async def start(self) -> None:
        """Connect. Raises `QueueError` during an outage."""
        self._check_there()
        self.open = True

    async def publish(self, messages: Sequence[Message]) -> None:
        """Put the messages onto their lanes. Raises `PublishFailed`."""
        if not self.open:
            raise QueueError("the publisher is not connected; start it before it publishes")
        await asyncio.sleep(0)
        self._check_there()
        self._queue.take_in(messages)

    async def close(self) -> None:
        """Disconnect."""
        self.open = False

    def _check_there(self) -> None:
        if self._queue.away is not None:
            raise QueueError(self._queue.away)
