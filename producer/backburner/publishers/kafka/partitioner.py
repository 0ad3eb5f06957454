"""Which partition a request goes to: that of requests which begin alike, as long as no partition runs hot. Pure.

An engine keeps the attention state of prompts that it has seen, so a shared prefix is cheap where it was computed
already: on the worker that has the partition. It knows no broker and sends nothing.
"""

import re
from collections.abc import Sequence
from zlib import crc32

from backburner_schemas.prefix import BLOCK_CHARACTERS, MAX_BLOCKS
from backburner_schemas.routing import NEIGHBOUR_REQUESTS

LEEWAY_RATIO = 0.1
"""What a partition may carry over the average of recent sends, as a share of that average."""
MAX_RUN_REQUESTS = 16
"""Requests with the same prefix that may follow each other to one partition, however little was sent so far: a prefix
that is computed elsewhere after so many costs little, and a job of a few hundred requests still spreads."""
WINDOW_REQUESTS = 1024
"""Requests a partition after which all that was sent weighs half."""
REMEMBERED_BLOCKS = 16_384
"""Blocks in each of the two generations of the memory: 3 MB in all, at least 500 prompts of the greatest length."""
SHORT_BYTES = 1024
"""A record below that has a prompt of 150 tokens or so, which is not worth hashing."""

_PROMPT = re.compile(rb'"(?:messages|prompt|tools|input)"')
"""Where the prompt begins in an envelope's JSON."""


class Partitioner:
    """Chooses partitions of one topic. The same calls in the same order always return the same.

    What a partition carries of recent sends, in bytes, stays below 1 + `LEEWAY_RATIO` times the average and
    `NEIGHBOUR_REQUESTS` + 1 times the largest request; of requests in groups, and the largest group. A call costs as
    much as its prompt has blocks. Memory is bounded.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._loads = [0] * count
        self._total = 0
        self._sends = 0
        self._turn: int | None = None
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}

    @property
    def count(self) -> int:
        """Partitions that are chosen from."""
        return self._count

    def choose(self, key: bytes, value: bytes) -> int:
        """The partition of a record, from 0; it counts as sent.

        `key` is that of its neighbours in the job, whom short prompts follow; `value` is the envelope's JSON.
        """
        if self._count == 1:
            return 0
        size = len(value)
        chain = beginnings(value) if size >= SHORT_BYTES else ()
        chosen = self._with_prefix(chain, size) if chain else self._with_neighbours(crc32(key), size, 1)
        return self._count_in(chosen, key, size, 1)

    def choose_together(self, key: bytes, values: Sequence[bytes]) -> int | None:
        """The partition of neighbours with that key, at most `NEIGHBOUR_REQUESTS` of them; they count as sent.

        None, and nothing counts, if one has a prompt that is worth hashing: then `choose` for each.
        """
        if self._count == 1:
            return 0
        sizes = [*map(len, values)]
        if len(sizes) > NEIGHBOUR_REQUESTS or max(sizes) >= SHORT_BYTES:
            return None
        size = sum(sizes)
        return self._count_in(self._with_neighbours(crc32(key), size, len(sizes)), key, size, len(sizes))

    def choose_group(self, key: bytes, values: Sequence[bytes]) -> int:
        """The partition of requests that are to stay together, all those with that key; they count as sent.

        A new group goes to the least loaded partition, and all of it follows there, however much that carries.
        """
        if self._count == 1:
            return 0
        group = crc32(key)
        known = self._young.get(group)
        if known is None:
            known = self._old.get(group)
            if known is None:
                known = self._loads.index(min(self._loads))
            self._young[group] = known
            self._forget()
        return self._count_in(known, key, sum(map(len, values)), len(values))

    def _count_in(self, chosen: int, key: bytes, size: int, sends: int) -> int:
        """Count what goes there. Returns the partition's number."""
        self._loads[chosen] += size
        self._total += size
        self._sends += sends
        if self._sends >= WINDOW_REQUESTS * self._count:
            self._fade()
        if self._turn is None:
            # Not all clients begin with the same partition: many send only one request.
            self._turn = crc32(key) % self._count
        return (chosen + self._turn) % self._count

    def _with_prefix(self, chain: Sequence[int], size: int) -> int:
        """Where the most of this beginning went, of the partitions that can take it; or the least loaded.

        The less of it is shared, the less over the average may such a partition be, and steeply so: prompts that
        share only the system prompt begin groups of their own, side by side.
        """
        room, leeway = self._room(size, 1, MAX_RUN_REQUESTS)
        young, old, loads = self._young, self._old, self._loads
        shared = blocks = len(chain)
        for block in reversed(chain):
            known = young.get(block)
            if known is None:
                known = old.get(block)
            if known is not None and loads[known] <= room + leeway * (shared / blocks) ** 3:
                break
            shared -= 1
        else:
            known = loads.index(min(loads))
        young.update(dict.fromkeys(chain, known))
        self._forget()
        return known

    def _with_neighbours(self, key: int, size: int, sends: int) -> int:
        """Where the neighbours went, if that partition can take it; or the least loaded."""
        room, leeway = self._room(size, sends, NEIGHBOUR_REQUESTS)
        known = self._young.get(key)
        if known is None:
            known = self._old.get(key)
        if known is None or self._loads[known] > room + leeway:
            known = self._loads.index(min(self._loads))
            self._young[key] = known
            self._forget()
        return known

    def _room(self, size: int, sends: int, run: int) -> tuple[float, float]:
        """How much a partition may carry before it gets these bytes and requests, and how much more at most."""
        total = self._total + size
        average = total / self._count
        return average - size, LEEWAY_RATIO * average + run * total / (self._sends + sends)

    def _forget(self) -> None:
        if len(self._young) >= REMEMBERED_BLOCKS:
            self._young, self._old = {}, self._young

    def _fade(self) -> None:
        self._loads = [load // 2 for load in self._loads]
        self._total = sum(self._loads)
        self._sends //= 2


def beginnings(value: bytes) -> Sequence[int]:
    """A hash for each of the first whole blocks of the prompt in an envelope's JSON, each over all before it.

    As `prefix_chain`, but of the bytes as they are: nothing is decoded, and it need not be the same on other machines.
    """
    if (found := _PROMPT.search(value)) is None:
        return ()
    start = found.end()
    whole = min((len(value) - start) // BLOCK_CHARACTERS, MAX_BLOCKS)
    chain = []
    crc = 0
    for end in range(start + BLOCK_CHARACTERS, start + whole * BLOCK_CHARACTERS + 1, BLOCK_CHARACTERS):
        crc = crc32(value[end - BLOCK_CHARACTERS : end], crc)
        chain.append(crc)
    return chain
