"""Batches that a broken or malicious producer, or a broken disk, can put before a consumer, by form. Pure, from a seed.

Each has the offsets of one batch, so that it can take the place of any other with as many.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from fuzz.batch_bytes import (
    CODECS,
    CONTROL,
    GZIP,
    LOG_APPEND,
    LZ4,
    SNAPPY,
    TRANSACTIONAL,
    ZSTD,
    Record,
    batch,
    gzip_bomb,
    message,
    pack,
    varint,
    zstd_bomb,
)
from fuzz.parts import CHAT, Good, Parts, as_json

_BOMB_BYTES = 1024 * 1024 * 1024
_GZIP_BOMB_BYTES = 200 * 1024 * 1024
_LZ4_BOMB_BYTES = 40 * 1024 * 1024
"""What these codecs pack at 1,000 and 250 to 1: it is to come in one answer of a broker."""
RECORDS_PER_BATCH = 3
"""Of most batches, and of what stands for those that a broker refuses."""
_TIMES_MS = (0, -1, -2, 1, 221_845_478_400_000, 2**62, -(2**63), 2**63 - 1)
"""Among them the year 9000, and what no calendar holds."""


@dataclass(frozen=True, slots=True)
class MadeBatch:
    """One batch of the run."""

    form: str
    data: bytes
    good: tuple[Good, ...] = ()
    """Of its records those that are to be answered."""


class HostileBatches(Parts):
    """One method a form."""

    def batches(self, count: int, *, light: bool = False) -> Iterator[MadeBatch]:
        """Each form once, then others: that many in all, about a third of them good ones.

        `light` leaves out what takes seconds to make.
        """
        forms = [(make, weight) for make, weight in _FORMS if not (light and make in _HEAVY)]
        makers, weights = zip(*forms, strict=True)
        for number in range(count):
            self.number = number
            yield makers[number](self) if number < len(makers) else self.dice.choices(makers, weights)[0](self)

    def _records(self, count: int = RECORDS_PER_BATCH, **more: object) -> tuple[tuple[Record, ...], tuple[Good, ...]]:
        records, good = [], []
        for _ in range(count):
            custom_id, token, body = self.request()
            line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}
            records.append(Record(as_json(line), **more))  # type: ignore[arg-type]
            good.append(Good(custom_id, token))
        return tuple(records), tuple(good)

    # --- good ones ---

    def plain(self) -> MadeBatch:
        """As they come."""
        records, good = self._records(self.dice.randrange(1, 6))
        return MadeBatch("good", batch(records), good)

    def packed(self) -> MadeBatch:
        """With each codec."""
        name, codec = self.dice.choice((*CODECS.items(),))
        records, good = self._records()
        return MadeBatch(f"good, {name}", batch(records, codec=codec), good)

    # --- what is odd, and has to be answered all the same ---

    def header_names(self) -> MadeBatch:
        """Names that are not UTF-8, beside good records."""
        records, good = self._records()
        name = self.dice.choice((b"\xff\xfe", b"\xed\xa0\x80", b"a\xc0", b"\x80" * 200, b""))
        return MadeBatch("header names", batch((records[0], _with(records[1], ((name, b"x"),)), records[2])), good)

    def many_headers(self) -> MadeBatch:
        """More than anybody needs, or larger."""
        headers = self.dice.choice((((b"n", b"v"),) * 3000, ((b"n" * 50_000, b"v"),), ((b"n", b"v" * 200_000),)))
        records, good = self._records()
        return MadeBatch("many headers", batch((_with(records[0], headers), *records[1:])), good)

    def header_bomb(self) -> MadeBatch:
        """Millions of empty headers, in a few kilobytes."""
        records, good = self._records()
        first, _, third = (record.encode(at) for at, record in enumerate(records))
        bombed = Record(records[1].value, raw_headers=_empty_headers(), header_count=_HEADER_COUNT).encode(1)
        return MadeBatch(
            "header bomb", batch(b"", codec=ZSTD, packed=pack(ZSTD, first + bombed + third), count=3, last=2), good
        )

    def key_bomb(self) -> MadeBatch:
        """Good records whose keys have megabytes each, in a few kilobytes."""
        records, good = self._records(key=bytes(_KEY_BOMB_BYTES))
        return MadeBatch("key bomb", batch(records, codec=ZSTD), good)

    def value_bomb(self) -> MadeBatch:
        """A value of millions of empty objects, in a few kilobytes, beside good records."""
        records, good = self._records()
        bombed = Record(_empty_objects())
        return MadeBatch("value bomb", batch((records[0], bombed, records[2]), codec=ZSTD), (good[0], good[2]))

    def times(self) -> MadeBatch:
        """Times of their own."""
        records, good = self._records(time_delta=self.dice.choice((0, 1, -5, 2**60, -(2**62))))
        first, most = self.dice.choice(_TIMES_MS), self.dice.choice(_TIMES_MS)
        return MadeBatch("times", batch(records, first_ms=first, max_ms=most), good)

    def broker_times(self) -> MadeBatch:
        """Says that the broker has stamped it."""
        records, good = self._records()
        data = batch(records, max_ms=self.dice.choice(_TIMES_MS), flags=LOG_APPEND)
        return MadeBatch("times of a broker", data, good)

    def transactional(self) -> MadeBatch:
        """Says that it belongs to a transaction, and names no producer."""
        records, good = self._records()
        return MadeBatch("transactional flag", batch(records, flags=TRANSACTIONAL), good)

    def unknown_flags(self) -> MadeBatch:
        """Bits that mean nothing yet."""
        records, good = self._records()
        return MadeBatch("unknown flags", batch(records, flags=self.dice.choice((0x40, 0x80, 0x4000, 0x8000))), good)

    def old_formats(self) -> MadeBatch:
        """Messages of formats 0 and 1, also compressed."""
        records, good = self._records(1)
        version = self.dice.choice((0, 1))
        data = message(records[0].value, version=version)
        if version and self.dice.random() < 0.5:  # noqa: PLR2004
            data = message(data, codec=self.dice.choice((GZIP, SNAPPY, LZ4)))
        return MadeBatch("old formats", data, good)

    # --- what cannot be decoded ---

    def bomb(self) -> MadeBatch:
        """Kilobytes that unpack to a gigabyte."""
        name, data = self.dice.choice(_bombs())
        return MadeBatch(f"bomb, {name}", data)

    def old_bomb(self) -> MadeBatch:
        """The same in format 1, or with one wrapped in another."""
        return MadeBatch("old format, bomb or nested", self.dice.choice(_old_bombs()))

    def many_records(self) -> MadeBatch:
        """Far more records than a producer puts into a batch."""
        return MadeBatch("many records", _many_records())

    def checksum(self) -> MadeBatch:
        """A checksum that is wrong."""
        records, _ = self._records()
        codec = self.dice.choice((0, 0, GZIP, ZSTD))
        return MadeBatch("wrong checksum", batch(records, codec=codec, broken_checksum=True))

    def rotten(self) -> MadeBatch:
        """A bit that flipped on a disk."""
        records, _ = self._records()
        data = bytearray(batch(records))
        data[self.dice.randrange(21, len(data))] ^= 1 << self.dice.randrange(8)
        return MadeBatch("flipped bit", bytes(data))

    def cut_records(self) -> MadeBatch:
        """Its last record ends early, and the checksum is right."""
        records, good = self._records()
        content = b"".join(record.encode(at) for at, record in enumerate(records))
        return MadeBatch(
            "cut within", batch(content[:-7], count=RECORDS_PER_BATCH, last=RECORDS_PER_BATCH - 1), good[:2]
        )

    def cut_off(self) -> MadeBatch:
        """Half of its bytes: what follows begins in its midst."""
        records, _ = self._records()
        data = batch(records)
        return MadeBatch("cut off", data[: self.dice.randrange(1, len(data) - 1)])

    def payload(self) -> MadeBatch:
        """Bytes that its codec never wrote, with the right checksum."""
        name, codec = self.dice.choice((*CODECS.items(),))
        records, _ = self._records()
        whole = bytearray(pack(codec, b"".join(record.encode(at) for at, record in enumerate(records))))
        broken = self.dice.choice((bytes(whole[: len(whole) // 2]), self.dice.randbytes(300), b"", b"\xff" * 64))
        return MadeBatch(
            f"broken {name}",
            batch(b"", codec=codec, packed=broken, count=RECORDS_PER_BATCH, last=RECORDS_PER_BATCH - 1),
        )

    def codecs(self) -> MadeBatch:
        """A codec that nobody knows."""
        records, _ = self._records()
        return MadeBatch("unknown codec", batch(records, codec=self.dice.choice((5, 6, 7))))

    def control(self) -> MadeBatch:
        """Says that it is a transaction's marker."""
        records, _ = self._records()
        flags = CONTROL | self.dice.choice((0, TRANSACTIONAL))
        return MadeBatch("control flag", batch(records, flags=flags))

    def counts(self) -> MadeBatch:
        """Counts of records that are not there."""
        records, _ = self._records()
        count = self.dice.choice((-1, 0, 2**31 - 1, -(2**31), 1_000_000))
        return MadeBatch("wrong count", batch(records, count=count, last=RECORDS_PER_BATCH - 1))

    def off_by_one(self) -> MadeBatch:
        """One record more, or less, than is said."""
        records, good = self._records()
        more = self.dice.random() < 0.5  # noqa: PLR2004
        data = batch(records[: 3 if more else 2], count=2 if more else 3, last=RECORDS_PER_BATCH - 1)
        return MadeBatch("off by one", data, good[:2])

    def last_deltas(self) -> MadeBatch:
        """A last offset that is not its."""
        records, _ = self._records()
        return MadeBatch("wrong last offset", batch(records, last=self.dice.choice((-1, -(2**31), 2**31 - 1, 2**24))))

    def deltas(self) -> MadeBatch:
        """A record whose offset is not its batch's."""
        records, good = self._records()
        delta = self.dice.choice((-1, 7, 2**31, -(2**40), 2**62))
        second = Record(records[1].value, delta=delta)
        return MadeBatch("wrong record offset", batch((records[0], second, records[2])), (good[0], good[2]))

    def lengths(self) -> MadeBatch:
        """A record that says that it is longer, or shorter, than it is."""
        records, good = self._records()
        length = self.dice.choice((-1, 0, -(2**31), 2**31 - 1, 2**62))
        return MadeBatch("wrong record length", batch((records[0], Record(b"{}", length=length), records[2])), good[:1])

    def value_lengths(self) -> MadeBatch:
        """A value that says that it is longer than its record."""
        records, good = self._records()
        second = Record(b"{}", value_length=self.dice.choice((3000, 2**31 - 1, 2**62, -5, 2**63 - 1)))
        return MadeBatch("wrong value length", batch((records[0], second, records[2])), (good[0], good[2]))

    def header_counts(self) -> MadeBatch:
        """Headers that are not there."""
        records, good = self._records()
        second = Record(records[1].value, header_count=self.dice.choice((-1, 5, 2**31 - 1, 2**62)))
        return MadeBatch("wrong header count", batch((records[0], second, records[2])), (good[0], good[2]))

    def endless(self) -> MadeBatch:
        """A number without an end."""
        records, good = self._records(1)
        rest = b"\x04" + b"\xff" * 40
        return MadeBatch(
            "endless number",
            batch(records[0].encode(0) + rest, count=RECORDS_PER_BATCH, last=RECORDS_PER_BATCH - 1),
            good,
        )

    def trailing(self) -> MadeBatch:
        """Bytes behind the last record."""
        records, good = self._records()
        return MadeBatch(
            "trailing bytes", batch(records, trailing=self.dice.randbytes(self.dice.randrange(1, 99))), good
        )

    def formats(self) -> MadeBatch:
        """A format that does not exist."""
        records, _ = self._records()
        return MadeBatch("unknown format", batch(records, version=self.dice.choice((3, 4, 127, 255))))

    def bases(self) -> MadeBatch:
        """An offset far from where it lies: no checksum covers that."""
        records, _ = self._records()
        base = self.dice.choice((-1, -(2**63), 2**62, 2**40))
        return MadeBatch("wrong offset", _PINNED + struct.pack(">q", base) + batch(records)[8:])

    def batch_lengths(self) -> MadeBatch:
        """A length of the batch that cannot be."""
        records, _ = self._records()
        data = batch(records)
        length = self.dice.choice((-1, 0, 1, 48, -(2**31), 2**31 - 1))
        return MadeBatch("wrong batch length", data[:8] + struct.pack(">i", length) + data[12:])

    def mutated(self) -> MadeBatch:
        """A batch of which some bytes are changed, with the right checksum."""
        records, _ = self._records()
        content = bytearray(b"".join(record.encode(at) for at, record in enumerate(records)))
        for _ in range(self.dice.choice((1, 2, 8))):
            at = self.dice.randrange(len(content))
            content[at : at + self.dice.randrange(2)] = self.dice.randbytes(self.dice.randrange(4))
        return MadeBatch("mutated", batch(bytes(content), count=RECORDS_PER_BATCH, last=RECORDS_PER_BATCH - 1))


