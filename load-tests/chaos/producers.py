"""Producers that know the wire documents alone: plain batch lines onto a topic or a queue, by its own client."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from botocore.exceptions import BotoCoreError, ClientError

from chaos.book import Asked
from chaos.servers import Servers
from chaos.sqs_client import SqsAddress, connect

_REQUEST_MS = 10_000


class KafkaLines:
    """Onto Kafka. Its log shows afterwards whether a line that failed is there after all."""

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


class SqsLines:
    """Onto SQS, whose receipt identifies the line."""

    def __init__(self, client: Any, prefix: str, pool: str) -> None:
        self._client = client
        self._queues = f"{prefix}-{pool}"
        self._urls: dict[str, str] = {}

    async def send(self, asked: Asked, lane: str) -> None:
        """Returns when SQS has the line. Raises `OSError` if it may not have it."""
        try:
            await asyncio.to_thread(self._send, asked, f"{self._queues}-{lane}")
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def _send(self, asked: Asked, queue: str) -> None:
        if queue not in self._urls:
            self._urls[queue] = self._client.get_queue_url(QueueName=queue)["QueueUrl"]
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        sent = self._client.send_message(QueueUrl=self._urls[queue], MessageBody=json.dumps(asked.line))
        asked.job, asked.index = f"stream-{queue}-{day}", sent["MessageId"]


@contextlib.asynccontextmanager
async def raw_lines(servers: Servers, prefix: str, pool: str) -> AsyncIterator[KafkaLines | SqsLines]:
    """A producer for the servers' queue, connected within the block."""
    if servers.sqs is not None:
        url = servers.settings["BACKBURNER_QUEUE_URL"]
        address = SqsAddress.parse(url, servers.sqs.access_key, servers.sqs.secret_key)
        yield SqsLines(connect(address), prefix, pool)
        return
    async with kafka_lines(servers.bootstrap, prefix, pool) as producer:
        yield producer
