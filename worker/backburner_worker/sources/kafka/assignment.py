"""Which partitions are ours and which deliveries of them are running. Pure state: it awaits nothing and asks nobody.

Kafka revokes all partitions at each rebalance and assigns most of them again. Every time a partition comes it begins a
new epoch with a new ledger; what still runs from before is adopted into it by offset, so that work under way goes on. A
settle from an epoch that has ended has no effect. What earlier owners did is read from the marks beside their offsets.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from backburner_schemas.indexset import IndexSet
from backburner_worker.sources.base import Delivery, OffsetMetadata
from backburner_worker.sources.kafka.ledger import Ledger
from backburner_worker.sources.kafka.marks import EVERYWHERE_OFFSET, UNKNOWN_LOG, UNMARKED, Log, Marks
from backburner_worker.sources.kafka.partition import Commit, PartitionState, uncovered

Partition = tuple[str, int]
"""Topic and number. A `TopicPartition` of the client library is one."""


@dataclass(slots=True, eq=False)  # frozen, it would cost three times as much to create
class PartitionOffset:
    """What a delivery carries so that it can be settled: its offset, and the state of the partition while it is ours.

    A state that is over holds no deliveries.
    """

    state: PartitionState = field(repr=False)
    offset: int


@dataclass(frozen=True, slots=True)
class Committed:
    """What the broker has stored of a partition that comes."""

    offset: int
    marks: Marks = UNMARKED
    log: Log = UNKNOWN_LOG
    """Which log the partition is now."""


class Assignment:
    """The partitions of a member, through all its rebalances.

    Order: `keep_only` and `arrive` when partitions come, then a commit, then `take`, `hand_out`, `begin` and `settle`
    while they are ours, `revoke` when they go. Between `revoke` and `arrive` deliveries may still be settled: their
    ends are carried over. `begin_anew`, `cut` and `skip` note what the log itself has lost, whenever that is found out;
    what is to be read next is `reads_on_from` then.
    """

    def __init__(self, incarnation: int = 0) -> None:
        """`incarnation` distinguishes marks of this member from those of all others."""
        self.kept: bool | None = None
        """Whether the broker keeps marks; None, which counts as yes, until that is known."""
        self.in_order = True
        """Whether it shows a partition's records in their order, as Kafka does: then what is left out never comes."""
        self._incarnation = incarnation
        self._epoch = 0
        self._states: dict[Partition, PartitionState] = {}
        self._left: dict[Partition, PartitionState] = {}
        self._given: dict[Partition, set[int]] = {}

    @property
    def partitions(self) -> Collection[Partition]:
        """Those that are ours and have arrived."""
        return self._states.keys()

    @property
    def running(self) -> int:
        """Deliveries handed out and not settled, of before a rebalance too."""
        return sum(len(state.deliveries) for state in self._all())

    @property
    def uncommitted(self) -> int:
        """Deliveries handed out that no commit covers as done. May be asked from any thread."""
        return sum(len(state.deliveries) + len(state.unsaved) for state in self._all())

    # --- partitions come and go ---

    def revoke(self) -> None:
        """All partitions go away; what runs is remembered, since most of them come back."""
        self._left.update(self._states)
        self._states = {}

    def keep_only(self, coming: Collection[Partition]) -> None:
        """These partitions come; the leases of deliveries of all others are lost."""
        for partition in [left for left in self._left if left not in coming]:
            self._lose(partition, self._left.pop(partition))

    def arrive(self, committed: Mapping[Partition, Committed], *, now: float) -> dict[Partition, int]:
        """Take over the partitions at that monotonic time, with what is committed of them.

        Returns where to read each from.

        What was finished here and not committed counts as done, and so does what the marks record as done. What runs
        here is adopted, unless another member has finished it: then its lease is lost. An offset once reached here is
        never gone back on. Marks that another incarnation left without a clean end count against what was started.
        """
        self._epoch += 1
        for partition, found in committed.items():
            left, given = self._left.pop(partition, None), self._given.pop(partition, ())
            self._states[partition] = self._adopt(left, found, given, now)
        return {partition: self._states[partition].ledger.position for partition in committed}

    def is_open(self, partition: Partition) -> bool:
        """Whether the broker has it that work on the partition begins: nothing may be handed out before.

        If this member dies, its successor must know that it may have begun something.
        """
        return self.kept is False or (self.kept is True and self._states[partition].told)

    def told(self) -> list[Partition]:
        """The partitions of which the broker has it that work on them begins."""
        return [partition for partition, state in self._states.items() if state.told]

    def _adopt(self, left: PartitionState | None, found: Committed, given: Iterable[int], now: float) -> PartitionState:
        marks, base = found.marks, found.offset
        earlier, suspects, write_ahead_until = marks.earlier, marks.suspects, marks.write_ahead_until
        left_uncleanly = not marks.clean and marks.incarnation != self._incarnation
        if left_uncleanly:
            suspects |= marks.started & earlier
            earlier |= marks.started
            # The last starts may not have been committed: until all of those are past, starts are committed first.
            write_ahead_until = EVERYWHERE_OFFSET
        again = marks.started | earlier | suspects | IndexSet.of(given)
        if left is None:
            ledger = Ledger(base, done=marks.completed)
            return PartitionState(
                self._epoch,
                ledger,
                earlier,
                suspects,
                again,
                write_ahead_until,
                arrived_at=now,
                begun_before=marks.started,
                left_uncleanly=left_uncleanly,
                read_until=EVERYWHERE_OFFSET,
                committed=base,
                log=found.log,
            )
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
        state = PartitionState(
            self._epoch,
            Ledger(base, running, marks.completed | left.ledger.completed, left.ledger.started),
            earlier | left.earlier,
            suspects | left.suspects,
            (again | left.again) - IndexSet.below(base),
            max(write_ahead_until, left.write_ahead_until),
            arrived_at=now,
            begun_before=marks.started,
            left_uncleanly=left_uncleanly or left.left_uncleanly,
            read_until=EVERYWHERE_OFFSET,
            committed=found.offset,
            log=found.log,
            deliveries=running,
            unsaved=uncovered(left.unsaved, found.offset, marks.completed),
        )
        for offset, delivery in running.items():
            delivery.token = PartitionOffset(state, offset)
        return state

    def lose_all(self) -> None:
        """The member is gone: every lease is lost."""
        for states in (self._states, self._left):
            for partition, state in states.items():
                self._lose(partition, state)
        self._states, self._left = {}, {}

    def _lose(self, partition: Partition, state: PartitionState) -> None:
        self._given.setdefault(partition, set()).update(state.deliveries, state.unsaved)
        for delivery in [*state.deliveries.values()]:
            delivery.lease.lose()
        state.deliveries.clear()

    # --- what logs lose ---

    def log(self, partition: Partition) -> Log:
        """Which log the partition's offsets count in, of one that is ours, or went and may come back."""
        state = self._states.get(partition) or self._left.get(partition)
        return state.log if state is not None else UNKNOWN_LOG

    def confirm(self, partition: Partition, log: Log) -> None:
        """The log is that one, and has lost nothing that is known of it."""
        if (state := self._states.get(partition)) is not None:
            state.log = log

    def begin_anew(self, partition: Partition, start: int, log: Log) -> None:
        """The partition is another log, which begins there: leases and all that was known are void."""
        for states in (self._states, self._left):
            if (state := states.get(partition)) is not None:
                self._lose(partition, state)
                self._epoch += 1
                states[partition] = PartitionState(self._epoch, Ledger(start), log=log)
        self._given.pop(partition, None)

    def cut(self, partition: Partition, end: int, log: Log) -> None:
        """The log lost all from that offset on, and has, or will have, something else there.

        What is below stays as it was; leases from there on are lost.
        """
        below = IndexSet.below(end)
        for states in (self._states, self._left):
            if (state := states.get(partition)) is not None:
                states[partition] = self._cut(state, end, below, log)
        if partition in self._given:
            self._given[partition] = {offset for offset in self._given[partition] if offset < end}

    def _cut(self, state: PartitionState, end: int, below: IndexSet, log: Log) -> PartitionState:
        kept = {offset: delivery for offset, delivery in state.deliveries.items() if offset < end}
        for offset, delivery in state.deliveries.items():
            if offset >= end:
                delivery.lease.lose()
        state.deliveries.clear()
        ledger = state.ledger
        self._epoch += 1
        cut = PartitionState(
            self._epoch,
            Ledger(min(ledger.low_water, end), kept, ledger.completed & below, ledger.started),
            state.earlier & below,
            state.suspects & below,
            state.again & below,
            state.write_ahead_until,
            arrived_at=state.arrived_at,
            begun_before=state.begun_before & below,
            left_uncleanly=state.left_uncleanly,
            read_until=min(state.read_until, end),
            log=log,
            deliveries=kept,
            unsaved={offset for offset in state.unsaved if offset < end},
        )
        for offset, delivery in kept.items():
            delivery.token = PartitionOffset(cut, offset)
        return cut

    def skip(self, partition: Partition, start: int) -> int:
        """The log begins only there: retention took what was before. Returns how many offsets nobody had worked on.

        What was read of them goes on.
        """
        ledger = self._states[partition].ledger
        return ledger.close_gaps(start) + ledger.reach(start)

    # --- records and deliveries ---

    def take(self, partition: Partition, offset: int) -> bool:
        """Note a record from the broker. Returns whether it is to be worked on, or else a copy of what is known."""
        return self._states[partition].ledger.take(offset, hold_gaps=not self.in_order)

    def reach(self, partition: Partition, offset: int) -> None:
        """All that the broker has below that offset was taken: markers and what is gone from the log count as done."""
        state = self._states[partition]
        if offset >= state.ledger.position:
            state.is_reread = False
        state.ledger.reach(offset)

    def gaps(self) -> dict[Partition, tuple[int, int]]:
        """Of each partition what the broker left out and may still come: the first offset, and one behind the last."""
        found = {partition: state.ledger.gaps for partition, state in self._states.items()}
        return {partition: bounds for partition, bounds in found.items() if bounds is not None}

    def reread(self, partition: Partition) -> None:
        """The partition is read again from a gap on, until it comes to its position."""
        self._states[partition].is_reread = True

    def is_reread(self, partition: Partition) -> bool:
        """Whether it is being read again from a gap on."""
        return self._states[partition].is_reread

    def close_gaps(self, partition: Partition, below: int) -> int:
        """What the broker left out below that offset never comes. Returns how many offsets these are."""
        return self._states[partition].ledger.close_gaps(below)

    def partition_offset(self, partition: Partition, offset: int) -> PartitionOffset:
        """The offset of a delivery that is about to be handed out, with its partition's state."""
        return PartitionOffset(self._states[partition], offset)

    def past(self, partition_offset: PartitionOffset) -> tuple[bool, bool]:
        """Whether it was delivered before, to this member or, as far as the marks record, to another; and is suspect.

        Suspect is what was started, and not finished, at two unclean ends.
        """
        state = partition_offset.state
        again = bool(state.again) and partition_offset.offset in state.again
        return again, again and partition_offset.offset in state.suspects

    def handed_over_at(self, partition_offset: PartitionOffset) -> float | None:
        """When it came, in monotonic seconds, if an earlier owner may have finished it and not committed that.

        Where no marks are kept, any owner may have.
        """
        state, offset = partition_offset.state, partition_offset.offset
        in_doubt = (state.left_uncleanly or self.kept is False) and offset < state.read_until
        return state.arrived_at if in_doubt or offset in state.again else None

    def left_cleanly(self, partition_offset: PartitionOffset) -> bool:
        """Whether the marks show that the last owner had begun it and ended in order, or that nobody died who had.

        That an owner which never came to it ended in order says nothing of those before.
        """
        state, offset = partition_offset.state, partition_offset.offset
        if self.kept is not True:
            return False
        let_go_of = not state.left_uncleanly and offset in state.begun_before
        return let_go_of or (offset not in state.earlier and offset not in state.suspects)

    def hand_out(self, delivery: Delivery) -> None:
        """Note that the delivery runs."""
        partition_offset = delivery.token
        assert isinstance(partition_offset, PartitionOffset)
        partition_offset.state.deliveries[partition_offset.offset] = delivery

    def begin(self, delivery: Delivery) -> bool:
        """Note that the delivery goes to the engine. Returns whether that has to be committed first."""
        found = self._held(delivery)
        if found is None:
            return False
        state, offset = found
        state.ledger.begin(offset)
        return self.kept is not False and (delivery.facts.suspect or offset < state.write_ahead_until)

    def is_start_committed(self, delivery: Delivery) -> bool:
        """Whether a commit records that the delivery was begun; also if it is no longer ours, or no marks are kept."""
        found = self._held(delivery)
        return self.kept is False or found is None or found[1] in found[0].committed_started

    def holds(self, partition: Partition, delivery: Delivery) -> bool:
        """Whether the delivery runs, and is of that partition."""
        found = self._held(delivery)
        return found is not None and found[0] is self._states.get(partition)

    def settle(self, delivery: Delivery) -> bool:
        """Note that the delivery is done. Returns False if it is no longer ours."""
        found = self._held(delivery)
        if found is None:
            return False
        state, offset = found
        del state.deliveries[offset]
        state.unsaved.add(offset)
        return state.ledger.settle(offset)

    def _held(self, delivery: Delivery) -> tuple[PartitionState, int] | None:
        """Where a delivery that is ours is held."""
        partition_offset = delivery.token
        if delivery.lease.lost or not isinstance(partition_offset, PartitionOffset):
            return None
        if partition_offset.state.deliveries.get(partition_offset.offset) is not delivery:
            return None
        return partition_offset.state, partition_offset.offset

    # --- offsets and marks ---

    def to_commit(self, *, clean: bool = False) -> dict[Partition, Commit]:
        """What the broker does not have yet; with `clean`, that the partitions are let go of."""
        found = {
            partition: state.to_commit(self._incarnation, clean=clean, kept=self.kept is not False)
            for partition, state in self._states.items()
        }
        return {partition: commit for partition, commit in found.items() if commit is not None}

    def note_committed(self, commits: Mapping[Partition, Commit]) -> None:
        """Note that the broker has these commits."""
        for partition, commit in commits.items():
            state = self._states.get(partition)
            if state is not None and state.epoch == commit.epoch:
                state.note(commit)

    def unbounded(self) -> Iterable[Partition]:
        """Partitions of which nobody has said yet how far their earlier owner could have read."""
        return [partition for partition, state in self._states.items() if state.read_until >= EVERYWHERE_OFFSET]

    def bound(self, partition: Partition, end: int) -> None:
        """The partition's log ends there, so its earlier owner can have read no further."""
        state = self._states[partition]
        state.write_ahead_until = min(state.write_ahead_until, end)
        state.read_until = min(state.read_until, end)

    def is_full(self, partition: Partition) -> bool:
        """Whether reading the partition has to wait until more of it is done."""
        return self._states[partition].is_full(kept=self.kept is not False)

    def offset_metadata(self) -> OffsetMetadata:
        """The state of the marks on the broker."""
        if self.kept is False:
            return OffsetMetadata(supported=False, usage_ratio=0.0, partitions_paused=0)
        return OffsetMetadata(
            supported=self.kept,
            usage_ratio=max((state.fill for state in self._states.values()), default=0.0),
            partitions_paused=sum(state.is_full(kept=True) for state in self._states.values()),
        )

    def position(self, partition: Partition) -> int:
        """The offset below which all of the partition was read that the broker has shown."""
        return self._states[partition].ledger.position

    def reads_on_from(self, partition: Partition) -> int:
        """Where to read the partition on from: its position, but for one that is read again from a gap on."""
        state = self._states[partition]
        gaps = state.ledger.gaps if state.is_reread else None
        return state.ledger.position if gaps is None else gaps[0]

    def low_water(self, partition: Partition) -> int:
        """The partition's low-water mark."""
        return self._states[partition].ledger.low_water

    def _all(self) -> list[PartitionState]:
        # Lists, which are made at once: a scrape of the metrics asks from a thread of its own.
        return [*self._states.values(), *self._left.values()]
