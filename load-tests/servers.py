"""Broker and store for one scenario, in a scratch folder, and a pool on them. Everything is gone afterwards."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backburner import Client
from backburner.local import broker, store
from backburner.publishers import ensure_topics
from backburner.settings import Settings


@contextmanager
def servers(model: str, *, durable: bool = True, partitions: int = 8) -> Iterator[dict[str, str]]:
    """Settings of a running broker and store with a pool for that model; also put into this process's environment.

    `durable` keeps the broker's log in the store, as the embedded stack does; otherwise it is in memory.
    """
    before = dict(os.environ)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backburner-load-")))
        running = stack.enter_context(store.start(folder / "store"))
        queue = stack.enter_context(broker.start(folder / "broker", storage=running if durable else None))
        settings = {
            "BACKBURNER_QUEUE_URL": queue.url,
            "BACKBURNER_STORE_URL": "s3://backburner/load",
            "BACKBURNER_STORE_ENDPOINT": running.endpoint,
            "BACKBURNER_KAFKA_IDEMPOTENCE": "false",
            "BACKBURNER_KAFKA_SESSION_SECONDS": "6",
            "BACKBURNER_TOPIC_PARTITIONS": str(partitions),
            "BACKBURNER_TOPIC_REPLICATION": "1",
            "BACKBURNER_HTTP_PORT": "0",
            "BACKBURNER_LOG_LEVEL": "warning",
            **running.environment,
        }
        os.environ.update(settings)
        try:
            asyncio.run(make_pool(model))
            yield settings
        finally:
            os.environ.clear()
            os.environ.update(before)


async def make_pool(model: str) -> None:
    """Register the pool of a model, and make its topics, on the servers that this process's environment names."""
    settings = Settings.load()
    async with Client(settings) as client:
        pool = await client.register_pool(model)
        await ensure_topics(settings, pool.pool)
