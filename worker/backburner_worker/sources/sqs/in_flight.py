"""What this worker holds of SQS: whose visibility ends when, and what is to be extended, deleted, sent again or lost.

Pure, by a monotonic clock that its caller reads. It holds what was read ahead as well as what was handed out and what
is settled but not deleted yet: all of it is ours to keep invisible until it is deleted or released.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto

from backburner_worker.sources.base import Delivery
from backburner_worker.sources.sqs.message import SUSPECT_AT_RECEIVE_COUNT, Received

MAX_VISIBILITY_SECONDS = 12 * 3600.0
"""Seconds that SQS lets anybody hold a message."""
SEND_AGAIN_AFTER_SECONDS = 11.5 * 3600.0
"""Seconds after which a held message is sent again as a new one: half an hour is enough to ride out an outage."""
_RETRY_SECONDS = 1.0
_REMEMBERED_COUNT = 20_000
"""Ids of deleted messages that are remembered for a while: a standard queue can deliver a copy of one even then."""


class Stage(Enum):
    """How far a held message has come."""

    WAITING = auto()
    """Read ahead, not handed out."""
    GIVEN = auto()
    """Handed out, not settled."""
    SETTLED = auto()
    """Its outcome is durable; what is left is to delete it."""


@dataclass(slots=True, eq=False)
class InFlightMessage:
    """A message that is invisible to others on our account. Equal only to itself."""

    received: Received
    since: float
    """When SQS delivered it, or a little before."""
    until: float
    """Until when it is certainly invisible to others."""
    heartbeat_at: float
    """When its visibility is to be extended."""
    stage: Stage = Stage.WAITING
    begun: bool = False
    """Whether it went to the engine."""
    delivery: Delivery | None = None
    extending: bool = False
    """Whether an extension is under way."""
    delete_at: float = 0.0
    """When its deletion is to be tried."""
    dropped: bool = False
    """Whether it is held no longer."""
    shed: bool = False
    """Whether its text is not needed any more."""

    @property
    def handle(self) -> str:
        """The latest receipt's."""
        return self.received.handle

    @property
    def is_sent_anew(self) -> bool:
        """Whether it is let go of, without having harmed anybody here, by a new message in its place.

        Given back as it is, it would count one receipt more: whoever gets it would take it for a suspect, or believe
        that its last owner died of the suspect that it is. Where one before may have died of it, that is for the next
        to find out, unless it ran here and did no harm.
        """
        received = self.received
        if received.is_suspect:
            # Who received it before these ran it as any other request.
            return self.begun or received.count <= (1 if received.says_suspect else SUSPECT_AT_RECEIVE_COUNT)
        return received.count == SUSPECT_AT_RECEIVE_COUNT - 1

    def drop_payload(self) -> None:
        """Drop the text, also of copies to come: a deletion needs the handle alone, and may have to wait for long."""
        self.shed = True
        self.received = replace(self.received, body=b"")


