"""Raw senders: messages go onto the queue without the product, and the broker's answers are returned."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol

import boto3
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from fuzz.ends import Place
from fuzz.parts import Hostile

_BYTES_PER_MIB = 1024 * 1024


class Wire(Protocol):
    """One queue."""

    text: bool
    """Whether it accepts text alone."""
    limit: int
    """Bytes that it accepts in one message."""

    async def send(self, messages: Iterable[Hostile]) -> dict[Place, Hostile]:
        """Send them all; where each lies."""
        ...

    async def left(self) -> int:
        """Messages that are not settled."""
        ...


class KafkaWire:
    """A pool's topic, by aiokafka alone."""

    text = False
    limit = 12_000_000

    def __init__(self, bootstrap: str, prefix: str, pool: str, partitions: int) -> None:
        self._bootstrap = bootstrap
        self._partitions = partitions
        self._topic, self._retries = f"{prefix}.{pool}.normal", f"{prefix}.{pool}.retry"
        self._group = f"{prefix}.{pool}"
        self._ends: dict[TopicPartition, int] = {}

    async def send(self, messages: Iterable[Hostile]) -> dict[Place, Hostile]:
        """Send them all; where each lies."""
        sent: dict[Place, Hostile] = {}
        rest = iter(messages)
        async with AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", max_request_size=20_000_000, linger_ms=5
        ) as producer:
            number = 0
            while block := list(islice(rest, 500)):
                flying = []
                for one in block:
                    # A key may have no value.
                    key = b"%d" % number
                    number += 1
                    flying.append(await producer.send(self._topic, one.value, key, headers=list(one.headers)))
                for one, metadata in zip(block, await asyncio.gather(*flying), strict=True):
                    sent[self._topic, f"{metadata.partition}-{metadata.offset}"] = one
                    at = TopicPartition(self._topic, metadata.partition)
                    self._ends[at] = max(self._ends.get(at, 0), metadata.offset + 1)
        return sent

    def expect(self, ends: Mapping[int, int]) -> None:
        """What others sent reaches that far in these partitions."""
        self._ends = {TopicPartition(self._topic, partition): end for partition, end in ends.items()}

    async def left(self) -> int:
        """Messages behind the group's committed offsets; those that are to be tried again too."""
        retries = [TopicPartition(self._retries, number) for number in range(self._partitions)]
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(self._group, partitions=[*self._ends, *retries])
        except GroupCoordinatorNotAvailableError:
            return sum(self._ends.values())  # Nobody has joined the group yet.
        finally:
            await admin.close()
        committed = {at: max(one.offset, 0) for at, one in found.items()}
        left: int = sum(end - committed.get(at, 0) for at, end in self._ends.items())
        if left == 0:
            ends = await self._ends_of(retries, committed)
            left = sum(end - committed.get(at, 0) for at, end in ends.items())
        return left

    async def _ends_of(
        self, partitions: Sequence[TopicPartition], committed: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Where partitions end, by a fetch: some brokers answer wrongly when asked for ends."""
        async with AIOKafkaConsumer(bootstrap_servers=self._bootstrap, fetch_max_wait_ms=20) as consumer:
            consumer.assign(partitions)
            for at in partitions:
                consumer.seek(at, committed.get(at, 0))
            while any(consumer.highwater(at) is None for at in partitions):
                await consumer.getmany(timeout_ms=20)
            return {at: consumer.highwater(at) for at in partitions}


class SqsWire:
    """A pool's queue, by boto3 alone."""

    text = True
    limit = _BYTES_PER_MIB

    def __init__(self, endpoint: str, region: str, prefix: str, pool: str) -> None:
        self._name = f"{prefix}-{pool}-normal"
        self._sqs = boto3.client("sqs", endpoint_url=endpoint, region_name=region)
        names = self._name, f"{prefix}-{pool}-retry"
        self._url, self._retries = (self._sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in names)

    async def send(self, messages: Iterable[Hostile]) -> dict[Place, Hostile]:
        """Send them all; where each lies."""
        sent: dict[Place, Hostile] = {}
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as threads:
            batches = _batches(messages)
            while block := list(islice(batches, 16)):
                calls = [loop.run_in_executor(threads, self._send, batch) for batch in block]
                for batch, ids in zip(block, await asyncio.gather(*calls), strict=True):
                    sent.update(((self._name, found), one) for one, found in zip(batch, ids, strict=True))
        return sent

    def _send(self, batch: Sequence[Hostile]) -> list[str]:
        entries: list[Any] = []
        for number, one in enumerate(batch):
            attributes = {
                name: {"DataType": "String", "StringValue": text}
                for name, value in one.headers
                if name and (text := re.sub(r"[^\x20-\x7e]", "?", value.decode("latin-1")))
            }
            body = (one.value or b" ").decode()
            entries.append({"Id": str(number), "MessageBody": body, "MessageAttributes": attributes})
        answer = self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries)
        if answer.get("Failed"):
            raise RuntimeError(f"SQS did not accept {answer['Failed']}")
        ids = {found["Id"]: found["MessageId"] for found in answer["Successful"]}
        return [ids[str(number)] for number in range(len(batch))]

    async def left(self) -> int:
        """Messages on the queue, held or not; those that are to be tried again too."""
        wanted: Any = [f"ApproximateNumberOfMessages{name}" for name in ("", "NotVisible", "Delayed")]
        left = 0
        for url in (self._url, self._retries):
            found = await asyncio.to_thread(self._sqs.get_queue_attributes, QueueUrl=url, AttributeNames=wanted)
            left += sum(map(int, found["Attributes"].values()))
        return left


def _batches(messages: Iterable[Hostile]) -> Iterable[list[Hostile]]:
    """Ten a batch, and no batch over SQS's size."""
    batch: list[Hostile] = []
    size = 0
    for one in messages:
        length = len(one.value or b"") + sum(len(name) + len(value) + 10 for name, value in one.headers)
        if batch and (len(batch) == 10 or size + length > _BYTES_PER_MIB * 9 // 10):  # noqa: PLR2004
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += length
    if batch:
        yield batch
