"""Reads a pool's topics and its group's committed offsets by aiokafka alone, for the checker.

Every message is read from the start of the log: the high-water mark that comes with a fetch is the end that counts,
since some brokers answer `end_offsets` wrongly.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from chaos.commits import committed
from chaos.patience import until
from chaos.queue_state import QueuedMessage, QueueState

LANES = ("high", "normal", "low", "retry")
_FETCH_MS = 1000
_PAUSE_SECONDS = 0.5
_METADATA_SECONDS = 60.0
_MIN_EMPTY_FETCHES = 3
"""Empty fetches in a row after which all that there is was read, if each partition's end is known and reached."""
_SILENT_SECONDS = 60.0
"""Since the last message, after which a partition of which no end is known counts as one without messages."""


async def look(
    bootstrap: str, prefix: str, pool: str, *, seconds: float, security: Mapping[str, Any] | None = None
) -> QueueState:
    """The queue's state; waits up to that long for the last commits. `security` is what aiokafka needs to sign in.

    Raises `NeverCame` where the broker does not tell a lane's partitions.
    """
    brokers = {"bootstrap_servers": bootstrap, **(security or {})}
    topics = [f"{prefix}.{pool}.{lane}" for lane in LANES]
    records, ends = await _read(brokers, topics)
    messages = [found for record in records if (found := _message(record)) is not None]
    deadline = asyncio.get_running_loop().time() + seconds
    admin = AIOKafkaAdminClient(**brokers)
    await admin.start()
    try:
        while True:
            committed_now = await committed(admin, f"{prefix}.{pool}", list(ends))
            lows = {at: offset for at, (offset, _) in committed_now.items()}
            behind = [
                f"offsets: {at.topic}/{at.partition} is committed up to {lows.get(at, 0)} of {end}"
                for at, end in ends.items()
                if lows.get(at, 0) != end
            ]
            if not behind or asyncio.get_running_loop().time() > deadline:
                return QueueState(behind, messages)
            await asyncio.sleep(_PAUSE_SECONDS)
    finally:
        await admin.close()


async def _read(brokers: Mapping[str, Any], topics: list[str]) -> tuple[list[Any], dict[TopicPartition, int]]:
    consumer = AIOKafkaConsumer(**brokers, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        # Named one by one: on some brokers, any mention of a missing topic creates it.
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(await _partitions_of(consumer, topic))
        ]
        consumer.assign(partitions)
        records: list[Any] = []
        quiet, silent_since = 0, time.monotonic()
        while quiet < _MIN_EMPTY_FETCHES or any([await _left(consumer, at, since=silent_since) for at in partitions]):
            found = await consumer.getmany(timeout_ms=_FETCH_MS)
            records += [record for batch in found.values() for record in batch]
            quiet = 0 if found else quiet + 1
            silent_since = time.monotonic() if found else silent_since
        ends = {at: consumer.highwater(at) or 0 for at in partitions}
    finally:
        await consumer.stop()
    return records, ends


async def _partitions_of(consumer: Any, topic: str) -> set[int]:
    client = consumer._client  # noqa: SLF001 - partitions_for_topic asks for topics that were subscribed to alone
    await client.add_topic(topic)

    async def told() -> Any:
        if not consumer.partitions_for_topic(topic):
            await client.force_metadata_update()
        return consumer.partitions_for_topic(topic)

    found: set[int] = await until(told, f"the partitions of {topic}", seconds=_METADATA_SECONDS)
    return found


async def _left(consumer: Any, at: TopicPartition, *, since: float) -> bool:
    """Whether more may come of a partition, where nothing came since that monotonic time."""
    end = consumer.highwater(at)
    if end is None:  # The broker may be slow: it has not answered yet.
        return time.monotonic() - since < _SILENT_SECONDS
    return bool(await consumer.position(at) < end)


def _message(record: Any) -> QueuedMessage | None:
    """The address that a message has or that its place gives it; None for copies that a worker put back."""
    if record.topic.endswith(".retry"):
        return None
    found, at = json.loads(record.value), (record.topic, record.partition, record.offset)
    if "v" in found:
        return QueuedMessage(found["custom_id"], found["job"], found["index"], at)
    day = datetime.fromtimestamp(record.timestamp / 1000, UTC).strftime("%Y-%m-%d")
    return QueuedMessage(found["custom_id"], f"stream-{record.topic}-{day}", f"{record.partition}-{record.offset}", at)
