"""The harness: a fresh pool on some queue, and what the tests do to it. Each kind of queue fills in what is its own.

Members are the product's own sources, opened as a worker opens them, from settings; messages go out by the product's
own publisher, or raw.
"""

import asyncio
import contextlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waiting import PATIENCE, until

from backburner.publishers import open_publisher
from backburner.publishers.base import Message, Publisher
from backburner_schemas import routing
from backburner_schemas.envelope import DeliveryFacts, Envelope
from backburner_schemas.names import Lane
from backburner_worker.settings import WorkerSettings
from backburner_worker.sources.base import Delivery, RevokedCallback, Source
from backburner_worker.sources.factory import open_source

SPREAD = routing.NEIGHBOUR_REQUESTS
"""Indices this far apart have partition keys of their own."""
TENANT, JOB = "t", "job"
_MEMBER = Path(__file__).parents[2] / "contract" / "programs" / "queue_member.py"


async def nothing() -> None:
    """A revocation callback for a pipeline that holds nothing."""


@dataclass(frozen=True, slots=True)
class Dead:
    """A member that was killed: what it had settled, and what it held, by index."""

    settled: frozenset[int]
    held: frozenset[int]


@dataclass
class QueueHarness(ABC):
    """A fresh pool on a queue. Everything that it hands out is closed when the test ends."""

    kind: str
    settings: WorkerSettings
    name: str = "fake"
    members: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    # --- what each kind fills in ---

    @abstractmethod
    async def prepare(self) -> None:
        """Make the pool's topics or queues."""

    @abstractmethod
    async def send(
        self,
        value: bytes | None,
        *,
        lane: Lane = Lane.NORMAL,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> str:
        """A message as a raw producer sends it; its position, where it is told."""

    @abstractmethod
    async def left(self) -> int:
        """Messages that the queue still owes: sent, and not durably settled."""

    @abstractmethod
    async def take_away(self, member: Source, held: Sequence[Delivery]) -> Source:
        """Have the queue take something of that away from the member that holds it; the member that gets it."""

    @abstractmethod
    async def names(self) -> set[str]:
        """Topics or queues that there are with the harness's prefix."""

    @abstractmethod
    async def delete(self) -> None:
        """Delete what `prepare` made, as far as the server lets one."""

    @property
    def lends(self) -> float:
        """Seconds after which the queue gives a silent member's deliveries to others."""
        return self.settings.kafka_session_seconds

    def known_as(self, name: str | None) -> str | None:
        """The name under which such a worker is known to the queue."""
        return name

    @property
    def limit(self) -> int:
        """Bytes of one message that the queue takes."""
        return self.settings.max_body_bytes + 64 * 1024

    @property
    def largest_body(self) -> int:
        """Bytes of a body that fits, with its envelope around it."""
        return self.settings.max_body_bytes

    def url_at(self, port: int) -> str:
        """The queue's URL, with that port of this machine."""
        return f"kafka://127.0.0.1:{port}"

    # --- what is the same on all ---

    def message(
        self, index: int, *, lane: Lane = Lane.NORMAL, facts: DeliveryFacts | None = None, prompt: str = "prompt"
    ) -> Message:
        """A request of the pool's job."""
        body = {"model": "fake", "messages": [{"role": "user", "content": f"{prompt} {index}"}]}
        envelope = Envelope(
            tenant=TENANT, job=JOB, index=index, custom_id=f"c{index}", url="/v1/chat/completions", body=body
        )
        return Message(self.name, lane, envelope, facts or DeliveryFacts())

    def publisher(self) -> Publisher:
        """A publisher onto the queue, not started."""
        publisher = open_publisher(self.settings)
        self.members.push_async_callback(publisher.close)
        return publisher

    async def started_publisher(self) -> Publisher:
        """A publisher onto the queue, started."""
        publisher = self.publisher()
        await publisher.start()
        return publisher

    async def publish(
        self, count: int, *, lane: Lane = Lane.NORMAL, first: int = 0, step: int = 1, prompt: str = "prompt"
    ) -> set[int]:
        """That many requests, by the product's publisher; their indices."""
        indices = [first + number * step for number in range(count)]
        publisher = await self.started_publisher()
        await publisher.publish([self.message(index, lane=lane, prompt=prompt) for index in indices])
        await publisher.close()
        return set(indices)

    def source(self, name: str | None = None, **settings: Any) -> Source:
        """A member of the pool, not started. The same name again is the same worker after a restart."""
        told = self.settings.model_copy(update={"worker_id": self.known_as(name), **settings})
        source = open_source(told, told.source_options, pool=self.name, worker=name or "test")
        self.members.push_async_callback(source.close)
        return source

    async def member(
        self, revoked: RevokedCallback | None = None, *, name: str | None = None, **settings: Any
    ) -> Source:
        """A member of the pool that has been started."""
        source = self.source(name, **settings)
        await source.start(revoked or nothing)
        return source

    async def pull(self, source: Source, count: int, budget: Mapping[Lane, int] | None = None) -> list[Delivery]:
        """Deliveries until there are that many."""
        found: list[Delivery] = []
        async with asyncio.timeout(PATIENCE):
            while len(found) < count:
                found += await source.pull(budget or dict.fromkeys(Lane, count - len(found)))
        return found

    async def settle(self, source: Source, deliveries: Sequence[Delivery]) -> None:
        """Settle them all."""
        for one in deliveries:
            await source.settle(one)

    async def owes(self, count: int) -> None:
        """Wait until the queue owes exactly that many messages."""
        left = -1

        async def reached() -> bool:
            nonlocal left
            left = await self.left()
            return left == count

        try:
            await until(reached)
        except AssertionError:
            raise AssertionError(f"the queue owes {left} messages and never {count}") from None

    async def killed_member(self, *, settled: int, name: str = "killed") -> Dead:
        """A process that pulls, settles every second delivery, holds the others, and is killed by kill -9."""
        env = {
            **os.environ,
            **{
                f"BACKBURNER_{key.upper()}": str(value)
                for key, value in self.settings.model_dump(exclude_defaults=True, mode="json").items()
                if value is not None and not key.startswith("kafka_security_")  # These stay in the environment.
            },
            "BACKBURNER_WORKER_ID": self.known_as(name) or "",
        }
        # Shorter than a user may set it.
        visibility = env.pop("BACKBURNER_SQS_VISIBILITY_SECONDS", "120")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(_MEMBER), self.name, visibility), env=env, stdout=asyncio.subprocess.PIPE
        )
        told: list[list[str]] = []
        assert process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while sum(line[0] == "settled" for line in told) < settled:
                    line = await process.stdout.readline()
                    assert line, "the member ended by itself"
                    told.append(line.decode().split())
        finally:
            process.kill()
            rest = await process.stdout.read()
            await process.wait()
        # The kill may have cut its last line short.
        told += [line.decode().split() for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
        return Dead(
            settled=frozenset(int(line[1]) for line in told if line[0] == "settled"),
            held=frozenset(int(line[1]) for line in told if line[0] == "holds"),
        )
