"""Many messages as the bytes that go onto the queue, without an object for each."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import overload

from backburner.publishers.base import FIRST_DELIVERY, Message
from backburner_schemas.names import Lane


class EncodedMessages(Sequence[Message]):
    """Messages to one lane of a pool that were never delivered. A `Message` is created for each that is read."""

    __slots__ = ("grouped", "keys", "lane", "pool", "values")

    def __init__(
        self, pool: str, lane: Lane, keys: Sequence[bytes], values: Sequence[bytes], *, grouped: bool = False
    ) -> None:
        """`keys` are the partition keys and `values` the bytes of valid envelopes, one of each for a message.

        `grouped`: see `Message`.
        """
        self.grouped = grouped
        self.pool = pool
        self.lane = lane
        self.keys = keys
        self.values = values

    @property
    def runs(self) -> Iterator[tuple[int, int, bytes]]:
        """The messages next to each other with the same key: where they begin and end, and the key."""
        start = 0
        for key, same in groupby(self.keys):
            end = start + sum(1 for _ in same)
            yield start, end, key
            start = end

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> "EncodedMessages": ...
    def __getitem__(self, index: int | slice) -> "Message | EncodedMessages":
        if isinstance(index, slice):
            return EncodedMessages(self.pool, self.lane, self.keys[index], self.values[index], grouped=self.grouped)
        encoded = self.keys[index], self.values[index]
        return Message(self.pool, self.lane, None, FIRST_DELIVERY, encoded, grouped=self.grouped)
