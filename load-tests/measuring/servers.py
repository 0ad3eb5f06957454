"""Broker and store for one scenario, in a scratch folder, and a pool on them. Everything is gone afterwards."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path

from apache_kafka import broker as apache_kafka
from backburner import Client
from backburner.local.programs import broker as tansu
from backburner.local.programs import store
from backburner.publishers import ensure_topics
from backburner.settings import Settings


class Broker(StrEnum):
    """The Kafka brokers that can be brought up."""

    TANSU = "tansu"
    """That of the embedded stack. Drops commit metadata, and knows no idempotent producers."""
    APACHE = "apache"
    """Apache Kafka, as users run it. Keeps commit metadata and static members."""

    @property
    def where(self) -> str:
        """`, on Apache Kafka`, to say what a baseline ran on; empty for the embedded broker, which goes unsaid."""
        return ", on Apache Kafka" if self is Broker.APACHE else ""


@contextmanager
def servers(
    model: str, *, broker: Broker = Broker.TANSU, durable: bool = True, partitions: int = 8
) -> Iterator[dict[str, str]]:
    """Settings of a running broker and store with a pool for that model; also put into this process's environment.

    `durable` has Tansu keep its log in the store, as the embedded stack does; otherwise it is in memory. Apache Kafka
    keeps its own on disk.
    """
    before = dict(os.environ)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backburner-load-")))
        running = stack.enter_context(store.start(folder / "store"))
        if broker is Broker.APACHE:
            queue_url = f"kafka://{stack.enter_context(apache_kafka.start(folder / 'broker', steady=True)).bootstrap}"
        else:
            queue_url = stack.enter_context(tansu.start(folder / "broker", storage=running if durable else None)).url
        settings = {
            "BACKBURNER_QUEUE_URL": queue_url,
            "BACKBURNER_STORE_URL": "s3://backburner/load",
            "BACKBURNER_STORE_ENDPOINT": running.endpoint,
            "BACKBURNER_KAFKA_IDEMPOTENCE": str(broker is Broker.APACHE).lower(),
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
    """Register the pool of a model, and create its topics, on the servers that this process's environment names."""
    settings = Settings.load()
    async with Client(settings) as client:
        pool = await client.register_pool(model)
        await ensure_topics(settings, pool.pool)
