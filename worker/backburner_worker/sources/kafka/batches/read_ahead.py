"""How much one consumer may hold of what it fetched, and how much one poll may decode. Pure."""

from typing import Protocol
from weakref import WeakKeyDictionary

_MAX_HELD_BYTES = 16 * 1024 * 1024
"""Fetched and not handed out, over all partitions, as fetched and as unpacked; one batch may be larger."""
_MAX_POLL_UNPACKED_BYTES = 8 * 1024 * 1024
_MAX_POLL_BYTES = 8 * 1024 * 1024
"""Decoded by one poll: a batch or record that reaches the bound is included. Unpacking so much takes some 10 ms, during
which the engine's loop stands still."""


class Holder(Protocol):
    """Holds fetched bytes."""

    def drop(self) -> None:
        """Let go of them; they will be fetched again."""
        ...


class ReadAhead:
    """The allowance of one consumer."""

    def __init__(self, most_batch_bytes: int) -> None:
        """`most_batch_bytes`: what one batch may unpack to."""
        self.most_batch_bytes = most_batch_bytes
        self.unreadable = 0
        """Stand-ins for what could not be decoded, in this poll."""
        self._unpacked_bytes = self._given_bytes = 0
        self._held: WeakKeyDictionary[Holder, int] = WeakKeyDictionary()

    def begin_poll(self) -> None:
        """A new poll begins."""
        self.unreadable = self._unpacked_bytes = self._given_bytes = 0

    @property
    def may_unpack(self) -> bool:
        """Whether this poll may open one more batch."""
        return self._unpacked_bytes < _MAX_POLL_UNPACKED_BYTES

    @property
    def left_bytes(self) -> int:
        """How many bytes of records this poll may still hand out."""
        return _MAX_POLL_BYTES - self._given_bytes

    def unpacked(self, size: int) -> None:
        """So many bytes were unpacked, or it was tried."""
        self._unpacked_bytes += size

    def gave(self, size: int) -> None:
        """So many bytes are handed out."""
        self._given_bytes += size

    def hold(self, holder: Holder, size: int) -> None:
        """The holder holds that many bytes now. Those that were used least lately are dropped if it gets too much."""
        self._held.pop(holder, None)
        total = sum(self._held.values()) + size
        for other, other_size in [*self._held.items()]:
            if total <= _MAX_HELD_BYTES:
                break
            total -= other_size
            del self._held[other]
            other.drop()
        self._held[holder] = size

    def release(self, holder: Holder) -> None:
        """The holder holds nothing any more."""
        self._held.pop(holder, None)
