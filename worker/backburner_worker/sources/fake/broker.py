"""The state of a queue in memory: its lanes, what is held of them, and the faults that a test asks for.

`backburner_worker.sources.fake.source` has the ports onto it. Nothing here is durable, and nothing waits.
"""

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from backburner.publishers.base import Message, PublishFailed
from backburner.runtime.notifier import Notifier
from backburner_schemas import codec
from backburner_schemas.codec import Origin, Rules, decode, decode_facts, wait_seconds
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery


@dataclass(slots=True, eq=False)
class _KeptMessage:
    """A message as the broker keeps it."""

    number: int
    lane: Lane
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    sent_at: float
    receives: int = 0
    died_with: bool = False
    """Whether an owner of it ended uncleanly, as far as the broker shows."""


class FakeBroker:
    """The lanes and what is held of them.

    `send` puts a message onto a lane; `unsettled` and `settled` show what became of all of them.

    Args:
        rules: What its sources accept.
        shows_ends: Whether it shows how owners ended, as Kafka does by its marks.
        suspect_receives: Deliveries of a message from which on it is a suspect, as on SQS; None for never.
        max_bytes: Messages over that size are refused to publishers; None for no limit.
    """

    def __init__(
        self,
        rules: Rules | None = None,
        *,
        shows_ends: bool = False,
        suspect_receives: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.rules = rules or Rules()
        self.shows_ends = shows_ends
        self.suspect_receives = suspect_receives
        self.max_bytes = max_bytes
        self.changed = Notifier()
        self.away: str | None = None
        """The reason passed to `outage`; None while there is none."""
        self.settled: list[Delivery] = []
        """Deliveries that ended, in that order."""
        self.published: list[Message] = []
        """What the publishers put on it, in that order."""
        self._waiting: dict[Lane, deque[_KeptMessage]] = {lane: deque() for lane in Lane}
        self._delayed: list[tuple[float, int, _KeptMessage]] = []
        self._held: dict[Delivery, tuple[_KeptMessage, object]] = {}
        """With who holds it."""
        self._ending: list[Delivery] = []
        self._numbers = itertools.count()
        self._ahead = 0.0
        self._failing: list[bool] = []
        self._refuses: Callable[[Message], bool] | None = None

    # --- for tests ---

    def send(self, value: bytes | None, lane: Lane = Lane.NORMAL, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Put a message onto a lane, junk too. Its facts come from the headers, as on a broker."""
        stored = _KeptMessage(next(self._numbers), lane, value, headers, self.now())
        wait = wait_seconds(decode_facts(headers, lane), stored.sent_at, stored.sent_at)
        if wait > 0:
            heapq.heappush(self._delayed, (stored.sent_at + wait, stored.number, stored))
        else:
            self._waiting[lane].append(stored)
        self.changed.set()

    @property
    def unsettled(self) -> int:
        """Messages that were put in and not settled."""
        return len(self._held) + len(self._delayed) + sum(map(len, self._waiting.values()))

    @property
    def delayed(self) -> int:
        """Messages that are not due yet."""
        self._look_for_due()
        return len(self._delayed)

    def lose(self, delivery: Delivery, to: object = None, *, clean: bool = False) -> None:
        """End the delivery's lease without notice, as an expired visibility does; or `clean`, as when a worker leaves.

        The message is delivered again, to whoever pulls first; or it is held from now on by the source `to`.
        """
        if (held := self._held.pop(delivery, None)) is not None:
            stored, _ = held
            stored.died_with = stored.died_with or not clean
            if to is not None:
                self._deliver(to, stored)
            else:
                self._waiting[stored.lane].appendleft(stored)
            delivery.lease.lose()
            self.changed.set()

    def advance(self, seconds: float) -> None:
        """Let the queue's clock run ahead: what is delayed comes due so much sooner."""
        self._ahead += seconds
        self.changed.set()

    def outage(self, reason: str | None) -> None:
        """Hand out and accept nothing from now on, for that reason; None ends the outage.

        What is settled meanwhile ends when the outage does, unless its source is gone by then.
        """
        self.away = reason
        if reason is None:
            ending, self._ending = self._ending, []
            for delivery in ending:
                self.end(delivery)
        self.changed.set()

    def fail_publishes(self, times: int = 1, *, in_doubt: bool = False) -> None:
        """Fail the next publishes; those in doubt accept the messages all the same and report that they did not."""
        self._failing += [in_doubt] * times

    def refuse(self, refuses: Callable[[Message], bool] | None) -> None:
        """Fail every message that this is true of; None accepts all again."""
        self._refuses = refuses

    # --- for its sources and publishers ---

    def now(self) -> float:
        """The queue's clock, in Unix seconds."""
        return time.time() + self._ahead

    def has(self, lanes: Iterable[Lane]) -> bool:
        """Whether there is something to hand out of these lanes now."""
        self._look_for_due()
        return self.away is None and any(self._waiting[lane] for lane in lanes)

    def next_due(self) -> float | None:
        """When the next delayed message comes due, by the queue's clock; None where none is delayed."""
        return self._delayed[0][0] if self._delayed else None

    def give(self, holder: object, budget: Mapping[Lane, int]) -> list[Delivery]:
        """Up to that many messages of each lane, each as a new delivery that `holder` has from now on."""
        given: list[Delivery] = []
        if self.has(budget):
            for lane, room in budget.items():
                waiting = self._waiting[lane]
                given += [self._deliver(holder, waiting.popleft()) for _ in range(min(room, len(waiting)))]
        return given

    def held_by(self, holder: object) -> list[Delivery]:
        """What `holder` has and has not settled, in the order in which it was sent."""
        held = [(stored.number, delivery) for delivery, (stored, owner) in self._held.items() if owner is holder]
        return [delivery for _, delivery in sorted(held, key=itemgetter(0))]

    def end(self, delivery: Delivery) -> None:
        """Settle a delivery; no effect where its lease is lost."""
        if delivery not in self._held:
            return
        if self.away is not None:
            self._ending.append(delivery)
            return
        del self._held[delivery]
        self.settled.append(delivery)

    def waiting(self) -> dict[Lane, int]:
        """Messages that nobody holds, by lane."""
        counts = {lane: len(waiting) for lane, waiting in self._waiting.items()}
        for _, _, stored in self._delayed:
            counts[stored.lane] += 1
        return counts

    def take_in(self, messages: Sequence[Message]) -> None:
        """Accept what a publisher sends. Raises `PublishFailed` where a test asked for it, and if it is too large."""
        failing, in_doubt = (True, self._failing.pop(0)) if self._failing else (False, False)
        failed: list[int] = []
        large: list[int] = []
        for position, message in enumerate(messages):
            value = codec.encode(message.envelope)
            too_large = self.max_bytes is not None and len(value) > self.max_bytes
            refused = too_large or (self._refuses is not None and self._refuses(message))
            if failing or refused:
                failed.append(position)
            if too_large:
                large.append(position)
            if not refused and (in_doubt or not failing):
                self.published.append(message)
                self.send(value, message.lane, tuple(codec.encode_facts(message.facts)))
        if failed:
            raise PublishFailed(failed, "the fake queue was set to fail", large)

    def _look_for_due(self) -> None:
        while self._delayed and self._delayed[0][0] <= self.now():
            _, _, stored = heapq.heappop(self._delayed)
            self._waiting[stored.lane].append(stored)

    def _deliver(self, holder: object, stored: _KeptMessage) -> Delivery:
        origin = Origin(f"fake.{stored.lane}", f"0-{stored.number}", stored.sent_at)
        facts = decode_facts(stored.headers, stored.lane)
        stored.receives += 1
        if self.suspect_receives is not None and stored.receives >= self.suspect_receives:
            facts = replace(facts, suspect=True, not_before=None)
        delivery = Delivery(
            decode(stored.value, origin, self.rules),
            stored.value or b"",
            origin,
            stored.lane,
            facts,
            token=stored.number,
            redelivered=stored.receives > 1,
            handed_over_at=time.monotonic() if stored.receives > 1 else None,
            left_cleanly=self.shows_ends and not stored.died_with,
        )
        self._held[delivery] = stored, holder
        return delivery
