"""Whether one tenant with a hundred times the work holds up the others: shares of the engine against equal ones.

A whole worker takes the requests, with the fake engine, a queue and a store in memory, and its settings as they are.
The large tenant's requests come first, then those of all tenants in turn, so that the small ones' last are still within
the window, and then the rest of the large one's. Shares are counted when the first of the small tenants has had all of
its requests: until then every tenant had some that waited, and an ideal worker would have given each the same.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from backburner.storage import Storage
from backburner_schemas import codec
from backburner_schemas.envelope import Envelope
from backburner_schemas.request import Endpoint
from backburner_worker.app import Worker
from backburner_worker.engine.fake.engine import FakeEngine
from backburner_worker.parts import Parts
from backburner_worker.settings import WorkerSettings
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.fake.source import FakeQueue, FakeSource
from backburner_worker.telemetry.telemetry import Telemetry
from measuring.cpu import cpu_seconds
from measuring.figures import Bound, Figures
from measuring.pairs import Measured, Pair

GOAL_RATIO = 1.2
LARGE = "large"
SMALL = ("amber", "birch", "cedar", "delta")
LARGE_REQUESTS_PER_SMALL = 100
"""Requests of the large tenant for each of a small one."""
AHEAD_REQUESTS = 300
"""Requests of the large tenant that come before all others."""
_LATENCY_SECONDS = 0.005
_PROMPT = "x" * 350


class NotingSource(FakeSource):
    """A source in memory that notes whose request went to the engine, and when."""

    def __init__(self, queue: FakeQueue) -> None:
        super().__init__(queue)
        self.began: list[tuple[str, float]] = []
        self.all_settled = asyncio.Event()
        self._in_memory = queue

    async def begin(self, delivery: Delivery) -> None:
        """A delivery goes to the engine."""
        await super().begin(delivery)
        assert delivery.address is not None
        self.began.append((delivery.address.tenant, time.monotonic()))

    async def settle(self, delivery: Delivery) -> None:
        """End a delivery."""
        await super().settle(delivery)
        if self._in_memory.unsettled == 0:
            self.all_settled.set()


@dataclass(frozen=True, slots=True)
class Shares:
    """Who got how many requests into the engine until one of the small tenants had got all of its."""

    got: Counter[str]
    seconds: float

    @property
    def ideal(self) -> float:
        """What each would have got of as many."""
        return self.got.total() / (len(SMALL) + 1)

    @property
    def least(self) -> int:
        """What the tenant got that was treated worst."""
        return min(self.got[tenant] for tenant in (LARGE, *SMALL))

    @property
    def unfairness(self) -> float:
        """The ideal share over the least one: 1 is fair."""
        return self.ideal / max(self.least, 1)


def fairness(rounds: int, requests: int, *, quick: bool = False) -> Figures:
    """Run the rounds, with so many requests of each small tenant. The ratio is the ideal share over the least one."""
    found, pairs = [], []
    for number in range(rounds):
        cpu = cpu_seconds()
        shares = asyncio.run(_round(requests))
        spent = cpu_seconds() - cpu
        found.append(shares)
        pairs.append(
            Pair(
                Measured(shares.seconds, work=shares.ideal),
                Measured(shares.seconds, work=shares.least, extra={"got": dict(shares.got), "cpu_seconds": spent}),
            )
        )
        shown = ", ".join(f"{tenant} {shares.got[tenant]}" for tenant in (LARGE, *SMALL))
        print(f"round {number + 1}: {shown}; ratio {shares.unfairness:.3f}", flush=True)
    queued = _shares([(tenant, 0.0) for tenant in order(requests)], requests)
    return Figures.of_pairs(
        "fairness",
        pairs,
        ("equal shares", "the least share"),
        goal=GOAL_RATIO,
        bound=Bound.AT_MOST,
        ratio_of=lambda pair: pair.baseline.work / max(pair.ours.work, 1.0),
        of="shares",
        unit="requests of a tenant",
        against="equal shares",
        settings={
            "requests": requests,
            "times": LARGE_REQUESTS_PER_SMALL,
            "tenants": len(SMALL) + 1,
            "latency": _LATENCY_SECONDS,
        },
        details={"in_the_order_of_the_queue": dict(queued.got), "unfairness_of_that": queued.unfairness},
        quick=quick,
    )


def order(requests: int) -> Iterator[str]:
    """Whose requests are on the queue, from its head on."""
    yield from [LARGE] * AHEAD_REQUESTS
    for _ in range(requests):
        yield from (LARGE, *SMALL)
    yield from [LARGE] * (LARGE_REQUESTS_PER_SMALL * requests - AHEAD_REQUESTS - requests)


async def _round(requests: int) -> Shares:
    queue = FakeQueue()
    for number, tenant in enumerate(order(requests)):
        body = {"model": "fake", "messages": [{"role": "user", "content": f"{number} {_PROMPT}"}], "max_tokens": 32}
        envelope = Envelope(
            tenant=tenant,
            job=f"stream-{tenant}",
            index=str(number),
            custom_id=str(number),
            url=Endpoint.CHAT,
            body=body,
        )
        queue.send(codec.encode(envelope))
    settings = WorkerSettings.load(
        store_url="memory:///load", queue_url="kafka://127.0.0.1:9", engine="fake", pool="fake"
    )
    engine, source = FakeEngine(latency=_LATENCY_SECONDS), NotingSource(queue)
    worker = Worker(
        Parts(
            settings,
            storage=Storage.open(settings),
            telemetry=Telemetry(CollectorRegistry()),
            engine=engine,
            info=await engine.start(),
            source=source,
            publisher=queue.publisher(),
        )
    )
    running = asyncio.create_task(worker.run())
    settled = asyncio.create_task(source.all_settled.wait())
    await asyncio.wait({running, settled}, return_when=asyncio.FIRST_COMPLETED)
    settled.cancel()
    worker.pipeline.stop()
    await running
    await engine.close(drain=0.0)
    return _shares(source.began, requests)


def _shares(began: list[tuple[str, float]], requests: int) -> Shares:
    got: Counter[str] = Counter()
    for tenant, moment in began:
        got[tenant] += 1
        if tenant != LARGE and got[tenant] == requests:
            return Shares(got, moment - began[0][1])
    raise RuntimeError("the worker ended before a small tenant had all of its answers")
