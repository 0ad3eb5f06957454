"""Cuts fetched bytes into batches, and reads their headers. Pure; it unpacks nothing and decodes no record.

Kafka's message formats 0, 1 and 2 have offset, length and format at the same place, so that all are cut alike.
"""

import struct
from binascii import crc32
from dataclasses import dataclass

from aiokafka.record.util import calc_crc32c

_START = struct.Struct(">qiiB")
"""Base offset, length, then the leader's epoch or, before format 2, a checksum; and the format."""
_BEFORE_LENGTH_BYTES = 12
"""The length counts from here."""
_HEADER = struct.Struct(">qiiBIhiqqqhii")
_UNCHECKED_BYTES = 21
_OLD_HEADER = struct.Struct(">qiIBB")
_OLD_UNCHECKED_BYTES = 16
BATCH_VERSION = 2
"""The format of batches, since Kafka 0.11; before it there were sets of messages."""
_MIN_BYTES = {0: 26, 1: 34}
_CODEC_BITS, _LOG_APPEND_BIT, _TRANSACTIONAL_BIT, _CONTROL_BIT = 0x07, 0x08, 0x10, 0x20


@dataclass(frozen=True, slots=True)
class Frame:
    """One batch among fetched bytes, and what its header says. Nothing of that is believed here."""

    start: int
    stop: int
    format: int
    """0, 1 or 2; what is above is unknown."""
    intact: bool
    """Whether the bytes match their checksum."""
    base: int
    """The first offset; before format 2, the last one."""
    last: int
    count: int
    """Records; before format 2 that is not said: 1."""
    attributes: int
    first_ms: int
    max_ms: int
    producer: int
    content: int
    """Where the records begin."""

    @property
    def codec(self) -> int:
        """How the records are compressed; 0 if they are not."""
        return self.attributes & _CODEC_BITS

    @property
    def stamped_by_broker(self) -> bool:
        """Whether all records have the time at which the broker appended them."""
        return bool(self.attributes & _LOG_APPEND_BIT)

    @property
    def transactional(self) -> bool:
        """Whether it belongs to a transaction."""
        return bool(self.attributes & _TRANSACTIONAL_BIT)

    @property
    def control(self) -> bool:
        """Whether it is the broker's own, and ends a transaction."""
        return bool(self.attributes & _CONTROL_BIT)


class CutOffError(Exception):
    """The bytes end within a batch."""


class LengthError(Exception):
    """A batch says that it has a length which none can have: where the next begins is unknown."""


def cut(data: bytes, start: int) -> Frame:
    """The batch that begins there. Raises `CutOffError` and `LengthError`."""
    if len(data) - start < _START.size:
        raise CutOffError
    base, length, _, version = _START.unpack_from(data, start)
    if length < _MIN_BYTES.get(version, _HEADER.size) - _BEFORE_LENGTH_BYTES:
        raise LengthError
    stop = start + _BEFORE_LENGTH_BYTES + length
    if stop > len(data):
        raise CutOffError
    if version < BATCH_VERSION:
        return _old(data, start, stop)
    base, _, _, _, checksum, attributes, delta, first_ms, max_ms, producer, _, _, count = _HEADER.unpack_from(
        data, start
    )
    return Frame(
        start,
        stop,
        version,
        version == BATCH_VERSION and calc_crc32c(data[start + _UNCHECKED_BYTES : stop]) == checksum,
        base,
        base + delta,
        count,
        attributes,
        first_ms,
        max_ms,
        producer,
        start + _HEADER.size,
    )


def next_base(data: bytes, start: int) -> int | None:
    """The first offset of the batch that begins there, if its header is there and says so."""
    if len(data) - start < _START.size:
        return None
    base, length, _, version = _START.unpack_from(data, start)
    return base if version == BATCH_VERSION and length >= _HEADER.size - _BEFORE_LENGTH_BYTES else None


def claimed_base(data: bytes, start: int) -> int | None:
    """The offset that a batch of whatever format, damaged or not, has there; None where the bytes end first."""
    return int(_START.unpack_from(data, start)[0]) if len(data) - start >= _START.size else None


def _old(data: bytes, start: int, stop: int) -> Frame:
    offset, _, checksum, version, attributes = _OLD_HEADER.unpack_from(data, start)
    stamp = 0
    content = start + _OLD_HEADER.size
    if version == 1:
        (stamp,) = struct.unpack_from(">q", data, content)
        content += 8
    intact = crc32(memoryview(data)[start + _OLD_UNCHECKED_BYTES : stop]) == checksum
    # Of its attributes format 1 has codec and time; nothing before format 2 has transactions.
    return Frame(start, stop, version, intact, offset, offset, 1, attributes & 0x0F, stamp, stamp, -1, content)
