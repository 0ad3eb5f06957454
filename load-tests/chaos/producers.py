"""Producers that know the wire documents alone: plain batch lines onto a topic or a queue, by its own client."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from chaos.book import Asked

_REQUEST_MS = 10_000


class KafkaLines:
    """Onto Kafka. Whether a line that failed is there after all, the log tells afterwards."""

    def __init__(self, producer: Any, prefix: str, pool: str) -> None:
        self._producer = producer
        self._topics = f"{prefix}.{pool}"

    async def send(self, asked: Asked, lane: str) -> None:
        """Returns when the broker has the line. Raises `OSError` if it may not have it."""
        try:
            await self._producer.send_and_wait(f"{self._topics}.{lane}", json.dumps(asked.line).encode())
        except KafkaError as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


@contextlib.asynccontextmanager
async def kafka_lines(bootstrap: str, prefix: str, pool: str) -> AsyncIterator[KafkaLines]:
    """A producer that is connected within the block."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", request_timeout_ms=_REQUEST_MS)
    await producer.start()
    try:
        yield KafkaLines(producer, prefix, pool)
    finally:
        await producer.stop()
