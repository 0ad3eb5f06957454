"""What the Kafka source does between a revocation and the next assignment, on a client library that only notes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import for_code

from backburner_schemas.codec import Rules
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane
from backburner_worker.sources.kafka import source as source_module
from backburner_worker.sources.kafka.assignment import Committed
from backburner_worker.sources.kafka.membership import Membership
from backburner_worker.sources.kafka.reader import Reader
from backburner_worker.sources.kafka.source import KafkaSource

HOME = TopicPartition("t", 0)
FENCED_CODE = 82
"""`FENCED_INSTANCE_ID`: another has joined under this member's static name."""


class NotingConsumer:
    """Gives nothing, and notes where it is sought to."""

    def __init__(self) -> None:
        self.sought: list[tuple[TopicPartition, int]] = []

    def pause(self, *_partitions: TopicPartition) -> None:
        pass

    def resume(self, *_partitions: TopicPartition) -> None:
        pass

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought.append((partition, offset))

    async def getmany(self, *_partitions: TopicPartition, **_options: int) -> dict[TopicPartition, list[Any]]:
        return {}


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> KafkaSource:
    monkeypatch.setattr(source_module, "is_forgotten", lambda _consumer: False)
    connection: Any = SimpleNamespace(refusal=None)
    topics = {HOME.topic: Lane.NORMAL}
    return KafkaSource(
        connection=connection, topics=topics, group="g", rules=Rules(), membership=Membership(), client_id="c"
    )


async def test_a_poll_that_begins_while_partitions_go_away_leaves_nothing_to_go_back_to(source: KafkaSource) -> None:
    consumer: Any = NotingConsumer()
    reader = Reader(consumer, source._read_ahead, source._assignment.reads_on_from)

    async def commit(*, clean: bool) -> bool:
        return clean

    async def store() -> None:
        # What is done takes its time to be stored: the poll under way comes back, and the next one begins.
        await reader.read([HOME])

    commits: Any = SimpleNamespace(commit=commit)
    source._consumer, source._reader, source._commits, source._revoked = consumer, reader, commits, store
    source._assignment.keep_only([HOME])
    source._assignment.arrive({HOME: Committed(0)}, now=0.0)
    await source.on_partitions_revoked([HOME])
    # The join fails, and so does the poll: an outage to ride out.
    reader.read_again()
    assert consumer.sought == []


async def test_partitions_that_go_away_while_it_ends_uncleanly_are_not_let_go_of_in_order(
    source: KafkaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, told = asyncio.Event(), []

    async def commit(*, clean: bool) -> bool:
        told.append(clean)
        return True

    commits: Any = SimpleNamespace(commit=commit, release=lambda: None)
    consumer: Any = NotingConsumer()
    source._consumer, source._commits, source._revoked = consumer, commits, stored.wait
    source._assignment.keep_only([HOME])
    source._assignment.arrive({HOME: Committed(0)}, now=0.0)
    going = asyncio.create_task(source.on_partitions_revoked([HOME]))

    async def leave(_consumer: object, **_more: object) -> None:
        # The client library, when it closes, waits for its task, which is in that call.
        stored.set()
        await going

    monkeypatch.setattr(source_module, "leave", leave)
    await asyncio.sleep(0)
    await source.close(clean=False)
    assert told == [False, False]


async def test_a_name_that_another_has_joined_under_ends_the_source_at_the_first_refusal(source: KafkaSource) -> None:
    consumer: Any = NotingConsumer()
    consumer._coordinator = SimpleNamespace(_group_instance_id="w-1")

    async def refused(*_partitions: TopicPartition, **_options: int) -> dict[TopicPartition, list[Any]]:
        raise for_code(FENCED_CODE)

    consumer.getmany = refused
    reader = Reader(consumer, source._read_ahead, source._assignment.reads_on_from)
    nobody: Any = SimpleNamespace()
    with pytest.raises(QueueError, match="BACKBURNER_WORKER_ID of its own"):
        await asyncio.wait_for(source._poll(consumer, reader, nobody, nobody), timeout=5)
    # Until it has left, it takes nothing more from its namesake.
    assert consumer._coordinator._group_instance_id is None