_PINNED = b"\x00pinned\x00"
"""Before a batch whose own offset is to stay."""
_HEADER_COUNT = 2_000_000
_KEY_BOMB_BYTES = 4 * 1024 * 1024
_EMPTY_OBJECTS_COUNT = 7_000_000


def placed(data: bytes, offset: int) -> bytes:
    """The batch as it lies at that offset, unless its own is what is wrong with it."""
    return data[len(_PINNED) :] if data.startswith(_PINNED) else struct.pack(">q", offset) + data[8:]


def _with(record: Record, headers: tuple[tuple[bytes, bytes | None], ...]) -> Record:
    return Record(record.value, headers=headers)


@cache
def _empty_headers() -> bytes:
    return (varint(0) + varint(-1)) * _HEADER_COUNT


@cache
def _empty_objects() -> bytes:
    return b'{"v":1,"x":[' + b"{}," * _EMPTY_OBJECTS_COUNT + b"{}]}"


@cache
def _bombs() -> tuple[tuple[str, bytes], ...]:
    packed = (
        ("zstd", zstd_bomb(_BOMB_BYTES)),
        ("zstd", zstd_bomb(_BOMB_BYTES, window_bits=27)),
        ("zstd", zstd_bomb(_BOMB_BYTES, window_bits=31)),
        ("gzip", gzip_bomb(_GZIP_BOMB_BYTES)),
        ("lz4", pack(LZ4, bytes(_LZ4_BOMB_BYTES))),
        # A length in front, and nothing of it behind.
        ("snappy", b"\xff\xff\xff\xff\x0f" + bytes(64)),
    )
    return tuple(
        (name, batch(b"", codec=CODECS[name], packed=one, count=RECORDS_PER_BATCH, last=RECORDS_PER_BATCH - 1))
        for name, one in packed
    )


