"""Which partitions are ours and which deliveries of them are running. Pure state: it awaits nothing and asks nobody.

Kafka takes all partitions away at each rebalance and gives most of them back. Every time a partition comes it begins a
new epoch with a new ledger; what still runs from before is adopted into it by offset, so that work under way goes on.
A settle from an epoch that has ended is void.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from backburner_worker.ledger import Ledger
from backburner_worker.sources.base import Delivery

Partition = tuple[str, int]
"""Topic and number. A `TopicPartition` of the client library is one."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a delivery carries so that it can be settled: where it came from, and in which epoch it is ours."""

    partition: Partition
    offset: int
    epoch: int


@dataclass(slots=True)
class _Share:
    """One partition during one epoch."""

    epoch: int
    ledger: Ledger
    committed: int | None
    deliveries: dict[int, Delivery] = field(default_factory=dict)


class Assignment:
    """The partitions of a member, through all its rebalances.

    Order: `keep_only` and `arrive` when partitions come, `take`, `hand_out` and `settle` while they are ours, `revoke`
    when they go. Between `revoke` and `arrive` deliveries may still be settled: their ends are carried over.
    """

    def __init__(self) -> None:
        self._epoch = 0
        self._shares: dict[Partition, _Share] = {}
        self._left: dict[Partition, _Share] = {}

    @property
    def partitions(self) -> Collection[Partition]:
        """Those that are ours and have arrived."""
        return self._shares.keys()

    @property
    def running(self) -> int:
        """Deliveries handed out and not settled, of before a rebalance too."""
        return sum(len(share.deliveries) for share in self._all())

    # --- partitions come and go ---

    def revoke(self) -> None:
        """All partitions go away; what runs is remembered, since most of them come back."""
        self._left.update(self._shares)
        self._shares = {}

    def keep_only(self, coming: Collection[Partition]) -> None:
        """These partitions come; the leases of deliveries of all others are lost."""
        for partition in [left for left in self._left if left not in coming]:
            _lose(self._left.pop(partition))

    def arrive(self, committed: Mapping[Partition, int | None]) -> dict[Partition, int | None]:
        """The partitions are ours, with their committed offsets; where to read each from, None for its beginning.

        What was finished here and not committed counts as done. What runs here is adopted, unless another member has
        committed past it: then its lease is lost. An offset once reached here is never gone back on.
        """
        self._epoch += 1
        for partition, offset in committed.items():
            left = self._left.pop(partition, None)
            self._shares[partition] = self._adopt(left, offset) if left else self._begin(offset)
        return {partition: self._shares[partition].ledger.base for partition in committed}

    def _begin(self, committed: int | None) -> _Share:
        return _Share(self._epoch, Ledger(committed), committed)

    def _adopt(self, left: _Share, committed: int | None) -> _Share:
        reached = left.ledger.low_water
        base = committed if reached is None else reached if committed is None else max(committed, reached)
        share = _Share(self._epoch, Ledger(base, left.deliveries, left.ledger.completed), committed)
        for offset, delivery in left.deliveries.items():
            if base is not None and offset < base:
                delivery.lease.lose()
            else:
                share.deliveries[offset] = delivery
                ticket = delivery.token
                assert isinstance(ticket, Ticket)
                delivery.token = Ticket(ticket.partition, offset, self._epoch)
        return share

    def lose_all(self) -> None:
        """The member is gone: every lease is lost."""
        for share in self._all():
            _lose(share)
        self._shares, self._left = {}, {}

    # --- records and deliveries ---

    def take(self, partition: Partition, offset: int) -> bool:
        """Note that the broker gave this record; whether it is to be worked on, or else a copy of what is known."""
        share = self._shares[partition]
        if share.ledger.base is not None and offset < share.ledger.base:
            # Only a log that lost its end gives less than what was asked for: what was known of it is void.
            _lose(share)
            self._epoch += 1
            share = self._shares[partition] = _Share(self._epoch, Ledger(offset), None)
        return share.ledger.take(offset)

    def ticket(self, partition: Partition, offset: int) -> Ticket:
        """The ticket of a delivery that is about to be handed out."""
        return Ticket(partition, offset, self._shares[partition].epoch)

    def hand_out(self, delivery: Delivery) -> None:
        """Note that the delivery runs."""
        ticket = delivery.token
        assert isinstance(ticket, Ticket)
        self._shares[ticket.partition].deliveries[ticket.offset] = delivery

    def settle(self, delivery: Delivery) -> bool:
        """Note that the delivery is done; False if it is no longer ours."""
        ticket = delivery.token
        if delivery.lease.lost or not isinstance(ticket, Ticket):
            return False
        share = self._shares.get(ticket.partition) or self._left.get(ticket.partition)
        if share is None or share.epoch != ticket.epoch or share.deliveries.pop(ticket.offset, None) is None:
            return False
        return share.ledger.settle(ticket.offset)

    # --- offsets ---

    def to_commit(self) -> dict[Partition, int]:
        """Low-water marks that the broker does not have yet."""
        return {
            partition: share.ledger.low_water
            for partition, share in self._shares.items()
            if share.ledger.low_water is not None and share.ledger.low_water != share.committed
        }

    def note_committed(self, offsets: Mapping[Partition, int]) -> None:
        """The broker has these marks now."""
        for partition, offset in offsets.items():
            if partition in self._shares:
                self._shares[partition].committed = offset

    def ahead(self, partition: Partition) -> int:
        """How many offsets of the partition are done above its low-water mark."""
        return self._shares[partition].ledger.ahead

    def position(self, partition: Partition) -> int:
        """Where to read the partition on from."""
        return self._shares[partition].ledger.position or 0

    def low_water(self, partition: Partition) -> int | None:
        """The partition's low-water mark."""
        return self._shares[partition].ledger.low_water

    def _all(self) -> Iterator[_Share]:
        yield from self._shares.values()
        yield from self._left.values()


def _lose(share: _Share) -> None:
    for delivery in list(share.deliveries.values()):
        delivery.lease.lose()
    share.deliveries.clear()
