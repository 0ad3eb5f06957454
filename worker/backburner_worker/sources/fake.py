"""A source in memory: messages that are put in come out as deliveries. For tests of speed, faults and odd timings."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Mapping

from backburner_schemas.codec import Origin, Rules, decode, decode_facts
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, RevokedCallback

_IDLE_SECONDS = 1.0


class FakeSource:
    """The source port without a broker. `send` puts a message in; `unsettled` tells what is still owed."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._waiting: dict[Lane, deque[Delivery]] = {lane: deque() for lane in Lane}
        self._held: dict[int, Delivery] = {}
        self._numbers = itertools.count()
        self._arrived = asyncio.Event()
        self._revoked: RevokedCallback | None = None
        self._stopped = False
        self.settled: list[Delivery] = []

    def send(self, value: bytes | None, lane: Lane = Lane.NORMAL, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Put a message onto a lane."""
        number, now = next(self._numbers), time.time()
        origin = Origin(f"fake.{lane}", f"0-{number}", now)
        facts = decode_facts(headers, now)
        message = decode(value, origin, self._rules)
        self._waiting[lane].append(Delivery(message, value or b"", origin, lane, facts, token=number))
        self._arrived.set()

    @property
    def unsettled(self) -> int:
        """Messages that were sent and not settled."""
        return len(self._held) + sum(map(len, self._waiting.values()))

    async def start(self, revoked: RevokedCallback) -> None:
        """Nothing to connect to."""
        self._revoked = revoked

    async def pull(self, budget: Mapping[Lane, int]) -> list[Delivery]:
        """Up to that many deliveries of each lane."""
        # A broker takes a moment; without one, whoever pulls in a loop would never let anything else run.
        await asyncio.sleep(0)
        taken: list[Delivery] = []
        if not self._stopped:
            for lane, room in budget.items():
                waiting = self._waiting[lane]
                taken += [waiting.popleft() for _ in range(min(room, len(waiting)))]
        if not taken:
            self._arrived.clear()
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._arrived.wait()
            except TimeoutError:
                return []
            return await self.pull(budget)
        self._held.update((id(delivery), delivery) for delivery in taken)
        return taken

    async def begin(self, delivery: Delivery) -> None:
        """Nothing to write down."""

    async def settle(self, delivery: Delivery) -> None:
        """End the delivery; void where its lease is lost."""
        if self._held.pop(id(delivery), None) is not None:
            self.settled.append(delivery)

    async def revoke(self, delivery: Delivery) -> None:
        """Let the delivery go to another worker, as a rebalance would: announced first, then lost."""
        if self._revoked is not None:
            await self._revoked()
        if self._held.pop(id(delivery), None) is not None:
            delivery.lease.lose()

    def held(self) -> list[Delivery]:
        """Deliveries that were given and not settled."""
        return [*self._held.values()]

    def lag(self) -> Mapping[Lane, int]:
        """Messages that wait, by lane."""
        return {lane: len(waiting) for lane, waiting in self._waiting.items()}

    def uncommitted(self) -> int:
        """Deliveries given and not settled."""
        return len(self._held)

    def trouble(self) -> str | None:
        """Nothing ever is."""
        return None

    async def stop(self) -> None:
        """Give no more deliveries."""
        self._stopped = True

    async def close(self) -> None:
        """What is held is lost to this worker."""
        for delivery in self._held.values():
            delivery.lease.lose()
        self._held.clear()
