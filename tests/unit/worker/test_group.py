"""Members of a group that take turns at one partition, crash and lose commits, against a plain model of it all."""

from collections import Counter
from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backburner_schemas.codec import Origin, Unaddressed
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import Undeliverable
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.kafka.assignment import Assignment, Committed, Partition, PartitionOffset
from backburner_worker.sources.kafka.marks import UNMARKED, decode

HOME: Partition = ("t", 0)


def offset_of(delivery: Delivery) -> int:
    assert isinstance(delivery.token, PartitionOffset)
    return delivery.token.offset


class Member:
    """A worker: its state, and what its engine does."""

    def __init__(self, incarnation: int, *, keeps: bool) -> None:
        self.assignment = Assignment(incarnation)
        self.assignment.kept = keeps
        self.given: dict[int, Delivery] = {}
        """Handed out in this life, the last time."""
        self.waiting: dict[int, Delivery] = {}
        """Handed out and not begun."""
        self.untold: dict[int, Delivery] = {}
        """Begun, once that is committed."""
        self.running: dict[int, Delivery] = {}

    def drop_lost(self) -> None:
        for held in (self.waiting, self.untold, self.running, self.given):
            for offset in [offset for offset, delivery in held.items() if delivery.lease.lost]:
                del held[offset]


class GroupMachine(RuleBasedStateMachine):
    """Two members and one partition."""

    KEEPS: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []
        self.end = 0
        self.poison: set[int] = set()
        self.committed: tuple[int, str] = (0, "")
        self.lives = 0
        self.members = [self._born(), self._born()]
        self.owner = 0
        self.open = self.revoked = False
        self.position = 0
        self.finished: set[int] = set()
        self.started_ends: Counter[int] = Counter()
        self.kills: Counter[int] = Counter()
        self.append(gap=0, count=20, poison=False)
        self._arrive(0)

    # --- the world ---

    def _born(self) -> Member:
        self.lives += 1
        return Member(self.lives, keeps=self.KEEPS)

    @property
    def me(self) -> Member:
        return self.members[self.owner]

    def _covered(self, offset: int) -> bool:
        """Whether the broker has it that this is done."""
        low, text = self.committed
        return offset < low or offset in decode(text, low).completed

    def _commit(self, *, applied: bool, acknowledged: bool, clean: bool = False) -> None:
        commits = self.me.assignment.to_commit(clean=clean)
        if HOME in commits and applied:
            assert commits[HOME].offset >= self.committed[0], "an offset was gone back on"
            self.committed = (commits[HOME].offset, commits[HOME].text)
        if applied and acknowledged:
            self.me.assignment.note_committed(commits)
            self.open = self.open or not self.revoked
        for offset, delivery in [*self.me.untold.items()]:
            if self.me.assignment.is_start_committed(delivery):
                del self.me.untold[offset]
                self.me.running[offset] = delivery

    def _arrive(self, to: int) -> None:
        self.owner, self.open, self.revoked = to, False, False
        self.members[1 - to].assignment.keep_only(())
        self.members[1 - to].given.clear()
        low, text = self.committed
        self.me.assignment.keep_only([HOME])
        found = Committed(low, decode(text, low) if self.KEEPS else UNMARKED)
        self.position = self.me.assignment.arrive({HOME: found}, now=0.0)[HOME]
        assert self.position >= low
        for member in self.members:
            member.drop_lost()

    def _unclean(self) -> None:
        """The owner's end: whatever was begun and is not known to be done may be blamed for it."""
        begun = [*self.me.untold, *self.me.running, *(self.me.given.keys() & self.finished)]
        self.started_ends.update(offset for offset in begun if not self._covered(offset))

    def _crash(self, to: int) -> None:
        """kill -9: only what the broker has is left."""
        self._unclean()
        redone = [offset for offset in self.me.given if not self._covered(offset)]
        assert len(redone) <= self.me.assignment.uncommitted, "a crash costs more than was told"
        self.members[self.owner] = self._born()
        self._arrive(to)

    # --- what happens ---

    @precondition(lambda self: self.end - self.position < 10)
    @rule(gap=st.integers(0, 2), count=st.integers(1, 10), poison=st.booleans())
    def append(self, gap: int, count: int, poison: bool) -> None:
        """A producer writes some, perhaps after offsets that hold nothing."""
        first = self.end + gap
        self.log += range(first, first + count)
        self.end = first + count
        if poison:
            self.poison.add(first)

    @precondition(lambda self: self.open and self.position < self.end)
    @rule(count=st.integers(1, 8))
    def receive(self, count: int) -> None:
        for _ in range(count):
            if self.position < self.end:
                self._receive()

    def _receive(self) -> None:
        offset = min(offset for offset in self.log if offset >= self.position)
        self.position = offset + 1
        assignment = self.me.assignment
        if not assignment.take(HOME, offset):
            return
        partition_offset = assignment.partition_offset(HOME, offset)
        again, suspect = assignment.past(partition_offset)
        delivery = Delivery(
            Unaddressed(Undeliverable()),
            b"",
            Origin("t", f"0-{offset}", 0.0),
            Lane.NORMAL,
            DeliveryFacts(suspect=suspect),
            partition_offset,
            again,
        )
        assignment.hand_out(delivery)
        assert not self._covered(offset), "what was finished and committed is given again"
        assert offset not in self.me.waiting.keys() | self.me.untold.keys() | self.me.running.keys(), "given twice"
        self._check_blame(offset, delivery)
        self.me.given[offset] = self.me.waiting[offset] = delivery

    def _check_blame(self, offset: int, delivery: Delivery) -> None:
        if delivery.facts.suspect:
            assert self.started_ends[offset] >= 2, "an innocent is suspected"
        if self.KEEPS:
            # One kill can come before anything was told of its start; from then on starts are told first.
            assert delivery.facts.suspect or self.kills[offset] <= 2, "a killer is not suspected"

    @precondition(lambda self: self.me.waiting)
    @rule(data=st.data(), to=st.integers(0, 1))
    def begin(self, data: Any, to: int) -> None:
        for offset in data.draw(st.lists(st.sampled_from(sorted(self.me.waiting)), unique=True, min_size=1)):
            self._begin(offset)
        self._let_poison_kill(to)

    def _begin(self, offset: int) -> None:
        delivery = self.me.waiting.pop(offset)
        if delivery.facts.suspect and offset in self.poison:
            # It would run alone, and be convicted; that is not the source's business.
            self.me.running[offset] = delivery
        elif self.me.assignment.begin(delivery):
            self.me.untold[offset] = delivery
        else:
            self.me.running[offset] = delivery

    def _let_poison_kill(self, to: int) -> None:
        killers = [
            offset
            for offset, delivery in self.me.running.items()
            if offset in self.poison and not delivery.facts.suspect
        ]
        if killers:
            if self.open:  # A kill while the partitions are away, after the clean mark, blames nobody.
                self.kills.update(killers)
            self._crash(to)

    @precondition(lambda self: self.me.running)
    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        for offset in data.draw(st.lists(st.sampled_from(sorted(self.me.running)), unique=True, min_size=1)):
            self._finish(offset)

    def _finish(self, offset: int) -> None:
        assert self.me.assignment.settle(self.me.running.pop(offset))
        self.finished.add(offset)

    @precondition(lambda self: not self.revoked)
    @rule(to=st.integers(0, 1))
    def commit(self, to: int) -> None:
        self._commit(applied=True, acknowledged=True)
        self._let_poison_kill(to)

    @precondition(lambda self: not self.revoked)
    @rule(applied=st.booleans())
    def commit_and_hear_nothing(self, applied: bool) -> None:
        self._commit(applied=applied, acknowledged=False)

    @precondition(lambda self: self.open)
    @rule(applied=st.booleans(), acknowledged=st.booleans())
    def revoke(self, applied: bool, acknowledged: bool) -> None:
        self.revoked, self.open = True, False
        self._commit(applied=applied, acknowledged=acknowledged, clean=True)
        if not applied:
            self._unclean()
        self.me.assignment.revoke()

    @precondition(lambda self: self.revoked)
    @rule(to=st.integers(0, 1))
    def assign(self, to: int) -> None:
        self._arrive(to)
        self._let_poison_kill(1 - to)

    @precondition(lambda self: self.me.given)
    @rule(to=st.integers(0, 1))
    def crash(self, to: int) -> None:
        self._crash(to)

    @precondition(lambda self: self.open)
    @rule()
    def learn_the_end_of_the_log(self) -> None:
        for partition in self.me.assignment.unbounded():
            self.me.assignment.bound(partition, self.end)

    # --- what always holds ---

    @invariant()
    def nothing_is_claimed_that_is_not_finished(self) -> None:
        assert all(offset in self.finished for offset in self.log if self._covered(offset))

    @invariant()
    def no_more_than_what_is_held_and_what_is_unsaved_is_uncommitted(self) -> None:
        held = len(self.me.waiting) + len(self.me.untold) + len(self.me.running)
        assert held <= self.me.assignment.uncommitted <= held + len(self.finished)

    def teardown(self) -> None:
        """From wherever it stands, all gets done, in a bounded number of steps."""
        if self.revoked:
            self._arrive(self.owner)
        for _ in range(20 * (len(self.log) + 5)):
            if all(self._covered(offset) for offset in self.log):
                return
            self._commit(applied=True, acknowledged=True)
            self._let_poison_kill(self.owner)
            if self.open and self.position < self.end:
                self._receive()
            if not self.KEEPS:
                self.poison.clear()  # Nobody finds it out, and it would kill for ever.
            for offset in sorted(self.me.waiting):
                if offset in self.me.waiting:  # A kill takes all of it away.
                    self._begin(offset)
                    self._let_poison_kill(self.owner)
            for offset in [*self.me.running]:
                self._finish(offset)
        raise AssertionError("work was lost: the partition does not get done")


class ForgetfulGroupMachine(GroupMachine):
    """The same where the broker drops marks: only the low-water mark protects."""

    KEEPS = False


EXAMPLES = settings.default.max_examples

TestGroup = GroupMachine.TestCase
TestGroup.settings = settings(max_examples=min(60, EXAMPLES), stateful_step_count=50, deadline=None)
TestForgetfulGroup = ForgetfulGroupMachine.TestCase
TestForgetfulGroup.settings = settings(max_examples=min(20, EXAMPLES), stateful_step_count=40, deadline=None)
