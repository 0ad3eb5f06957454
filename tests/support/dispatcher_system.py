"""A whole dispatcher in this process, with a store in memory and a queue that notes what comes."""

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager

from obstore.store import MemoryStore
from prometheus_client import CollectorRegistry
from waiting import until

from backburner import Client
from backburner.connections import Connections
from backburner.dispatcher.metrics import Metrics
from backburner.dispatcher.parts import Parts
from backburner.dispatcher.settings import DispatcherSettings
from backburner.publishers.base import PublishFailed
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import QueueError
from backburner_schemas.job import Cursor
from backburner_schemas.pool import WorkerAnnouncement

SETTINGS = {"queue_url": "kafka://noted:1", "store_url": "memory:///", "dispatch_look_seconds": 0.02}


class NotedQueue:
    """A publisher that keeps what comes."""

    def __init__(self):
        self.messages = []
        self.failing = 0
        self.missing = set()
        self.choosy = 0
        self.open = asyncio.Event()
        self.open.set()

    async def start(self):
        pass

    async def publish(self, messages):
        await self.open.wait()
        if messages[0].pool in self.missing:
            raise QueueError(f"the topic of {messages[0].pool} does not exist")
        if self.failing:
            self.failing -= 1
            raise QueueError("the queue is away")
        if self.choosy:
            self.choosy -= 1
            self.messages += list(messages[1:])
            raise PublishFailed([0], "the first was not acknowledged")
        self.messages += list(messages)

    async def close(self):
        pass

    @property
    def indexes(self):
        return [message.envelope.index for message in self.messages]

    def tenants(self, count):
        return Counter(message.envelope.tenant for message in self.messages[:count])


class System:
    def __init__(self, folder):
        self.storage = Storage(MemoryStore())
        self.queue = NotedQueue()
        self.folder = folder

    @asynccontextmanager
    async def dispatcher(self, **more):
        settings = DispatcherSettings.load(**{**SETTINGS, **more})
        connections = Connections(settings, self.storage, self.queue)
        parts = Parts(settings, connections, Metrics(CollectorRegistry()))
        running = asyncio.create_task(parts.dispatcher.run())
        try:
            yield parts.dispatcher
        finally:
            parts.dispatcher.stop()
            await asyncio.wait_for(running, 30)

    def client(self):
        return Client.from_parts(DispatcherSettings.load(**SETTINGS), self.storage, self.queue)

    async def announce(self, model="fake"):
        now = time.time()
        worker = WorkerAnnouncement(
            worker="w", pool=model, models=(model,), group=model, version="", started_at=now, seen_at=now
        )
        await self.storage.put(keys.worker(model, "w"), worker.model_dump_json().encode())

    async def cursor(self, job):
        stored = await self.storage.get(keys.cursor(job.tenant, job.id))
        return Cursor() if stored is None else Cursor.model_validate_json(stored.data)

    async def until_planned(self, *jobs):
        async def planned():
            return all([(await self.cursor(job)).total is not None for job in jobs])

        await until(planned, "plans")

    async def until_sealed(self, job):
        async def there():
            return await self.storage.modified(keys.sealed(job.tenant, job.id)) is not None

        await until(there, "the seal")

    async def waits_for(self, job, reason):
        async def waiting():
            found = (await self.cursor(job)).waiting
            return found is not None and found.reason == reason

        await until(waiting, f"waiting for {reason}")
