"""What a reader does about bytes that came damaged, without a broker."""

import pytest
from aiokafka import TopicPartition

from backburner_worker.sources.kafka.batches.read_ahead import ReadAhead
from backburner_worker.sources.kafka.batches.record import Record, Unreadable
from backburner_worker.sources.kafka.reader import Reader

ONE, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def record(partition: TopicPartition, offset: int) -> Record:
    return Record(*partition, offset, 0, b"%d" % offset, ())


def unreadable(offset: int, *, damaged: bool) -> Unreadable:
    return Unreadable(*ONE, offset, offset + 3, 0, "broken", value=b"raw", damaged=damaged)


class Consumer:
    """Returns what is queued for it."""

    def __init__(self, read_ahead: ReadAhead, *polls: dict) -> None:
        self.read_ahead, self.polls = read_ahead, [*polls]
        self.sought = []

    def pause(self, *partitions) -> None:
        """As aiokafka's."""

    def resume(self, *partitions) -> None:
        """As aiokafka's."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought.append((partition, offset))

    async def getmany(self, *partitions, timeout_ms, max_records):
        found = self.polls.pop(0)
        self.read_ahead.unreadable = sum(isinstance(one, Unreadable) for several in found.values() for one in several)
        return found


def reading(*polls: dict) -> tuple[Reader, Consumer]:
    read_ahead = ReadAhead(1)
    consumer = Consumer(read_ahead, *polls)
    return Reader(consumer, read_ahead, lambda _: 0), consumer


async def test_damaged_bytes_are_fetched_again_before_they_are_given_up():
    damaged = unreadable(5, damaged=True)
    polls = [{ONE: [record(ONE, 4), damaged], OTHER: [record(OTHER, 9)]}, {ONE: [damaged]}, {ONE: [damaged]}]
    reader, consumer = reading(*polls)
    found = await reader.read([ONE, OTHER])
    assert found == {ONE: [record(ONE, 4)], OTHER: [record(OTHER, 9)]}
    assert await reader.read([ONE, OTHER]) == {ONE: []}
    assert consumer.sought == [(ONE, 5), (ONE, 5)]
    assert await reader.read([ONE, OTHER]) == {ONE: [damaged]}
    assert consumer.sought == [(ONE, 5), (ONE, 5)]


async def test_damage_elsewhere_is_counted_anew():
    polls = [{ONE: [unreadable(offset, damaged=True)]} for offset in (5, 5, 8, 8)]
    reader, _ = reading(*polls)
    assert [await reader.read([ONE]) for _ in range(4)] == [{ONE: []}] * 4


@pytest.mark.parametrize("polls", [1, 3])
async def test_what_was_sent_so_is_given_at_once(polls):
    stand_in = unreadable(5, damaged=False)
    reader, consumer = reading(*({ONE: [stand_in, record(ONE, 8)]} for _ in range(polls)))
    for _ in range(polls):
        assert await reader.read([ONE]) == {ONE: [stand_in, record(ONE, 8)]}
    assert consumer.sought == []
