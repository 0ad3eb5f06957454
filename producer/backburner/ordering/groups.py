"""Cuts an ordered job into groups: neighbours that share a beginning, and go to one worker together. Pure."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

EntryT = TypeVar("EntryT")

MIN_LARGEST_REQUESTS = 16
"""A beginning that is computed once more after so many requests costs little, and a small job spreads over workers."""
MAX_LARGEST_REQUESTS = 512
"""Tenants take turns by groups, and none has to wait for more than that."""
WHOLE_REQUESTS = 32
"""So many that share a beginning stay together in the smallest job, too: cut in the middle, all would be cut there."""
_GROUPS_COUNT = 64
"""Groups that a job has at least, as long as they are not smaller than the least: a few for each of many workers."""

APART_CODE = -1
"""The depth of an entry that must not be in the group of the one before it."""


def largest_group(requests: int) -> int:
    """How many requests a group of a job with so many may have."""
    return min(max(requests // _GROUPS_COUNT, MIN_LARGEST_REQUESTS), MAX_LARGEST_REQUESTS)


def cut_groups(entries: Iterable[tuple[int, EntryT]], largest: int) -> Iterator[list[EntryT]]:
    """The entries, group by group. Each comes with how deep it shares a beginning with the one before it.

    A group ends where the least is shared with what follows, so that what shares the most stays together. Among places
    that are alike it ends at the last: small groups that share nothing are sent as one. Those that all share something
    may be more than `largest`, up to `WHOLE_REQUESTS`. Memory holds one group.
    """
    most = max(largest, WHOLE_REQUESTS)
    held: list[EntryT] = []
    depths: list[int] = []
    for depth, entry in entries:
        if depth == APART_CODE and held:
            yield held
            held, depths = [], []
        held.append(entry)
        depths.append(depth)
        if len(held) > largest:
            within = depths[:0:-1]
            least = min(within)
            if least and len(held) <= most:
                continue
            cut = len(within) - within.index(least)
            yield held[:cut]
            del held[:cut], depths[:cut]
    if held:
        yield held
