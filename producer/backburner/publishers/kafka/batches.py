"""Messages on their way to Kafka: which partition each goes to, and how those of one partition are sent in batches."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from backburner.publishers.base import FIRST_DELIVERY, Message
from backburner.publishers.encoded import EncodedMessages
from backburner.publishers.kafka.partitioner import Partitioner
from backburner_schemas import codec
from backburner_schemas.names import Lane

_NO_HEADERS: list[tuple[str, bytes]] = []


def lanes_of(messages: Sequence[Message]) -> Collection[tuple[str, Lane]]:
    """The lanes, each with its pool, that the messages go to."""
    if isinstance(messages, EncodedMessages):
        return [(messages.pool, messages.lane)]
    return {(message.pool, message.lane) for message in messages}


def destinations(
    messages: Sequence[Message], choosers: Mapping[tuple[str, Lane], tuple[str, Partitioner]]
) -> Iterator[tuple[Sequence[int], str, int, int]]:
    """Where all the messages go, in order: positions of some, their topic and partition, and their bytes.

    `choosers` holds the topic of each lane of a pool, and what chooses its partitions.
    """
    if not isinstance(messages, EncodedMessages):
        for position, message in enumerate(messages):
            topic, chooser = choosers[message.pool, message.lane]
            if message.grouped:
                partition = chooser.choose_group(message.key, [message.value])
            else:
                partition = chooser.choose(message.key, message.value)
            yield (position,), topic, partition, len(message.value)
        return
    topic, chooser = choosers[messages.pool, messages.lane]
    for start, end, key in messages.runs:
        values = messages.values[start:end]
        if messages.grouped:
            yield range(start, end), topic, chooser.choose_group(key, values), sum(map(len, values))
            continue
        together = chooser.choose_together(key, values)
        if together is not None:
            yield range(start, end), topic, together, sum(map(len, values))
            continue
        for position, value in enumerate(values, start):
            yield (position,), topic, chooser.choose(key, value), len(value)


async def send_batches(
    producer: AIOKafkaProducer, topic: str, partition: int, messages: Sequence[Message], positions: Sequence[int]
) -> list[tuple[list[int], BaseException]]:
    """Send the messages at these positions to one partition, one batch after the other; which failed, and why.

    Whole batches cost less than half the CPU of single sends. A message alone is sent singly, so that concurrent
    callers with one request each share a batch.
    """
    failures: list[tuple[list[int], BaseException]] = []
    start = 0
    while start < len(positions):
        end = start + 1
        try:
            if len(positions) == 1:
                one = messages[positions[0]]
                headers = codec.encode_facts(one.facts)
                future = await producer.send(topic, one.value, one.key, partition=partition, headers=headers)
            else:
                batch = producer.create_batch()
                end = _fill(batch, messages, positions, start)
                batch.close()
                future = await producer.send_batch(batch, topic, partition=partition)
            await future
        except (KafkaError, OSError) as error:
            failures.append(([*positions[start:end]], error))
        start = end
    return failures


def _fill(batch: BatchBuilder, messages: Sequence[Message], positions: Sequence[int], start: int) -> int:
    """Put the messages at these positions, from `start` on, into the batch while they fit. Returns where it stopped."""
    now = int(time.time() * 1000)
    if isinstance(messages, EncodedMessages):
        keys, values = messages.keys, messages.values
        for end in range(start, len(positions)):
            one = positions[end]
            if batch.append(timestamp=now, key=keys[one], value=values[one], headers=_NO_HEADERS) is None:
                return end
        return len(positions)
    for end in range(start, len(positions)):
        message = messages[positions[end]]
        headers = _NO_HEADERS if message.facts is FIRST_DELIVERY else codec.encode_facts(message.facts)
        if batch.append(timestamp=now, key=message.key, value=message.value, headers=headers) is None:
            return end
    return len(positions)
