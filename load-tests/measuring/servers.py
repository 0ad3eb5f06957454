"""Broker and store for one scenario, in a scratch folder, and a pool on them. Everything is gone afterwards."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backburner import Client
from backburner.local.programs import broker, store
from backburner.local.programs.child import Child
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.probe import speaks_kafka
from backburner.publishers import ensure_topics
from backburner.settings import Settings
from measuring.noida import noida_program

_READY_SECONDS = 30.0


@contextmanager
def servers(
    model: str, *, durable: bool = True, partitions: int = 8, groups_wait: bool = True
) -> Iterator[dict[str, str]]:
    """Settings of a running broker and store with a pool for that model; also put into this process's environment.

    `durable` keeps the broker's log in the store, as the embedded stack does; otherwise it is in memory. Without
    `groups_wait` it is another broker, which lets a group's first member wait a third of a second at most.
    """
    before = dict(os.environ)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backburner-load-")))
        running = stack.enter_context(store.start(folder / "store"))
        queue_url = (
            stack.enter_context(broker.start(folder / "broker", storage=running if durable else None)).url
            if groups_wait
            else stack.enter_context(_noida(folder / "broker"))
        )
        settings = {
            "BACKBURNER_QUEUE_URL": queue_url,
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


@contextmanager
def _noida(folder: Path) -> Iterator[str]:
    """Its URL."""
    with PortLeases() as leases:
        port = leases.take()
        running = Child(noida_program(folder, port))
        try:
            running.start()
            running.wait_until(lambda: speaks_kafka(port), seconds=_READY_SECONDS)
            yield f"kafka://{LOOPBACK}:{port}"
        finally:
            running.stop(grace=_READY_SECONDS)


async def make_pool(model: str) -> None:
    """Register the pool of a model, and create its topics, on the servers that this process's environment names."""
    settings = Settings.load()
    async with Client(settings) as client:
        pool = await client.register_pool(model)
        await ensure_topics(settings, pool.pool)
