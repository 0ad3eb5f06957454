"""Decodes the records of one batch of Kafka's message format 2, a few at a time. Pure.

Each record has its length before it, so one that is malformed costs itself alone. What a record says of its own sizes
and of its offset is held against the bytes that are there and the offsets that its batch has.
"""

import mmap
import struct
from contextlib import suppress

from backburner_worker.sources.kafka.batches.codecs import Undecodable, unpack
from backburner_worker.sources.kafka.batches.frame import Frame
from backburner_worker.sources.kafka.batches.record import (
    LATEST_UNIX_MS,
    MAX_HEADERS_BYTES,
    MAX_HEADERS_COUNT,
    MAX_KEPT_BYTES,
    MAX_RECORDS_COUNT,
    Headers,
    Record,
    Unreadable,
    calendar_ms,
)

_MAX_MALFORMED_COUNT = 16
"""Records of one batch that get a dead letter each; from there on it is one letter for all the rest."""
_MAX_NUMBER_BITS = 64
_NONE_CODE = 1
"""How a length of -1 is written: there is no key."""
_CONTROL_KEY = struct.Struct(">HH")


class _MalformedError(Exception):
    """The bytes are no record."""


class RecordBatch:
    """The records of one batch whose checksum is right. Offsets that the log does not have any more are gaps.

    Its content may be wrong in any other way: whoever wrote it computed the checksum as well.
    """

    def __init__(self, topic: str, partition: int, data: bytes, frame: Frame, *, last: int, most_bytes: int) -> None:
        """`last` is the last offset that the batch may have. Raises `Undecodable` for what holds for it as a whole."""
        self._topic, self._partition = topic, partition
        if not 0 <= frame.count <= MAX_RECORDS_COUNT:
            raise Undecodable(f"it says that it holds {frame.count:,} records; {MAX_RECORDS_COUNT:,} are allowed")
        if frame.count == 0 and frame.content < frame.stop:
            raise Undecodable("it says that it holds no records, and does")
        self.unpacked_bytes = 0
        self.taken_bytes = self.stand_ins = 0
        """Of what was taken last: bytes of values, and how many stand for what cannot be decoded."""
        self._buffer: bytes | mmap.mmap = data
        self._at, self._stop = frame.content, frame.stop
        if frame.codec:
            self._buffer, self._stop = unpack(frame.codec, data[frame.content : frame.stop], most_bytes)
            self._at, self.unpacked_bytes = 0, self._stop
        self._base, self._last = frame.base, last
        self._next = frame.base
        """The lowest offset that the next record may have."""
        self._left = frame.count
        self._malformed = 0
        # Stamped by the broker, all have the time of the last.
        self._first_ms = frame.max_ms if frame.stamped_by_broker else frame.first_ms
        self._stamped = frame.stamped_by_broker

    @property
    def done(self) -> bool:
        """Whether all of it was taken."""
        return self._left == 0 and self._at == self._stop

    def take(self, most: int, most_bytes: int) -> list[Record | Unreadable]:
        """The next records, no more than `most`, nor beyond so many bytes; the one that reaches these is included."""
        found: list[Record | Unreadable] = []
        self.stand_ins, left_bytes = 0, most_bytes
        while self._left and len(found) < most and left_bytes > 0:
            start, stop = self._borders()
            if start == stop:
                self._give_up(found, "the rest of its batch is no record")
                break
            self._left -= 1
            self._at = stop
            try:
                record: Record | Unreadable = self._record(start, stop)
            except (_MalformedError, IndexError):
                self._malformed += 1
                if self._malformed > _MAX_MALFORMED_COUNT:
                    self._give_up(found, "its batch holds many malformed records")
                    break
                if self._next > self._last:
                    continue  # There is no offset left that it could be under.
                record = self._unreadable(start, stop, self._next, self._next + 1, "the record is malformed")
            self._next = record.offset + 1
            if record.value is not None:
                left_bytes -= len(record.value)
            found.append(record)
        if self._left == 0 and self._at < self._stop and len(found) < most:
            self._give_up(found, "its batch holds more than it says")
        self.taken_bytes = most_bytes - left_bytes
        return found

    def marker(self) -> int:
        """Of a control batch: what kind of marker it is; 0 aborts a transaction. Raises `Undecodable`."""
        with suppress(_MalformedError, IndexError):
            start, stop = self._borders()
            _, at = _number(self._buffer, start + 1)
            _, at = _number(self._buffer, at)
            size, at = _number(self._buffer, at)
            if _CONTROL_KEY.size <= size <= stop - at:
                return int(_CONTROL_KEY.unpack_from(self._buffer, at)[1])
        raise Undecodable("it says that it is a transaction's marker, and is none")

    def _borders(self) -> tuple[int, int]:
        """Where the next record begins and ends; the same twice where none does."""
        try:
            length, start = _number(self._buffer, self._at)
        except (_MalformedError, IndexError):
            return self._at, self._at
        return (start, start + length) if 0 < length <= self._stop - start else (start, start)

    def _record(self, start: int, stop: int) -> Record:
        """The record between these bytes. Raises `_MalformedError`, or IndexError.

        A number that reaches beyond the record is noticed at its end. One byte is taken to be a number without a call:
        most are.
        """
        buffer = self._buffer
        delta, at = _number(buffer, start + 1)
        place = buffer[at]
        if place < 0x80:  # noqa: PLR2004
            place, at = (place >> 1) ^ -(place & 1), at + 1
        else:
            place, at = _number(buffer, at)
        offset = self._base + place
        if not self._next <= offset <= self._last:
            raise _MalformedError
        if buffer[at] == _NONE_CODE:
            at += 1
        else:
            size, at = _number(buffer, at)
            if not 0 <= size <= stop - at:
                raise _MalformedError
            at += size
        value = None
        size, at = _number(buffer, at)
        if size >= 0:
            if size > stop - at:
                raise _MalformedError
            value = buffer[at : at + size]
            at += size
        headers: Headers = ()
        if buffer[at]:
            headers = self._headers(at, stop)
        elif at + 1 != stop:
            raise _MalformedError
        timestamp = self._first_ms if self._stamped else self._first_ms + delta
        if not 0 <= timestamp <= LATEST_UNIX_MS:
            timestamp = calendar_ms(timestamp)
        return Record(self._topic, self._partition, offset, timestamp, value, headers)

    def _headers(self, at: int, stop: int) -> Headers:
        """The first headers, within the bounds; the bytes of the others are not looked at."""
        buffer = self._buffer
        found: list[tuple[str, bytes | None]] = []
        count, at = _number(buffer, at)
        if not 0 <= count <= stop - at:
            raise _MalformedError
        most = at + MAX_HEADERS_BYTES
        for _ in range(min(count, MAX_HEADERS_COUNT)):
            size, at = _number(buffer, at)
            if not 0 <= size <= stop - at:
                raise _MalformedError
            name, at = buffer[at : min(at + size, most)], at + size
            value = None
            size, at = _number(buffer, at)
            if size >= 0:
                if size > stop - at:
                    raise _MalformedError
                value, at = buffer[at : min(at + size, most)], at + size
            if at > most:
                return tuple(found)
            found.append((str(name, "utf-8", "replace"), value))
        if at != stop and (count <= MAX_HEADERS_COUNT or at > stop):
            raise _MalformedError
        return tuple(found)

    def _give_up(self, found: list[Record | Unreadable], reason: str) -> None:
        """One stand-in for all that is left, if it has offsets."""
        if self._next <= self._last:
            found.append(self._unreadable(self._at, self._stop, self._next, self._last + 1, reason))
            self._next = self._last + 1
        self._left, self._at = 0, self._stop

    def _unreadable(self, start: int, stop: int, offset: int, until: int, reason: str) -> Unreadable:
        self.stand_ins += 1
        raw = self._buffer[start : min(stop, start + MAX_KEPT_BYTES)]
        return Unreadable(self._topic, self._partition, offset, until, calendar_ms(self._first_ms), reason, value=raw)


def _number(buffer: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    """The zigzag number there, and where it ends. Raises `_MalformedError`, or IndexError where the bytes end first."""
    byte = buffer[at]
    if byte < 0x80:  # noqa: PLR2004
        return (byte >> 1) ^ -(byte & 1), at + 1
    number, shift = byte & 0x7F, 7
    while shift < _MAX_NUMBER_BITS:
        at += 1
        byte = buffer[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return (number >> 1) ^ -(number & 1), at + 1
        shift += 7
    raise _MalformedError
