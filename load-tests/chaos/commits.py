"""What a group has committed as done, read by aiokafka alone: offsets, and the completed set in the text beside each.

The text is `bb1.` and base64 of: a byte of flags, four of the incarnation, a variable-length integer, four sets with
their lengths before them (suspects, earlier, started, completed), a checksum. A set is 0 and pairs of gap and length,
or 1, a gap and a bitmap, least significant bit first; all counted from the committed offset.
"""

import base64
import functools
from collections.abc import Iterator, Mapping

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

Committed = Mapping[TopicPartition, tuple[int, str]]
"""Offset and text of each partition."""

_PREFIX = "bb1."
_HEAD_BYTES = 1 + 4
_SET_COUNT = 4


async def committed(admin: AIOKafkaAdminClient, group: str, partitions: list[TopicPartition]) -> Committed:
    """What the group has committed of these partitions."""
    found = await admin.list_consumer_group_offsets(group, partitions=partitions)
    return {at: (one.offset, one.metadata or "") for at, one in found.items() if one.offset >= 0}


def is_done(found: Committed, topic: str, partition: int, offset: int) -> bool:
    """Whether a message is done by what was committed."""
    low, text = found.get(TopicPartition(topic, partition), (0, ""))
    return offset < low or offset in completed(low, text)


@functools.lru_cache(maxsize=4096)
def completed(offset: int, text: str) -> frozenset[int]:
    """The offsets above the committed one that the text records as done; empty where it records none."""
    if not text.startswith(_PREFIX):
        return frozenset()
    data = iter(base64.b64decode(text[len(_PREFIX) :])[_HEAD_BYTES:-4])
    _number(data)
    sets = [bytes(next(data) for _ in range(_number(data))) for _ in range(_SET_COUNT)]
    return frozenset(_members(sets[-1], offset))


def _members(packed: bytes, offset: int) -> Iterator[int]:
    data = iter(packed)
    form = next(data, None)
    if form == 0:
        at = offset
        for gap in _numbers(data):
            start = at + gap
            at = start + _number(data)
            yield from range(start, at)
    elif form == 1:
        start = offset + _number(data)
        for place, byte in enumerate(data):
            yield from (start + place * 8 + bit for bit in range(8) if byte >> bit & 1)


def _numbers(data: Iterator[int]) -> Iterator[int]:
    for first in data:
        yield _number(data, first)


def _number(data: Iterator[int], first: int | None = None) -> int:
    value = shift = 0
    byte = next(data) if first is None else first
    while True:
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that it goes on
            return value
        shift += 7
        byte = next(data)
