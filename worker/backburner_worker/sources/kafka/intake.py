"""What to read from the broker now, and what to hand out of it. Pure state between the consumer and the pipeline.

It reads ahead a little in each lane that has a budget, and judges a message only when it is handed out: what waits is
bytes, not objects.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from backburner_schemas import codec
from backburner_schemas.errors import UndecodableRecord
from backburner_schemas.names import Lane
from backburner_schemas.request import ENVELOPE_BYTES
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.kafka.assignment import Assignment, Partition
from backburner_worker.sources.kafka.batches.record import MAX_KEPT_BYTES, Unreadable
from backburner_worker.sources.kafka.buffer import LaneBuffer, Record

BUFFER_RECORDS = 2_000
BUFFER_BYTES = 8 * 1024 * 1024
"""Read ahead of each lane, plus what one poll returns."""
HAND_OUT_RECORDS = 128
HAND_OUT_BYTES = 2 * 1024 * 1024
"""Of each lane in one pull: decoding more at once would hold up the loop that feeds the engine."""
_TOPIC_ID_CHARACTERS = 8
"""The last of a topic's id in hexadecimal, which are random: enough to tell the logs of one topic apart."""


class Intake:
    """The records between broker and pipeline, of all lanes."""

    def __init__(self, topics: Mapping[str, Lane], rules: codec.Rules, incarnation: int = 0) -> None:
        """`incarnation` distinguishes the marks of this source from those of all others."""
        self.assignment = Assignment(incarnation)
        self._topics = dict(topics)
        self._rules = rules
        self._budget: dict[Lane, int] = {}
        self._stopped = False
        self._buffers = {
            lane: LaneBuffer(max_records=BUFFER_RECORDS, max_bytes=BUFFER_BYTES, holds_back=lane is Lane.RETRY)
            for lane in self._topics.values()
        }

    def lane(self, topic: str) -> Lane:
        """The lane of a topic."""
        return self._topics[topic]

    def want(self, budget: Mapping[Lane, int]) -> None:
        """The pipeline has room for that many of each lane."""
        self._budget = dict(budget)

    def stop(self) -> None:
        """Read and hand out no more."""
        self._stopped = True
        self.clear()

    def revoke(self) -> None:
        """All partitions go away, and what was read of them with them."""
        self.clear()
        self.assignment.revoke()

    def clear(self) -> None:
        """Forget what was read and not handed out: the broker delivers it again."""
        for buffer in self._buffers.values():
            buffer.clear()

    def wanted(self) -> list[Partition]:
        """The partitions to read from now; the others are to be paused."""
        return [] if self._stopped else [found for found in self.assignment.partitions if self._is_wanted(found)]

    def _is_wanted(self, partition: Partition) -> bool:
        lane = self._topics[partition[0]]
        buffer = self._buffers[lane]
        return (
            self.assignment.is_open(partition)
            and self._budget.get(lane, 0) > 0
            and not buffer.full
            and partition not in buffer.held
            and not self.assignment.is_full(partition)
        )

    def keep(self, partition: Partition, records: Iterable[Record], *, now: float, unix: float) -> None:
        """Keep what the broker returned, except for copies of what is known and what is not ours any more.

        It came now: by the monotonic clock, and by the wall clock.
        """
        if not self._is_read(partition):
            return
        take = self.assignment.take
        self._buffers[self._topics[partition[0]]].add(
            (record for record in records if take(partition, record.offset)), now=now, unix=unix
        )

    def reach(self, partition: Partition, offset: int) -> None:
        """All that the broker has of the partition below that offset was kept."""
        if self._is_read(partition):
            self.assignment.reach(partition, offset)

    def _is_read(self, partition: Partition) -> bool:
        # What is read while partitions go away, or while this stops, is read again by whoever has them then.
        return not self._stopped and partition in self.assignment.partitions and self.assignment.is_open(partition)

    def drop(self, partition: Partition) -> None:
        """Forget what was read of one partition and not handed out: it is read again from where the assignment says."""
        self._buffers[self._topics[partition[0]]].drop(partition)

    def hand_out(self, now: float) -> list[Delivery]:
        """Deliveries within the budget, bounded, of what is due at that monotonic time."""
        deliveries = []
        for lane, buffer in self._buffers.items():
            most = min(self._budget.get(lane, 0), HAND_OUT_RECORDS)
            deliveries += [self._handed_out(record, lane) for record in buffer.take(now, most, HAND_OUT_BYTES)]
        return deliveries

    def due_at(self) -> float | None:
        """Monotonic time at which the next record that is held back is due; None if there is none."""
        found = (buffer.due_at() for lane, buffer in self._buffers.items() if self._budget.get(lane, 0) > 0)
        return min((at for at in found if at is not None), default=None)

    def _handed_out(self, record: Record, lane: Lane) -> Delivery:
        topic, partition, offset, value = record.topic, record.partition, record.offset, record.value
        timestamp = record.timestamp / 1000
        origin = codec.Origin(topic, self._position(record), timestamp)
        partition_offset = self.assignment.partition_offset((topic, partition), offset)
        facts = codec.decode_facts(record.headers, lane) if record.headers else codec.NO_FACTS
        again, suspect = self.assignment.past(partition_offset)
        if suspect:
            facts = replace(facts, suspect=True)
        delivery = Delivery(
            message=_undecodable(record)
            if isinstance(record, Unreadable)
            else codec.decode(value, origin, self._rules),
            raw=self._raw(value or b""),
            origin=origin,
            lane=lane,
            facts=facts,
            token=partition_offset,
            redelivered=again,
            handed_over_at=self.assignment.handed_over_at(partition_offset),
            left_cleanly=facts.suspect and self.assignment.left_cleanly(partition_offset),
        )
        self.assignment.hand_out(delivery)
        return delivery

    def _raw(self, value: bytes) -> bytes:
        # A compressed batch can hold far larger ones. They never run, and of what nobody can send again a part will do.
        return value if len(value) <= self._rules.max_body_bytes + ENVELOPE_BYTES else value[:MAX_KEPT_BYTES]

    def _position(self, record: Record) -> str:
        """The record's place on the queue. A log that took the place of another in this group has it name itself.

        An answer's address may come of it, and the two logs have the same offsets.
        """
        log = self.assignment.log((record.topic, record.partition))
        place = f"{record.partition}-{record.offset}"
        # Where no marks are kept, the next owner would not know, and the address would change.
        known = log.renewed and self.assignment.kept
        return f"{place}-{log.topic.hex()[-_TOPIC_ID_CHARACTERS:]}" if known else place


def _undecodable(record: Unreadable) -> codec.Unaddressed:
    count = record.until - record.offset
    offsets = f"offset {record.offset}" if count == 1 else f"offsets {record.offset} to {record.until - 1}"
    return codec.Unaddressed(UndecodableRecord(f"{offsets}: {record.reason}; correct the producer, and send it again"))
