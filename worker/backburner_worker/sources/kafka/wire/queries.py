"""Asks brokers what a partition's log is: the id of its topic, where it begins and ends, where a leader epoch ended.

Each partition is answered by itself: one whose leader is away is missing from the answer and keeps no other waiting.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, TopicAuthorizationFailedError, for_code

from backburner.publishers.kafka.metadata import brokers_of
from backburner_worker.sources.kafka.wire.protocol import (
    EARLIEST_OFFSET,
    LATEST_OFFSET,
    Ends,
    EpochEnds,
    TopicIds,
    rows,
)

Partition = tuple[str, int]

_OK_CODE = 0
_UNSUPPORTED = (NotImplementedError, IncompatibleBrokerVersion)
"""What aiokafka raises where the broker does not know the request."""


@dataclass(frozen=True, slots=True)
class End:
    """Where a log ends, as its leader says."""

    offset: int
    epoch: int
    """The leader's epoch; -1 where it has none."""


async def topic_ids(consumer: AIOKafkaConsumer, topics: Collection[str], *, seconds: float) -> dict[str, bytes]:
    """The ids of these topics, where they exist; empty ids where the brokers have none.

    Raises `TimeoutError`, and what aiokafka raises.
    """
    client = consumer._client  # noqa: SLF001 - nothing public sends a request
    silent: Exception = KafkaError("the cluster reports no broker")
    for broker in brokers_of(client):
        try:
            async with asyncio.timeout(seconds):
                answer = await client.send(broker, TopicIds(sorted(topics)))
        except _UNSUPPORTED:
            return dict.fromkeys(topics, b"")
        except (KafkaError, OSError, TimeoutError) as error:
            silent = error
            continue
        return {
            found["topic"]: found["topic_id"] if any(found["topic_id"]) else b""
            for found in answer.to_object()["topics"]
            if found["error_code"] == _OK_CODE
        }
    raise silent


async def beginnings(
    consumer: AIOKafkaConsumer, partitions: Collection[Partition], *, seconds: float
) -> dict[Partition, int]:
    """Where the logs of these partitions begin, of those whose leader answers. Raises as `ends` does."""
    found = await _ask(consumer, dict.fromkeys(partitions, None), _beginnings_request, seconds)
    return {partition: row["offset"] for partition, row in found.items() if row}


async def ends(
    consumer: AIOKafkaConsumer, partitions: Collection[Partition], *, seconds: float
) -> dict[Partition, End]:
    """Where the logs of these partitions end, of those whose leader answers. Open transactions are before that.

    Raises `TopicAuthorizationFailedError`.
    """
    found = await _ask(consumer, dict.fromkeys(partitions, None), _ends_request, seconds)
    return {partition: End(row["offset"], row["leader_epoch"]) for partition, row in found.items() if row}


async def epoch_ends(
    consumer: AIOKafkaConsumer, epochs: Mapping[Partition, int], *, seconds: float
) -> dict[Partition, int]:
    """Where what was written in that leader epoch or before ends in the leader's log now; below 0 where it cannot tell.

    Of those whose leader answers. Raises as `ends` does.
    """
    found = await _ask(consumer, epochs, EpochEnds, seconds)
    return {partition: row.get("end_offset", -1) for partition, row in found.items()}


def _beginnings_request(asked: Mapping[str, list[tuple[int, Any]]]) -> Ends:
    return Ends(EARLIEST_OFFSET, {topic: [number for number, _ in numbers] for topic, numbers in asked.items()})


def _ends_request(asked: Mapping[str, list[tuple[int, Any]]]) -> Ends:
    return Ends(LATEST_OFFSET, {topic: [number for number, _ in numbers] for topic, numbers in asked.items()})


async def _ask(
    consumer: AIOKafkaConsumer,
    partitions: Mapping[Partition, Any],
    request: Callable[[dict[str, list[tuple[int, Any]]]], Any],
    seconds: float,
) -> dict[Partition, dict[str, Any]]:
    """What each partition's leader answers; those without an answer are left out."""
    client = consumer._client  # noqa: SLF001 - nothing public sends a request
    by_leader: dict[int, dict[str, list[tuple[int, Any]]]] = defaultdict(lambda: defaultdict(list))
    for (topic, number), wanted in partitions.items():
        leader = client.cluster.leader_for_partition(TopicPartition(topic, number))
        if leader is not None and leader >= 0:
            by_leader[leader][topic].append((number, wanted))
    asked = [_of_leader(client, leader, dict(topics), request, seconds) for leader, topics in by_leader.items()]
    found = {partition: row for answer in await asyncio.gather(*asked) for partition, row in answer.items()}
    if any(partition not in found for partition in partitions):
        client.force_metadata_update()  # It may have another leader than was known here.
    return found


async def _of_leader(
    client: Any,
    leader: int,
    asked: dict[str, list[tuple[int, Any]]],
    request: Callable[[dict[str, list[tuple[int, Any]]]], Any],
    seconds: float,
) -> dict[Partition, dict[str, Any]]:
    try:
        async with asyncio.timeout(seconds):
            answer = await client.send(leader, request(asked))
    except _UNSUPPORTED:
        return {(topic, number): {} for topic, numbers in asked.items() for number, _ in numbers}
    except (KafkaError, OSError, TimeoutError):
        return {}  # It is asked again; that the broker is away is told by who reads from it.
    found = {}
    for topic, row in rows(answer):
        if row["error_code"] == _OK_CODE:
            found[topic, row["partition"]] = row
        elif for_code(row["error_code"]) is TopicAuthorizationFailedError:
            raise TopicAuthorizationFailedError(topic)
    return found
