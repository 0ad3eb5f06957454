"""One partition while it is ours: its ledger, its deliveries, and what of it is committed. Pure state."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from backburner_schemas.indexset import IndexSet
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.kafka.ledger import Ledger
from backburner_worker.sources.kafka.marks import MAX_CHARACTERS, NOTHING, UNKNOWN_LOG, Log, Marks, encode

STOP_AT_RATIO = 0.75
"""Share of the room for marks above which a partition is read no further."""
MAX_OFFSETS_AHEAD = 10_000
"""Where the broker keeps no marks: offsets read above the low-water mark, at most, since a lost worker costs that."""
_MIN_CHANGES_BETWEEN_MEASUREMENTS = 256
"""Changes of a ledger, at least, after which the room that its marks take is measured again."""
_CHARACTERS_PER_CHANGE = 4
"""What one change adds to the marks, at about the worst."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What is committed of one partition, and what is known by it."""

    offset: int
    text: str
    epoch: int
    changes: int
    completed: IndexSet
    """What the text records as done: no more than is true."""
    started: IndexSet
    log: Log = UNKNOWN_LOG
    """Which log the text says that it is about."""


@dataclass(slots=True)
class PartitionState:
    """One partition during one epoch."""

    epoch: int
    ledger: Ledger
    earlier: IndexSet = NOTHING
    """Offsets that were started at an unclean end."""
    suspects: IndexSet = NOTHING
    """Offsets that were started at two of them."""
    again: IndexSet = NOTHING
    """Offsets that were handed out before, here or elsewhere."""
    write_ahead_until: int = 0
    """Starts below this offset are committed before they happen."""
    deliveries: dict[int, Delivery] = field(default_factory=dict)
    """What was handed out and is not settled."""
    unsaved: set[int] = field(default_factory=set)
    """What is settled and not covered by a commit."""
    arrived_at: float = 0.0
    """Monotonic seconds at which the partition came."""
    begun_before: IndexSet = NOTHING
    """What its last owner had begun and not finished, however that ended."""
    left_uncleanly: bool = False
    """Whether its marks show that its earlier owner did not end in order."""
    read_until: int = 0
    """Offsets that an earlier owner can have read are below this one."""
    committed: int | None = None
    """The offset that the broker has."""
    log: Log = UNKNOWN_LOG
    """Which log the offsets count in."""
    committed_started: IndexSet = NOTHING
    """What the last commit records as started."""
    is_reread: bool = False
    """Whether it is read again from a gap, and has not come to its position yet."""
    fill: float = 0.0
    """Share of the space for marks that these take, when last measured."""
    _saved: int = -1
    _saved_log: Log = UNKNOWN_LOG
    _measure_at: int = 0

    @property
    def told(self) -> bool:
        """Whether the broker has a commit of this epoch: that work on the partition begins."""
        return self._saved >= 0

    def is_full(self, *, kept: bool) -> bool:
        """Whether the partition is to be read no further, since what is done could not be committed."""
        if self.ledger.catching_up or self.is_reread or not self.ledger.span:
            # With nothing in hand, it is never full: the marks of earlier owners take room that only work makes free.
            return False
        if not kept:
            return self.ledger.span >= MAX_OFFSETS_AHEAD
        if self.ledger.changes >= self._measure_at:
            self._encode(incarnation=0, clean=False)
        return self.fill >= STOP_AT_RATIO

    def to_commit(self, incarnation: int, *, clean: bool, kept: bool) -> Commit | None:
        """What the broker does not have yet; None if it has all. A clean mark is always news."""
        low, changes = self.ledger.low_water, self.ledger.changes
        if not kept:
            return None if low == self.committed else Commit(low, "", self.epoch, changes, NOTHING, NOTHING)
        if changes == self._saved and self.log == self._saved_log and not clean:
            return None
        text, held = self._encode(incarnation=incarnation, clean=clean)
        # What was started counts as committed even where it did not fit: there is no better way to record it.
        return Commit(low, text, self.epoch, changes, held.completed, self.ledger.started, self.log)

    def note(self, commit: Commit) -> None:
        """Note that the broker has that commit."""
        self.committed = commit.offset
        self.committed_started = commit.started
        self._saved, self._saved_log = commit.changes, commit.log
        self.unsaved = uncovered(self.unsaved, commit.offset, commit.completed)

    def _encode(self, incarnation: int, *, clean: bool) -> tuple[str, Marks]:
        ledger = self.ledger
        completed = ledger.completed
        gone = completed | IndexSet.below(ledger.low_water)
        marks = Marks(
            clean=clean,
            incarnation=incarnation,
            completed=completed,
            started=ledger.started,
            earlier=self.earlier - gone if self.earlier else self.earlier,
            suspects=self.suspects - gone if self.suspects else self.suspects,
            write_ahead_until=self.write_ahead_until,
            log=self.log,
        )
        text, held = encode(marks, ledger.low_water)
        self.fill = len(text) / MAX_CHARACTERS
        room = int((STOP_AT_RATIO - self.fill) * MAX_CHARACTERS / _CHARACTERS_PER_CHANGE)
        self._measure_at = ledger.changes + max(room, _MIN_CHANGES_BETWEEN_MEASUREMENTS)
        return text, held


def uncovered(offsets: Iterable[int], committed: int, completed: IndexSet) -> set[int]:
    """Those of the offsets that a commit does not cover as done."""
    return {offset for offset in offsets if offset >= committed and offset not in completed}
