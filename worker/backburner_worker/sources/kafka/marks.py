"""What is written beside a committed offset, so that the partition's next owner knows what was done and what was begun.

The text is `bb1.` and base64 of: flags, incarnation, the reach of writing ahead, four sets, which log all that is
about, a checksum that takes the offset in. A set is gaps and lengths as variable-length integers, or a bitmap,
whichever is shorter, counted from the offset. The log is left out where nothing is known of it; older readers pass it
over. Pure.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from backburner_schemas.indexset import IndexSet

MAX_CHARACTERS = 4096
"""What Kafka stores beside an offset, unless its `offset.metadata.max.bytes` is another."""
EVERYWHERE_OFFSET = 1 << 62
"""An offset that no log reaches."""

_VERSION = re.compile(r"bb([0-9]{1,9})\.")
_PREFIX = "bb1."
_ROOM_BYTES = (MAX_CHARACTERS - len(_PREFIX)) // 4 * 3
_CLEAN_BIT = 1
_LOG_BIT = 2
_RENEWED_BIT = 4
_TOPIC_ID_BYTES = 16
_CHECKSUM_BYTES = 4
_CONTINUATION_BIT = 0x80
"""The bit of a byte that is set where a variable-length integer goes on."""
_MAX_BITS = 63
_LENGTHS_BYTES = 4 * 2
"""Bytes that the lengths of the four sets may take."""
NOTHING = IndexSet()


@dataclass(frozen=True, slots=True)
class Log:
    """Which log the offsets of a partition count in. A topic made anew, or a leader that lost its end, is another."""

    topic: bytes = b""
    """The topic's id, 16 bytes; empty where the broker has none, as before Kafka 2.8."""
    epoch: int = -1
    """The leader epoch, or a later one, in which all below `checked` was written; -1 where that is not known."""
    checked: int = 0
    """Offset below which all was read before the leader had another epoch than that."""
    renewed: bool = False
    """Whether the topic was made anew, or lost its end, while this group had offsets of what was there before."""

    def cut(self, end: int) -> "Log":
        """What is known once it has lost all from that offset on."""
        return replace(self, checked=end, renewed=True)


UNKNOWN_LOG = Log()
"""Where neither the broker nor the marks tell."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What is known of one partition above its committed offset. All offsets are absolute."""

    clean: bool = True
    """Whether the owner let go of the partition; if not, it may have died with what was started."""
    incarnation: int = 0
    """Which start of which worker wrote this: 32 random bits."""
    completed: IndexSet = NOTHING
    """Offsets that are done, or that the log does not have."""
    started: IndexSet = NOTHING
    """Offsets that went to an engine and are not done."""
    earlier: IndexSet = NOTHING
    """Offsets that were started at an unclean end before this owner, and are not done."""
    suspects: IndexSet = NOTHING
    """Offsets that were started at two unclean ends, and are not done."""
    write_ahead_until: int = 0
    """Starts below this offset are committed before they happen."""
    log: Log = UNKNOWN_LOG

    def below(self, end: int) -> "Marks":
        """What of it is about offsets below that one."""
        kept = IndexSet.below(end)
        return replace(
            self,
            completed=self.completed & kept,
            started=self.started & kept,
            earlier=self.earlier & kept,
            suspects=self.suspects & kept,
        )


UNMARKED = Marks()
"""What is known where nothing is stored."""


def encode(marks: Marks, offset: int) -> tuple[str, Marks]:
    """The text, never over `MAX_CHARACTERS`, and the marks that it holds.

    What does not fit is left out from its far end, of `completed` first, then of what was started: less is claimed
    than is true, never more.
    """
    log = _pack_log(marks.log)
    flags = (_CLEAN_BIT if marks.clean else 0) | (_LOG_BIT if log else 0) | (_RENEWED_BIT if marks.log.renewed else 0)
    head = bytes([flags]) + marks.incarnation.to_bytes(4)
    head += _varint(max(marks.write_ahead_until - offset, 0))
    room = _ROOM_BYTES - len(head) - _LENGTHS_BYTES - len(log) - _CHECKSUM_BYTES
    packed, held = [], []
    for wanted in (marks.suspects, marks.earlier, marks.started, marks.completed):
        content, kept = _pack(wanted, offset, room)
        room -= len(content)
        packed.append(_varint(len(content)) + content)
        held.append(kept)
    payload = head + b"".join(packed) + log
    text = _PREFIX + base64.b64encode(payload + _checksum(payload, offset)).decode()
    suspects, earlier, started, completed = held
    return text, replace(marks, suspects=suspects, earlier=earlier, started=started, completed=completed)