@cache
def _old_bombs() -> tuple[bytes, ...]:
    inner = message(message(b"{}"), codec=GZIP)
    return tuple(message(value, codec=GZIP) for value in (inner, inner * 50, message(bytes(_LZ4_BOMB_BYTES))))


@cache
def _many_records() -> bytes:
    count = 300_000
    return batch([Record(None, key=None) for _ in range(count)], codec=ZSTD, last=RECORDS_PER_BATCH - 1)


_FORMS: tuple[tuple[Callable[[HostileBatches], MadeBatch], float], ...] = (
    (HostileBatches.plain, 20),
    (HostileBatches.packed, 12),
    (HostileBatches.header_names, 4),
    (HostileBatches.many_headers, 1),
    (HostileBatches.header_bomb, 0.2),
    (HostileBatches.key_bomb, 0.4),
    (HostileBatches.value_bomb, 0.2),
    (HostileBatches.times, 6),
    (HostileBatches.broker_times, 2),
    (HostileBatches.transactional, 3),
    (HostileBatches.unknown_flags, 2),
    (HostileBatches.old_formats, 4),
    (HostileBatches.bomb, 0.8),
    (HostileBatches.old_bomb, 0.4),
    (HostileBatches.many_records, 0.2),
    (HostileBatches.checksum, 4),
    (HostileBatches.rotten, 3),
    (HostileBatches.cut_records, 3),
    (HostileBatches.cut_off, 3),
    (HostileBatches.payload, 5),
    (HostileBatches.codecs, 3),
    (HostileBatches.control, 3),
    (HostileBatches.counts, 4),
    (HostileBatches.off_by_one, 3),
    (HostileBatches.last_deltas, 3),
    (HostileBatches.deltas, 3),
    (HostileBatches.lengths, 3),
    (HostileBatches.value_lengths, 3),
    (HostileBatches.header_counts, 3),
    (HostileBatches.endless, 2),
    (HostileBatches.trailing, 2),
    (HostileBatches.formats, 2),
    (HostileBatches.bases, 2),
    (HostileBatches.batch_lengths, 2),
    (HostileBatches.mutated, 6),
)
_HEAVY = frozenset(
    (
        HostileBatches.bomb,
        HostileBatches.old_bomb,
        HostileBatches.many_records,
        HostileBatches.header_bomb,
        HostileBatches.key_bomb,
        HostileBatches.value_bomb,
    )
)
