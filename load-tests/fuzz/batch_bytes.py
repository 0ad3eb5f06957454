"""Kafka's batches, byte by byte, right and wrong: whatever a header or a record can say. Pure; no code of the product.

The layouts are those of Kafka's protocol guide: message formats 0 and 1, and the record batch of format 2.
"""

import gzip
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import cramjam
from aiokafka.record.util import calc_crc32c


class Codec(IntEnum):
    """As Kafka numbers them."""

    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class Flag(IntEnum):
    """Of a batch's attributes."""

    LOG_APPEND = 0x08
    TRANSACTIONAL = 0x10
    CONTROL = 0x20


GZIP, SNAPPY, LZ4, ZSTD = Codec
CODECS = {"gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
LOG_APPEND, TRANSACTIONAL, CONTROL = Flag
NOW_MS = 1_790_000_000_000
"""Of records that have no other time: a run is the same whenever it is made."""
_BATCH = struct.Struct(">qiiB")
_BATCH_REST = struct.Struct(">Hiqqqhii")
_ZSTD_BLOCK_BYTES = 128 * 1024


def varint(number: int) -> bytes:
    """A number as records hold it: zigzag, seven bits a byte."""
    rest = (number << 1) if number >= 0 else ((-number << 1) - 1)
    found = bytearray()
    while rest > 0x7F:  # noqa: PLR2004
        found.append((rest & 0x7F) | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)


@dataclass(frozen=True, slots=True)
class Record:
    """One record; what is None is as it should be."""

    value: bytes | None
    key: bytes | None = b"key"
    headers: Sequence[tuple[bytes, bytes | None]] = ()
    delta: int | None = None
    """Its offset, counted from the batch's."""
    time_delta: int = 0
    length: int | None = None
    value_length: int | None = None
    header_count: int | None = None
    raw_headers: bytes | None = None

    def encode(self, number: int) -> bytes:
        """Its bytes as the record of that number in a batch."""
        body = b"\x00" + varint(self.time_delta) + varint(number if self.delta is None else self.delta)
        body += _sized(self.key)
        content = self.value or b""
        size = -1 if self.value is None else len(content)
        body += varint(size if self.value_length is None else self.value_length) + content
        body += varint(len(self.headers) if self.header_count is None else self.header_count)
        body += b"".join(_sized(name) + _sized(value) for name, value in self.headers)
        body += self.raw_headers or b""
        return varint(len(body) if self.length is None else self.length) + body


def _sized(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def pack(codec: int, content: bytes) -> bytes:
    """The content, compressed; codec 0 and those that nobody knows leave it as it is."""
    if codec == GZIP:
        return gzip.compress(content, 9, mtime=0)
    if codec == SNAPPY:
        return bytes(cramjam.snappy.compress_raw(content))
    if codec == LZ4:
        # Kafka takes blocks that do not lean on each other.
        packer = cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False)
        packer.compress(content)
        return bytes(packer.finish())
    return bytes(cramjam.zstd.compress(content)) if codec == ZSTD else content


def batch(
    records: Sequence[Record] | bytes,
    *,
    codec: int = 0,
    packed: bytes | None = None,
    flags: int = 0,
    count: int | None = None,
    last: int | None = None,
    first_ms: int = NOW_MS,
    max_ms: int | None = None,
    producer: int = -1,
    version: int = 2,
    broken_checksum: bool = False,
    trailing: bytes = b"",
) -> bytes:
    """A record batch at offset 0. `records` may be their bytes, `packed` what stands for them compressed."""
    if isinstance(records, bytes):
        content, number = records, 1
    else:
        content, number = b"".join(record.encode(at) for at, record in enumerate(records)), len(records)
    count = number if count is None else count
    last = number - 1 if last is None else last
    rest = _BATCH_REST.pack(
        (codec & 0x07) | flags,
        last,
        first_ms,
        first_ms if max_ms is None else max_ms,
        producer,
        -1,
        -1,
        count,
    )
    rest += (pack(codec, content) if packed is None else packed) + trailing
    checksum = int(calc_crc32c(rest)) ^ (0xDEAD if broken_checksum else 0)
    return _BATCH.pack(0, len(rest) + 9, -1, version) + checksum.to_bytes(4, "big") + rest


def message(
    value: bytes | None,
    *,
    key: bytes | None = None,
    version: int = 1,
    codec: int = 0,
    offset: int = 0,
    time_ms: int = NOW_MS,
    broken_checksum: bool = False,
) -> bytes:
    """A message of format 0 or 1. Compressed, its value is a set of messages."""
    rest = struct.pack(">BB", version, codec) + (struct.pack(">q", time_ms) if version == 1 else b"")
    rest += struct.pack(">i", -1) if key is None else struct.pack(">i", len(key)) + key
    content = None if value is None else pack(codec, value)
    rest += struct.pack(">i", -1) if content is None else struct.pack(">i", len(content)) + content
    checksum = zlib.crc32(rest) ^ (0xDEAD if broken_checksum else 0)
    return struct.pack(">qi", offset, len(rest) + 4) + checksum.to_bytes(4, "big") + rest


def at_offset(data: bytes, offset: int) -> bytes:
    """The same batch at another offset, as a broker places it; its checksum does not cover that."""
    return struct.pack(">q", offset) + data[8:]


def zstd_bomb(unpacked_bytes: int, window_bits: int = 20) -> bytes:
    """A frame of blocks that each say: this byte, 131,072 times."""
    found = bytearray(b"\x28\xb5\x2f\xfd\x00")
    found.append((window_bits - 10) << 3)
    blocks = -(-unpacked_bytes // _ZSTD_BLOCK_BYTES)
    for number in range(blocks):
        header = (_ZSTD_BLOCK_BYTES << 3) | (1 << 1) | (number == blocks - 1)
        found += header.to_bytes(3, "little") + b"a"
    return bytes(found)


def gzip_bomb(unpacked_bytes: int) -> bytes:
    """Nothing but zeros."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1024 * 1024)
    return b"".join(packer.compress(zeros) for _ in range(unpacked_bytes // len(zeros))) + packer.flush()