def decode(text: str, offset: int) -> Marks:
    """The marks in a text that was committed with that offset; never raises.

    Text of somebody else, or damaged, or of another offset, counts as none. A newer version counts as an unclean end
    of which nothing is known.
    """
    version = _VERSION.match(text)
    if version is None:
        return UNMARKED
    if int(version[1]) > 1:
        return Marks(clean=False, write_ahead_until=EVERYWHERE_OFFSET)
    try:
        raw = base64.b64decode(text[len(_PREFIX) :], validate=True)
        payload, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
        if text[: len(_PREFIX)] != _PREFIX or checksum != _checksum(payload, offset):
            return UNMARKED
        reader = _Reader(payload)
        flags = reader.take(1)[0]
        incarnation = int.from_bytes(reader.take(4))
        write_ahead = reader.varint()
        suspects, earlier, started, completed = (_unpack(reader.take(reader.varint()), offset) for _ in range(4))
        log = _unpack_log(reader, flags) if flags & _LOG_BIT else UNKNOWN_LOG
    except (binascii.Error, ValueError, IndexError):
        return UNMARKED
    return Marks(
        clean=bool(flags & _CLEAN_BIT),
        incarnation=incarnation,
        completed=completed,
        started=started,
        earlier=earlier,
        suspects=suspects,
        write_ahead_until=offset + write_ahead if write_ahead else 0,
        log=log,
    )


def _pack_log(log: Log) -> bytes:
    if log == UNKNOWN_LOG:
        return b""
    return (log.topic or bytes(_TOPIC_ID_BYTES)) + _varint(log.epoch + 1) + _varint(log.checked)


def _unpack_log(reader: "_Reader", flags: int) -> Log:
    topic = reader.take(_TOPIC_ID_BYTES)
    return Log(topic if any(topic) else b"", reader.varint() - 1, reader.varint(), renewed=bool(flags & _RENEWED_BIT))


# --- one set: a byte for the form, then the form ---

_RANGES, _BITMAP = b"\x00", b"\x01"


def _pack(wanted: IndexSet, offset: int, room: int) -> tuple[bytes, IndexSet]:
    """The set in at most `room` bytes, and as much of it as is in there."""
    if not wanted or room <= len(_RANGES):
        return b"", NOTHING
    ranges, fitting = _pack_ranges(wanted.ranges, offset, room - len(_RANGES))
    first, stop = wanted.ranges[0][0], wanted.stop
    start = _varint(first - offset)
    space = room - len(_BITMAP) - len(start)
    if fitting == len(wanted.ranges) and len(ranges) <= len(start) + (stop - first + 7) // 8:
        return _RANGES + ranges, wanted
    in_bitmap = wanted & IndexSet([(first, first + space * 8)]) if stop - first > space * 8 else wanted
    in_ranges = IndexSet(wanted.ranges[:fitting])
    if len(in_ranges) > len(in_bitmap) or not in_bitmap:
        return _RANGES + ranges, in_ranges
    return _BITMAP + start + _bitmap(in_bitmap, first), in_bitmap


def _pack_ranges(ranges: Sequence[tuple[int, int]], offset: int, room: int) -> tuple[bytes, int]:
    """Gaps and lengths of as many ranges as there is room for, and how many these are."""
    packed, at = bytearray(), offset
    for number, (start, stop) in enumerate(ranges):
        gap, length, before = start - at, stop - start, len(packed)
        if gap < _CONTINUATION_BIT and length < _CONTINUATION_BIT:  # nearly always
            packed.append(gap)
            packed.append(length)
        else:
            packed += _varint(gap) + _varint(length)
        if len(packed) > room:
            return bytes(packed[:before]), number
        at = stop
    return bytes(packed), len(ranges)


def _bitmap(indexes: IndexSet, first: int) -> bytes:
    pieces, at = [], first
    for start, stop in indexes.ranges:
        pieces += ["0" * (start - at), "1" * (stop - start)]
        at = stop
    bits = int("".join(pieces)[::-1], 2)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def _unpack(content: bytes, offset: int) -> IndexSet:
    reader = _Reader(content)
    if not content:
        return NOTHING
    if reader.take(1) == _BITMAP:
        first = offset + reader.varint()
        bits = f"{int.from_bytes(reader.rest(), 'little'):b}"[::-1]
        return IndexSet((first + found.start(), first + found.end()) for found in re.finditer("1+", bits))
    return IndexSet(_read_ranges(reader, offset))


def _read_ranges(reader: "_Reader", at: int) -> Iterator[tuple[int, int]]:
    while reader.left:
        start = at + reader.varint()
        at = start + reader.varint()
        yield start, at


def _checksum(payload: bytes, offset: int) -> bytes:
    return zlib.crc32(b"%d" % offset, zlib.crc32(payload)).to_bytes(_CHECKSUM_BYTES)


def _varint(value: int) -> bytes:
    packed = bytearray()
    while value >= _CONTINUATION_BIT:
        packed.append(value % _CONTINUATION_BIT | _CONTINUATION_BIT)
        value >>= 7
    packed.append(value)
    return bytes(packed)


class _Reader:
    """Takes bytes from the front; raises `ValueError` where there are too few."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._content) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError
        self._at += count
        return self._content[self._at - count : self._at]

    def rest(self) -> bytes:
        return self.take(self.left)

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < _CONTINUATION_BIT:
                return value
            if shift >= _MAX_BITS:
                raise ValueError  # No offset is that large.
