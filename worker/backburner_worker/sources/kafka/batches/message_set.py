"""Decodes the messages of Kafka's formats 0 and 1, which old topics still hold. Pure."""

import struct
from itertools import pairwise

from backburner_worker.sources.kafka.batches.codecs import Buffer, Undecodable, unpack
from backburner_worker.sources.kafka.batches.frame import Frame
from backburner_worker.sources.kafka.batches.record import MAX_RECORDS_COUNT, Record, Unreadable, calendar_ms

_LENGTH = struct.Struct(">i")
_START = struct.Struct(">qiIBB")
_STAMP = struct.Struct(">q")
_BEFORE_LENGTH_BYTES = 12
_CODEC_BITS = 0x07


class MessageSet:
    """One message, or the messages that a compressed one wraps: one layer, as Kafka has it."""

    def __init__(self, topic: str, partition: int, data: bytes, frame: Frame, *, most_bytes: int) -> None:
        """Raises `Undecodable`."""
        self._topic, self._partition, self._frame = topic, partition, frame
        self.unpacked_bytes = self.taken_bytes = 0
        self.stand_ins = 0
        if frame.codec:
            packed = _value(data, frame.content, frame.stop)
            if packed is None:
                raise Undecodable("its compressed message is empty")
            buffer, size = unpack(frame.codec, packed, most_bytes)
            self.unpacked_bytes = size
            self._records = iter(self._wrapped(buffer, size))
        else:
            value = _value(data, frame.content, frame.stop)
            self._records = iter([Record(topic, partition, frame.base, calendar_ms(frame.first_ms), value, ())])
        self.done = False

    def take(self, most: int, most_bytes: int) -> list[Record | Unreadable]:
        """The next records, no more than `most`, nor beyond so many bytes; the one that reaches these is included."""
        found: list[Record | Unreadable] = []
        size = 0
        while len(found) < most and size < most_bytes:
            record = next(self._records, None)
            if record is None:
                self.done = True
                break
            size += len(record.value or b"")
            found.append(record)
        self.taken_bytes = size
        return found

    def _wrapped(self, buffer: Buffer, size: int) -> list[Record]:
        """The messages inside. Those of format 1 count from 0, and the wrapper has the last one's offset."""
        frame = self._frame
        found: list[Record] = []
        at = 0
        while at < size:
            if len(found) == MAX_RECORDS_COUNT:
                raise Undecodable(f"it holds more than {MAX_RECORDS_COUNT:,} records")
            if size - at < _START.size + _STAMP.size:
                raise Undecodable("a message in it is cut off")
            offset, length, _, version, attributes = _START.unpack(buffer[at : at + _START.size])
            stop = at + _BEFORE_LENGTH_BYTES + length
            if not at + _START.size <= stop <= size or version != frame.format or attributes & _CODEC_BITS:
                raise Undecodable("a message in it is malformed, or compressed once more")
            content, stamp = at + _START.size, frame.first_ms
            if version == 1:
                (own,) = _STAMP.unpack(buffer[content : content + _STAMP.size])
                stamp = frame.first_ms if frame.stamped_by_broker else own
                content += _STAMP.size
            value = _value(buffer, content, stop)
            found.append(Record(self._topic, self._partition, offset, calendar_ms(stamp), value, ()))
            at = stop
        if found and frame.format == 1:
            shift = frame.base - found[-1].offset
            for record in found:
                record.offset += shift
        offsets = [record.offset for record in found]
        if any(offset > frame.base for offset in offsets) or any(
            after <= before for before, after in pairwise(offsets)
        ):
            raise Undecodable("its messages have offsets that are none of its own")
        return found


def _value(buffer: Buffer, at: int, stop: int) -> bytes | None:
    """What is behind the key, which nobody needs."""
    _, at = _borders(buffer, at, stop)
    start, end = _borders(buffer, at, stop)
    return None if start is None else bytes(buffer[start:end])


def _borders(buffer: Buffer, at: int, stop: int) -> tuple[int | None, int]:
    """Where the bytes begin, None where there are none at all, and where they end."""
    if stop - at < _LENGTH.size:
        raise Undecodable("a message is cut off")
    (length,) = _LENGTH.unpack(buffer[at : at + _LENGTH.size])
    at += _LENGTH.size
    if length == -1:
        return None, at
    if not 0 <= length <= stop - at:
        raise Undecodable("a message says that it is longer than it is")
    return at, at + length