class InFlightMessages:
    """All that is held, by message id."""

    def __init__(self, visibility: float, *, send_again_after: float = SEND_AGAIN_AFTER_SECONDS) -> None:
        self._visibility = visibility
        self._send_again_after = send_again_after
        self._held: dict[str, InFlightMessage] = {}
        self._settled: dict[str, InFlightMessage] = {}
        self._to_delete: list[InFlightMessage] = []
        self._given = 0
        self._done: OrderedDict[str, None] = OrderedDict()

    @property
    def uncommitted(self) -> int:
        """Handed out and not known to be deleted."""
        return self._given + len(self._settled)

    @property
    def settled(self) -> int:
        """Settled and not known to be deleted."""
        return len(self._settled)

    @property
    def to_delete(self) -> int:
        """Settled, and no deletion is under way."""
        return len(self._to_delete)

    def __len__(self) -> int:
        return len(self._held)

    # --- in, out ---

    def take(self, received: Received, begun: float) -> InFlightMessage | None:
        """Hold a message whose visibility began at that time or later; None for a copy of what is known here.

        A copy brings the handle that counts from now on. One of a message that was deleted is to be deleted again.
        """
        until, heartbeat_at = begun + self._visibility, begun + self._visibility / 3
        known = self._held.get(received.id)
        if known is not None:
            known.received, known.since, known.until, known.heartbeat_at = received, begun, until, heartbeat_at
            # A call that hangs is for a receipt that is no longer valid.
            known.extending = False
            if known.shed:
                known.drop_payload()
            return None
        held = self._held[received.id] = InFlightMessage(received, begun, until, heartbeat_at)
        if received.id in self._done:
            self._is_settled(held)
            return None
        return held

    def give(self, held: InFlightMessage, delivery: Delivery) -> None:
        """It is handed out as that delivery."""
        held.stage, held.delivery = Stage.GIVEN, delivery
        delivery.on_drop = held.drop_payload
        self._given += 1

    def settle(self, delivery: Delivery) -> bool:
        """The delivery's outcome is durable. Returns False where its lease is lost."""
        held = delivery.token
        if not isinstance(held, InFlightMessage) or held.stage is not Stage.GIVEN or held.dropped:
            return False
        # Without it, the two would keep each other, and their bytes, alive.
        held.delivery = None
        self._given -= 1
        self._is_settled(held)
        return True

    def drop(self, held: InFlightMessage) -> None:
        """Hold it no longer; a lease on it is lost."""
        if held.dropped:
            return
        held.dropped = True
        del self._held[held.received.id]
        self._settled.pop(held.received.id, None)
        if held.stage is Stage.GIVEN:
            self._given -= 1
        delivery, held.delivery = held.delivery, None
        if delivery is not None:
            delivery.lease.lose()

    def unsettled(self) -> list[InFlightMessage]:
        """What waits or was handed out."""
        return [held for held in self._held.values() if held.stage is not Stage.SETTLED]

    def waiting(self) -> list[InFlightMessage]:
        """What was read ahead and not handed out."""
        return [held for held in self._held.values() if held.stage is Stage.WAITING]

    # --- visibility ---

    def due_heartbeats(self, now: float) -> list[InFlightMessage]:
        """What to extend now. Where one is due, those that are nearly due come along: batches are to be full."""
        due, soon = [], now + self._visibility / 12
        urgent = False
        for held in self._held.values():
            if held.heartbeat_at <= soon and not held.extending and self.extension(held, now) > 0:
                due.append(held)
                urgent = urgent or held.heartbeat_at <= now
        if not urgent:
            return []
        for held in due:
            held.extending = True
        return due

    def extension(self, held: InFlightMessage, now: float) -> int:
        """Seconds, from now, to ask for: never beyond what SQS allows in all."""
        return max(min(int(self._visibility), math.floor(held.since + MAX_VISIBILITY_SECONDS - now)), 0)

    def extended(self, held: InFlightMessage, handle: str, asked: float, seconds: int) -> None:
        """SQS extended it, by a call that was begun at that time."""
        held.extending = False
        if handle == held.handle:
            held.until = max(held.until, asked + seconds)
            held.heartbeat_at = asked + seconds / 3

    def not_extended(self, held: InFlightMessage, now: float) -> None:
        """SQS did not do it, but may when asked again."""
        held.extending = False
        held.heartbeat_at = now + min(_RETRY_SECONDS, self._visibility / 12)

    def refused(self, held: InFlightMessage, handle: str) -> bool:
        """SQS refused the receipt: somebody else has the message, or may. Returns whether a lease is lost by that."""
        held.extending = False
        if handle != held.handle or held.dropped:
            return False
        if held.stage is Stage.SETTLED:
            # Its deletion is worth a try all the same.
            held.heartbeat_at = math.inf
            return False
        self.drop(held)
        return True

    def expired(self, now: float) -> list[InFlightMessage]:
        """What could not be extended in time, and is dropped by this."""
        found = [held for held in self._held.values() if held.until <= now and held.stage is not Stage.SETTLED]
        for held in found:
            self.drop(held)
        return found

    def too_long(self, now: float) -> list[InFlightMessage]:
        """Drop, and return, what was held so long that it must be sent again as a new message."""
        found = [held for held in self.unsettled() if now - held.since >= self._send_again_after]
        for held in found:
            self.drop(held)
        return found

    # --- deletion ---

    def deletions(self, now: float) -> list[InFlightMessage]:
        """What to delete now."""
        found = [held for held in self._to_delete if held.delete_at <= now]
        self._to_delete = [held for held in self._to_delete if held.delete_at > now]
        return found

    def deleted(self, held: InFlightMessage, handle: str) -> bool:
        """SQS deleted it, or the receipt is void. Returns False if a copy came meanwhile, which is to be deleted."""
        if handle != held.handle:
            self._to_delete.append(held)
            return False
        self.drop(held)
        self.remember(held.received.id)
        return True

    def not_deleted(self, held: Iterable[InFlightMessage], now: float) -> None:
        """SQS did not do it, but may when asked again."""
        for each in held:
            each.delete_at = now + _RETRY_SECONDS
            self._to_delete.append(each)

    def _is_settled(self, held: InFlightMessage) -> None:
        held.stage = Stage.SETTLED
        held.drop_payload()
        self._settled[held.received.id] = held
        self._to_delete.append(held)

    def remember(self, message_id: str) -> None:
        """A message of that id is done with for good."""
        self._done[message_id] = None
        if len(self._done) > _REMEMBERED_COUNT:
            self._done.popitem(last=False)
