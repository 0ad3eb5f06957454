"""The index of a job's requests by what they begin with, and the plan that comes of it: for jobs of any length."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from struct import Struct
from typing import Any
from zlib import crc32

from backburner.ordering.beginnings import DEPTHS_BYTES, HASH_BYTES, beginning_of, shared_bytes
from backburner.ordering.forecast import Forecast, PrefixCache, answer_tokens, tokens_in
from backburner.ordering.groups import APART_CODE, cut_groups, largest_group
from backburner.ordering.plan import MAX_POOLS, Entry, InputDigest, Plan, PlanWriter
from backburner.ordering.runs import MEMORY_BYTES, SortedRuns
from backburner_schemas.errors import PoolError

# In big-endian order, bytes compare as the numbers do.
_HEAD = Struct(">HI")
"""The pool's number, and a hash of the model's name."""
_TAIL = Struct(">IQIB")
"""Index, offset with the bit below, length, and how deep the file's own order would find it cached."""
_MODEL_BYTES = _HEAD.size
_VERBATIM_BIT = 1 << 63

_HIT_RATIO = 0.75
"""Of what a request shares with others at most, what it has to find in the cache, so that it counts as a hit."""
_ENOUGH = tuple(
    next(depth for depth in range(most + 1) if shared_bytes(depth) >= _HIT_RATIO * shared_bytes(most))
    for most in range(len(DEPTHS_BYTES) + 1)
)
"""How deep that is, for each depth."""


class OrderIndex:
    """Takes the accepted requests of an input, in its order, and plans in which order they go out.

    Requests for one pool are together, in it those for one model or adapter, and in those the ones that begin alike: in
    the order of the tree of their beginnings, so that as much as possible is shared by neighbours, whatever the number
    of requests between them in the input.

    Memory holds `memory_bytes` of it, about; the rest is in temporary files in `folder`. With `file_order_cache` it
    also finds out what an engine whose cache holds so many tokens would find there in the input's own order.
    """

    def __init__(
        self, *, memory_bytes: int = MEMORY_BYTES, folder: Path | None = None, file_order_cache: int | None = None
    ) -> None:
        self._sorted = SortedRuns(memory_bytes, folder)
        self._folder = folder
        self._pools: dict[str, int] = {}
        self._prompt_bytes = 0
        self._answer_tokens = 0
        self._cache = PrefixCache(file_order_cache) if file_order_cache is not None else None
        self.count = 0
        """Requests so far; the next one has this index."""

    def add(self, offset: int, length: int, url: str, body: Mapping[str, Any], *, pool: str, verbatim: bool) -> None:
        """Add the next request: its line's place in the input, and what it asks for.

        `verbatim` says that the line may travel as it stands. Raises `PoolError` for too many pools, and `OSError` if
        it cannot be kept.
        """
        chain, prompt_bytes = beginning_of(body, length)
        number = self._pools.get(pool)
        if number is None:
            number = self._number_of(pool)
        model = crc32(str(body.get("model")).encode("utf-8", "surrogatepass"))
        answer = answer_tokens(url, body)
        self._prompt_bytes += prompt_bytes
        self._answer_tokens += answer
        found = self._cache.ask(number ^ model, chain, prompt_bytes, answer) if self._cache is not None else 0
        place = offset | _VERBATIM_BIT if verbatim else offset
        self._sorted.add(_HEAD.pack(number, model) + chain + _TAIL.pack(self.count, place, length, found))
        self.count += 1

    def plan(self, digest: InputDigest) -> Plan:
        """The plan for all that was added. Close it. Call this once; it takes some seconds for a million requests.

        Raises `OSError` if it cannot be kept.
        """
        counts = [0] * len(self._pools)
        meter = _Meter()
        with PlanWriter(digest, [*self._pools], self._folder) as writer:
            for group in cut_groups(self._entries(counts, meter), largest_group(self.count)):
                writer.add(group)
            forecast = Forecast(
                requests=self.count,
                groups=writer.groups,
                prompt_tokens=tokens_in(self._prompt_bytes),
                completion_tokens=self._answer_tokens,
                hits=meter.hits,
                found_tokens=min(tokens_in(meter.found_bytes), tokens_in(self._prompt_bytes)),
                file_order=meter.file_order(self._prompt_bytes) if self._cache is not None else None,
            )
            return writer.finish(counts, forecast)

    def close(self) -> None:
        """Remove what is on disk."""
        self._sorted.close()

    def _number_of(self, pool: str) -> int:
        if len(self._pools) == MAX_POOLS:
            raise PoolError(f"the requests are for more than {MAX_POOLS:,} pools; split the input")
        return self._pools.setdefault(pool, len(self._pools))

    def _entries(self, counts: list[int], meter: "_Meter") -> Iterator[tuple[int, Entry]]:
        """The requests in order, each with how deep it shares a beginning with the one before it."""
        before, pool = b"", -1
        tail_bytes, unpack, head, from_bytes = _TAIL.size, _TAIL.unpack_from, _HEAD.unpack_from, int.from_bytes
        for record in self._sorted:
            key = record[:-tail_bytes]
            if key == before:
                depth = (len(key) - _MODEL_BYTES) // HASH_BYTES
            else:
                # How many bytes two keys share is read from where their numbers begin to differ.
                size = min(len(key), len(before))
                differing = from_bytes(key[:size], "big") ^ from_bytes(before[:size], "big")
                depth = max(0, size - (differing.bit_length() + 7) // 8 - _MODEL_BYTES) // HASH_BYTES
                if key[:_MODEL_BYTES] != before[:_MODEL_BYTES]:
                    pool, _ = head(key)
                    depth = APART_CODE
                before = key
            counts[pool] += 1
            index, place, length, found = unpack(record, len(key))
            meter.take(max(depth, 0), found)
            yield depth, Entry(index, place & ~_VERBATIM_BIT, length, bool(place & _VERBATIM_BIT))
        meter.take(0, 0)


class _Meter:
    """Adds up what an engine is expected to have in its cache, from how deep each request shares with the one before.

    In this order, what a request shares with its predecessor is the most that it shares with any before it.
    """

    def __init__(self) -> None:
        self.hits = 0
        self.found_bytes = 0.0
        self._file_hits = 0
        self._file_bytes = 0.0
        self._last = (0, 0)

    def take(self, depth: int, found: int) -> None:
        """The next request, with how deep the file's own order would find it; a last one for the end."""
        before, in_file = self._last
        # The most that it shares with any other is what it shares with one of its neighbours.
        most = max(before, depth)
        if most:
            enough = _ENOUGH[most]
            self.hits += before >= enough
            self._file_hits += in_file >= enough
        if depth:
            self.found_bytes += shared_bytes(depth)
        if found:
            self._file_bytes += shared_bytes(found)
        self._last = (depth, found)

    def file_order(self, prompt_bytes: int) -> tuple[int, int]:
        """Requests, and prompt tokens, that the file's own order would find in the cache."""
        return self._file_hits, min(tokens_in(self._file_bytes), tokens_in(prompt_bytes))
