"""A worker on a queue in memory, the fake engine and a store in memory: what the tests of the pipeline stand on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from backburner.storage import Storage
from backburner_schemas import codec, keys
from backburner_schemas.envelope import DeliveryFacts, Envelope
from backburner_schemas.errors import EngineBusy
from backburner_schemas.job import JobManifest, Sealed, Summary
from backburner_schemas.letter import StoredDeadLetter
from backburner_schemas.names import Lane
from backburner_schemas.request import Endpoint
from backburner_schemas.result import ResultRecord
from backburner_worker.app import Worker
from backburner_worker.engine.base import EngineRequest, EngineResponse
from backburner_worker.engine.fake.engine import FakeEngine
from backburner_worker.parts import Parts
from backburner_worker.pipeline import Pipeline
from backburner_worker.settings import WorkerSettings
from backburner_worker.sources.fake.source import FakeQueue
from backburner_worker.telemetry.telemetry import Telemetry

TENANT, JOB = "default", "batch_x"
BOUND = 60.0
"""Seconds that a wait may take; none of them takes a second on an idle machine."""
NO_FACTS = DeliveryFacts()


def settings(**changes: Any) -> WorkerSettings:
    given = {
        "store_url": "memory:///r",
        "queue_url": "kafka://127.0.0.1:9",
        "engine": "fake",
        "cancel_poll_seconds": 0.05,
        "segment_min_age_seconds": 0.05,
        "segment_max_age_seconds": 1.0,
        "drain_seconds": 5.0,
        "retry_base_seconds": 0.01,
        **changes,
    }
    return WorkerSettings(**given)


class CountingEngine(FakeEngine):
    """The fake engine, which tells how many requests it answered."""

    answered = 0

    async def run(self, request: EngineRequest) -> EngineResponse:
        response = await super().run(request)
        self.answered += 1
        return response


class MoodyEngine(CountingEngine):
    """Turns each request away a number of times before it answers."""

    def __init__(self, refusals: int, refusal: type[BaseException] = EngineBusy) -> None:
        super().__init__()
        self.refusals = refusals
        self.refusal = refusal
        self.asked = 0

    async def run(self, request: EngineRequest) -> EngineResponse:
        self.asked += 1
        if self.asked <= self.refusals:
            raise self.refusal
        return await super().run(request)


class Harness:
    """A worker whose queue, engine and store are at hand. Several may share a queue and a store."""

    def __init__(
        self, storage: Storage, engine: CountingEngine | None = None, queue: FakeQueue | None = None, **changes: Any
    ) -> None:
        self.settings = settings(**changes)
        self.storage = storage
        self.engine = engine or CountingEngine()
        self.queue = queue or FakeQueue()
        self.source = self.queue.source()
        self.elsewhere = self.queue.source()
        self.metrics = CollectorRegistry()
        self.telemetry = Telemetry(self.metrics)
        self.load_seconds = 0.0

    async def build(self) -> None:
        info = await self.engine.start()
        self.worker = Worker(
            Parts(
                self.settings,
                storage=self.storage,
                telemetry=self.telemetry,
                engine=self.engine,
                info=info,
                load_seconds=self.load_seconds,
                source=self.source,
                publisher=self.queue.publisher(),
            )
        )

    @property
    def pipeline(self) -> Pipeline:
        return self.worker.pipeline

    @property
    def in_engine(self) -> int:
        """Requests that have a place in the engine."""
        return self.pipeline._admitter._admission.in_flight

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.get_sample_value(f"backburner_{name}", labels) or 0.0

    def envelope(self, index: int | str, prompt: str = "hi", job: str = JOB, **more: Any) -> Envelope:
        body = more.pop("body", {"model": "fake", "messages": [{"role": "user", "content": prompt}]})
        return Envelope(
            tenant=TENANT, job=job, index=index, custom_id=f"c{index}", url=Endpoint.CHAT, body=body, **more
        )

    def send(
        self,
        index: int | str,
        prompt: str = "hi",
        lane: Lane | None = None,
        facts: DeliveryFacts = NO_FACTS,
        **more: Any,
    ) -> None:
        """Put a request onto that lane; else onto `retry` if something is known of it, as workers do, or `normal`."""
        headers = tuple(codec.encode_facts(facts))
        lane = lane or (Lane.RETRY if headers else Lane.NORMAL)
        self.queue.send(codec.encode(self.envelope(index, prompt, **more)), lane, headers)

    async def make_job(self, total: int | None = None, deadline: float = 4e9) -> None:
        manifest = JobManifest(id=JOB, tenant=TENANT, created_at=0, deadline=deadline)
        await self.storage.put(keys.open_job(TENANT, JOB), b"")
        await self.storage.put(keys.manifest(TENANT, JOB), manifest.model_dump_json().encode())
        if total is not None:
            sealed = Sealed(total=total, sha256="", sealed_at=0)
            await self.storage.put(keys.sealed(TENANT, JOB), sealed.model_dump_json().encode())

    async def records(self, job: str = JOB) -> list[ResultRecord]:
        found = []
        async for listed in self.storage.scan(keys.segments(TENANT, job)):
            stored = await self.storage.get(listed.key)
            assert stored is not None
            found += [ResultRecord.model_validate_json(line) for line in stored.data.splitlines()]
        return found

    async def codes(self, job: str = JOB) -> dict[int | str, str | None]:
        """The error code of each index's record; None for a response."""
        records = await self.records(job)
        return {record.backburner.index: record.error.code if record.error else None for record in records}

    async def letter(self, index: int | str = 0, job: str = JOB) -> StoredDeadLetter | None:
        stored = await self.storage.get(keys.dead_letter(TENANT, job, index))
        return StoredDeadLetter.model_validate_json(stored.data) if stored else None

    async def marks(self) -> list[str]:
        """The marks of suspects that are in the store."""
        return [listed.key async for listed in self.storage.scan(keys.SUSPECTS)]

    async def summary(self) -> Summary | None:
        stored = await self.storage.get(keys.summary(TENANT, JOB))
        return Summary.model_validate_json(stored.data) if stored else None


@asynccontextmanager
async def running(harness: Harness, *, fails: bool = False) -> AsyncIterator[asyncio.Task[None]]:
    """The harness's worker at work, and stopped at the end. Only where it `fails` may it end with an error."""
    await harness.build()
    joined = asyncio.Event()
    task = asyncio.create_task(harness.worker.run(on_joined=joined.set))
    await joined.wait()
    try:
        yield task
    finally:
        harness.pipeline.stop()
        await asyncio.wait([task], timeout=BOUND)
    assert task.done()
    if not fails:
        task.result()


async def ended(task: asyncio.Task[None]) -> BaseException | None:
    """What the worker ended with."""
    await asyncio.wait([task], timeout=BOUND)
    assert task.done()
    return task.exception()
