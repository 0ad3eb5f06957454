"""The harness on the queue in memory that ships with the product. There a crash shows in leases that end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backburner.publishers.base import Publisher
from backburner_schemas.envelope import Envelope
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, Source
from backburner_worker.sources.fake.source import FakeQueue, FakeSource
from queues.harness import Dead, QueueHarness, nothing


@dataclass
class FakeHarness(QueueHarness):
    """A `FakeQueue` and its members."""

    queue: FakeQueue = field(default_factory=FakeQueue)

    async def prepare(self) -> None:
        self.queue.max_bytes = self.limit

    @property
    def lends(self) -> float:
        return 0.1

    def publisher(self) -> Publisher:
        publisher = self.queue.publisher()
        self.members.push_async_callback(publisher.close)
        return publisher

    def source(self, name: str | None = None, **settings: Any) -> Source:
        self.queue.rules = self.settings.model_copy(update=settings).message_rules
        source = self.queue.source()
        self.members.push_async_callback(source.close)
        return source

    async def send(
        self,
        value: bytes | None,
        *,
        lane: Lane = Lane.NORMAL,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> str:
        self.queue.send(value, lane, tuple(headers))
        return ""

    async def left(self) -> int:
        return self.queue.unsettled

    async def take_away(self, member: Source, held: Sequence[Delivery]) -> Source:
        second = self.source()
        await second.start(nothing)
        assert isinstance(member, FakeSource)
        await member.revoke(held[0])
        return second

    async def killed_member(self, *, settled: int, name: str = "killed") -> Dead:
        source = await self.member()
        found = []
        while sum(index_of(one) % 2 for one in found) < settled:
            found += await source.pull(dict.fromkeys(Lane, 50))
        held = [one for one in found if not index_of(one) % 2]
        await self.settle(source, [one for one in found if index_of(one) % 2])
        for one in held:
            self.queue.lose(one)
        return Dead(
            frozenset(index_of(one) for one in found) - set(map(index_of, held)), frozenset(map(index_of, held))
        )

    async def names(self) -> set[str]:
        return set()

    async def delete(self) -> None:
        """It goes with the test."""


def index_of(delivery: Any) -> int:
    assert isinstance(delivery.message, Envelope)
    return int(delivery.message.index)
