"""Stored jobs and a dispatcher for them, as scenarios need them."""

import time
from contextlib import AbstractContextManager

from backburner import Client
from backburner.inputs.source import Source
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.pool import WorkerAnnouncement
from measuring.part import Part, part

TENANT = "default"
_NO_BOUND = "1000000000"


async def store(source: Source, tenant: str = TENANT) -> str:
    """Make a stored job; its id."""
    async with Client() as client:
        return (await client.submit(source, tenant=tenant, stored=True)).id


def dispatcher() -> AbstractContextManager[Part]:
    """A running dispatcher, which has no bound for what lies on the queue."""
    return part("backburner.dispatcher", BACKBURNER_DISPATCH_BACKLOG=_NO_BOUND)


async def announce(storage: Storage, model: str) -> None:
    """Let the model's pool, which has the same name, seem to have a worker for two minutes: one that pulls nothing."""
    now = time.time()
    worker = WorkerAnnouncement(
        pool=model, worker="nobody", models=(model,), group=model, version="none", started_at=now, seen_at=now
    )
    await storage.put(keys.worker(model, "nobody"), worker.model_dump_json().encode())
