"""Unpacks what producers compressed, within a bound: a few kilobytes can hold gigabytes. It knows no records.

The bound is a buffer of that size, which is written to and never grows: only what is really unpacked takes memory.
"""

import mmap
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import TypeAlias

import cramjam

MAX_UNPACKED_BYTES = 24 * 1024 * 1024
"""Of one batch, unless requests may be larger: three times what `topics ensure` lets a batch take on the broker.

While a batch is unpacked a codec's window can take as much again, so twice this is what the worst batch costs.
"""
_COPIED_BYTES = 4 * 1024 * 1024
"""Up to this size a copy is made: Python reads bytes faster than it reads mapped memory."""

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
"""Java's snappy writes blocks, each after its length, behind a header of its own."""
_BLOCK_LENGTH = struct.Struct(">i")

Buffer: TypeAlias = "bytes | mmap.mmap"
"""What is read by index and by slice, both of which give bytes."""


class Codec(IntEnum):
    """As Kafka numbers them."""

    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class Undecodable(Exception):
    """Bytes that no client could decode, or that would take too much: the text tells why, in one line."""


def unpack(codec: int, packed: bytes, most_bytes: int) -> tuple[Buffer, int]:
    """What was packed, in a buffer that may be longer, and its length in bytes. Raises `Undecodable`."""
    if codec not in _KNOWN:
        raise Undecodable(f"its compression codec, {codec}, is unknown")
    room = mmap.mmap(-1, most_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        size = _snappy(packed, room) if codec == Codec.SNAPPY else _INTO[codec](packed, room)
    except cramjam.DecompressionError as error:
        if any(words in str(error) for words in _TOO_LARGE):
            raise Undecodable(f"it unpacks to more than {most_bytes:,} bytes") from None
        raise Undecodable(f"its {Codec(codec).name.lower()} data is broken ({error})") from None
    if size > _COPIED_BYTES:
        return room, size
    copied = room[:size]
    room.close()
    return copied, size


_INTO: dict[int, Callable[[bytes, mmap.mmap], int]] = {
    Codec.GZIP: cramjam.gzip.decompress_into,
    Codec.LZ4: cramjam.lz4.decompress_into,
    Codec.ZSTD: cramjam.zstd.decompress_into,
}
_KNOWN = frozenset(Codec)
_TOO_LARGE = ("failed to write whole buffer", "too much memory", "is smaller than required")
"""What the codecs say when the buffer is full, or when they would need more memory than that."""


def _snappy(packed: bytes, room: mmap.mmap) -> int:
    if not packed.startswith(_XERIAL_MAGIC):
        return int(cramjam.snappy.decompress_raw_into(packed, room))
    at, size = _XERIAL_HEADER_BYTES, 0
    with memoryview(room) as view:
        while at < len(packed):
            if at + _BLOCK_LENGTH.size > len(packed):
                raise Undecodable("its snappy data is cut off")
            (length,) = _BLOCK_LENGTH.unpack_from(packed, at)
            at += _BLOCK_LENGTH.size
            if not 0 <= length <= len(packed) - at:
                raise Undecodable("its snappy data is cut off")
            with view[size:] as rest:
                size += int(cramjam.snappy.decompress_raw_into(packed[at : at + length], rest))
            at += length
    return size
