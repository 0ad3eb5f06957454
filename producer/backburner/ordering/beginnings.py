"""What a prompt begins with, at many depths: requests are put in order by this. Pure.

An engine caches what it has computed block by block, of 16 tokens mostly, and prompts share beginnings of any length.
So a prompt is compared at depths that are as far apart as a block at first, and a sixteenth of the depth later: what
two prompts share is known to that, whether it is a short system prompt or a book. `backburner_schemas.prefix` compares
at fewer depths, and not so far: a worker sees only what it holds.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

from backburner_schemas.prefix import prompt_beginning

BLOCK_BYTES = 64
"""Bytes of a prompt between two depths at least: 16 tokens of English, an engine's usual block."""
MAX_BYTES = 128 * 1024
"""Of a prompt's bytes, how many are looked at: some 32,000 tokens."""
HASH_BYTES = 4
"""Of the hash at each depth."""

_DEPTHS_PER_DOUBLING_COUNT = 16


def _depths() -> Iterator[int]:
    depth = BLOCK_BYTES
    while depth <= MAX_BYTES:
        yield depth
        doubled = 1 << (depth.bit_length() - 1)
        depth += max(BLOCK_BYTES, doubled // _DEPTHS_PER_DOUBLING_COUNT)


DEPTHS_BYTES = tuple(_depths())
"""Bytes of a prompt after which it is compared with others."""

_PARTS = tuple(map(slice, (0, *DEPTHS_BYTES), DEPTHS_BYTES))
"""What is between one depth and the next."""
_PACK = tuple(Struct(f">{count}I").pack for count in range(len(DEPTHS_BYTES) + 1))


class Beginning(NamedTuple):
    """What is known of one prompt."""

    chain: bytes
    """A hash of `HASH_BYTES` for each of `DEPTHS_BYTES` that the prompt reaches, each over all before it.

    Chains that begin alike are of prompts that do, and in the order of their bytes such chains are neighbours.
    """
    prompt_bytes: int
    """Of the text that the model reads."""


def beginning_of(body: Mapping[str, Any], line_bytes: int) -> Beginning:
    """The beginning of the prompt in a body, whatever its fields hold.

    `line_bytes` is the length of the whole request: it stands for the prompt's where that is not known, since the
    prompt is long or there are several. Hashes are CRC-32: a collision costs a little order, never a result.
    """
    data = prompt_beginning(body, MAX_BYTES).encode("utf-8", "surrogatepass")
    size = len(data)
    found, depth = 0, bisect_right(DEPTHS_BYTES, size)
    hashes = [found := crc32(data[part], found) for part in _PARTS[:depth]]
    whole = size < MAX_BYTES and ("messages" in body or isinstance(body.get("prompt", body.get("input")), str))
    return Beginning(_PACK[depth](*hashes), size if whole else max(size, line_bytes))


def shared_bytes(depth: int) -> float:
    """What an engine is expected to find of a prompt that shares so many of `DEPTHS_BYTES` with one in its cache.

    Between this depth and the next the prompts differ somewhere, on average in the middle; and it finds whole blocks.
    """
    if not depth:
        return 0.0
    found = DEPTHS_BYTES[depth - 1]
    following = DEPTHS_BYTES[depth] if depth < len(DEPTHS_BYTES) else found + BLOCK_BYTES
    return found + (following - found - BLOCK_BYTES) / 2
