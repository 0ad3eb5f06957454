"""Which partitions are ours and which deliveries of them are running. Pure state: it awaits nothing and asks nobody.

Kafka takes all partitions away at each rebalance and gives most of them back. Every time a partition comes it begins a
new epoch with a new ledger; what still runs from before is adopted into it by offset, so that work under way goes on.
A settle from an epoch that has ended is void. What earlier owners did is read from the marks beside their offsets.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from backburner_schemas.indexset import IndexSet
from backburner_worker.sources.base import Delivery, MarkFigures
from backburner_worker.sources.kafka.ledger import Ledger
from backburner_worker.sources.kafka.marks import EVERYWHERE, UNMARKED, Marks
from backburner_worker.sources.kafka.partition import Commit, Share, uncovered

Partition = tuple[str, int]
"""Topic and number. A `TopicPartition` of the client library is one."""


@dataclass(slots=True, eq=False)  # frozen, it would cost three times as much to make
class Ticket:
    """What a delivery carries so that it can be settled: its offset, and the share in which it is ours.

    A share that is over holds no deliveries.
    """

    share: Share = field(repr=False)
    offset: int


@dataclass(frozen=True, slots=True)
class Committed:
    """What the broker tells of a partition that comes."""

    offset: int
    marks: Marks = UNMARKED


class Assignment:
    """The partitions of a member, through all its rebalances.

    Order: `keep_only` and `arrive` when partitions come, then a commit, then `take`, `hand_out`, `begin` and `settle`
    while they are ours, `revoke` when they go. Between `revoke` and `arrive` deliveries may still be settled: their
    ends are carried over.
    """

    def __init__(self, life: int = 0) -> None:
        """`life` is what marks of this member can be told by from those of all others."""
        self.kept: bool | None = None
        """Whether the broker keeps marks; None, which is taken for yes, until somebody finds out."""
        self._life = life
        self._epoch = 0
        self._shares: dict[Partition, Share] = {}
        self._left: dict[Partition, Share] = {}
        self._given: dict[Partition, set[int]] = {}

    @property
    def partitions(self) -> Collection[Partition]:
        """Those that are ours and have arrived."""
        return self._shares.keys()

    @property
    def running(self) -> int:
        """Deliveries handed out and not settled, of before a rebalance too."""
        return sum(len(share.deliveries) for share in self._all())

    @property
    def uncommitted(self) -> int:
        """Deliveries handed out that no commit tells are done."""
        return sum(len(share.deliveries) + len(share.unsaved) for share in self._all())

    # --- partitions come and go ---

    def revoke(self) -> None:
        """All partitions go away; what runs is remembered, since most of them come back."""
        self._left.update(self._shares)
        self._shares = {}

    def keep_only(self, coming: Collection[Partition]) -> None:
        """These partitions come; the leases of deliveries of all others are lost."""
        for partition in [left for left in self._left if left not in coming]:
            self._lose(partition, self._left.pop(partition))

    def arrive(self, committed: Mapping[Partition, Committed]) -> dict[Partition, int]:
        """The partitions are ours, with what is committed of them; where to read each from.

        What was finished here and not committed counts as done, and so does what the marks say is. What runs here is
        adopted, unless another member has finished it: then its lease is lost. An offset once reached here is never
        gone back on. Marks that another life left without a clean end blame what was started.
        """
        self._epoch += 1
        for partition, found in committed.items():
            self._shares[partition] = self._adopt(partition, self._left.pop(partition, None), found)
        return {partition: self._shares[partition].ledger.position for partition in committed}

    def _adopt(self, partition: Partition, left: Share | None, found: Committed) -> Share:
        marks, base = found.marks, found.offset
        given = IndexSet.of(self._given.pop(partition, ()))
        earlier, suspects, careful_until = marks.earlier, marks.suspects, marks.careful_until
        if not marks.clean and marks.life != self._life:
            suspects |= marks.started & earlier
            earlier |= marks.started
            # The last that was started may not have been told: until all of that is past, starts are told first.
            careful_until = EVERYWHERE
        again = marks.started | earlier | suspects | given
        if left is None:
            ledger = Ledger(base, done=marks.completed)
            return Share(self._epoch, ledger, earlier, suspects, again, careful_until, committed=base)
        base = max(base, left.ledger.low_water)
        running = {
            offset: delivery
            for offset, delivery in left.deliveries.items()
            if offset >= base and offset not in marks.completed
        }
        for offset, delivery in left.deliveries.items():
            if offset not in running:
                delivery.lease.lose()
        left.deliveries.clear()
        share = Share(
            self._epoch,
            Ledger(base, running, marks.completed | left.ledger.completed, left.ledger.started),
            earlier | left.earlier,
            suspects | left.suspects,
            (again | left.again) - IndexSet.below(base),
            max(careful_until, left.careful_until),
            committed=found.offset,
            deliveries=running,
            unsaved=uncovered(left.unsaved, found.offset, marks.completed),
        )
        for offset, delivery in running.items():
            delivery.token = Ticket(share, offset)
        return share

    def lose_all(self) -> None:
        """The member is gone: every lease is lost."""
        for shares in (self._shares, self._left):
            for partition, share in shares.items():
                self._lose(partition, share)
        self._shares, self._left = {}, {}

    def _lose(self, partition: Partition, share: Share) -> None:
        self._given.setdefault(partition, set()).update(share.deliveries, share.unsaved)
        for delivery in [*share.deliveries.values()]:
            delivery.lease.lose()
        share.deliveries.clear()

    # --- records and deliveries ---

    def take(self, partition: Partition, offset: int) -> bool:
        """Note that the broker gave this record; whether it is to be worked on, or else a copy of what is known."""
        share = self._shares[partition]
        if offset < share.ledger.base:
            # Only a log that lost its end gives less than what was asked for: what was known of it is void.
            self._lose(partition, share)
            del self._given[partition]
            self._epoch += 1
            share = self._shares[partition] = Share(self._epoch, Ledger(offset))
        return share.ledger.take(offset)

    def ticket(self, partition: Partition, offset: int) -> Ticket:
        """The ticket of a delivery that is about to be handed out."""
        return Ticket(self._shares[partition], offset)

    def past(self, ticket: Ticket) -> tuple[bool, bool]:
        """Whether it was given before, to this member or, as far as the marks tell, to another; and is it suspect.

        Suspect is what was started, and not finished, at two unclean ends.
        """
        share = ticket.share
        again = bool(share.again) and ticket.offset in share.again
        return again, again and ticket.offset in share.suspects

    def hand_out(self, delivery: Delivery) -> None:
        """Note that the delivery runs."""
        ticket = delivery.token
        assert isinstance(ticket, Ticket)
        ticket.share.deliveries[ticket.offset] = delivery

    def begin(self, delivery: Delivery) -> bool:
        """Note that the delivery goes to the engine; whether that has to be committed before it does."""
        found = self._held(delivery)
        if found is None:
            return False
        share, offset = found
        share.ledger.begin(offset)
        return self.kept is not False and (delivery.facts.suspect or offset < share.careful_until)

    def is_told(self, delivery: Delivery) -> bool:
        """Whether a commit tells that the delivery was begun; also if it is no longer ours, or nothing can be told."""
        found = self._held(delivery)
        return self.kept is False or found is None or found[1] in found[0].told

    def settle(self, delivery: Delivery) -> bool:
        """Note that the delivery is done; False if it is no longer ours."""
        found = self._held(delivery)
        if found is None:
            return False
        share, offset = found
        del share.deliveries[offset]
        share.unsaved.add(offset)
        return share.ledger.settle(offset)

    def _held(self, delivery: Delivery) -> tuple[Share, int] | None:
        """Where a delivery that is ours is held."""
        ticket = delivery.token
        if delivery.lease.lost or not isinstance(ticket, Ticket):
            return None
        if ticket.share.deliveries.get(ticket.offset) is not delivery:
            return None
        return ticket.share, ticket.offset

    # --- offsets and marks ---

    def to_commit(self, *, clean: bool = False) -> dict[Partition, Commit]:
        """What the broker does not have yet; with `clean`, that the partitions are let go of."""
        found = {
            partition: share.to_commit(self._life, clean=clean, kept=self.kept is not False)
            for partition, share in self._shares.items()
        }
        return {partition: commit for partition, commit in found.items() if commit is not None}

    def note_committed(self, commits: Mapping[Partition, Commit]) -> None:
        """The broker has that now."""
        for partition, commit in commits.items():
            share = self._shares.get(partition)
            if share is not None and share.epoch == commit.epoch:
                share.note(commit)

    def unbounded(self) -> Iterable[Partition]:
        """Partitions whose earlier owner ended uncleanly, while nobody has said how far that one could have read."""
        return [partition for partition, share in self._shares.items() if share.careful_until >= EVERYWHERE]

    def bound(self, partition: Partition, end: int) -> None:
        """The partition's log ends there, so its earlier owner can have read no further."""
        share = self._shares[partition]
        share.careful_until = min(share.careful_until, end)

    def is_full(self, partition: Partition) -> bool:
        """Whether the partition is to be read no further for now."""
        return self._shares[partition].is_full(kept=self.kept is not False)

    def figures(self) -> MarkFigures:
        """How it stands with the marks."""
        if self.kept is False:
            return MarkFigures(kept=False, fill=0.0, stopped=0)
        return MarkFigures(
            kept=self.kept,
            fill=max((share.fill for share in self._shares.values()), default=0.0),
            stopped=sum(share.is_full(kept=True) for share in self._shares.values()),
        )

    def position(self, partition: Partition) -> int:
        """Where to read the partition on from."""
        return self._shares[partition].ledger.position

    def low_water(self, partition: Partition) -> int:
        """The partition's low-water mark."""
        return self._shares[partition].ledger.low_water

    def _all(self) -> Iterator[Share]:
        yield from self._shares.values()
        yield from self._left.values()
