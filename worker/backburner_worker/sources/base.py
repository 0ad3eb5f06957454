"""The source port: what gives deliveries and takes them back settled. It knows no engine and no store."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from backburner.availability import Availability
from backburner_schemas.codec import Decoded, Origin, Refused, Unaddressed
from backburner_schemas.envelope import Address, DeliveryFacts, Envelope
from backburner_schemas.errors import Undeliverable
from backburner_schemas.names import Lane


class Lease:
    """Whether a delivery is still ours. The source ends it when another worker has, or may have, the delivery."""

    __slots__ = ("_lost", "_on_lost")

    def __init__(self) -> None:
        self._lost = False
        self._on_lost: Callable[[], object] | None = None

    @property
    def lost(self) -> bool:
        """Whether the delivery went to another worker: what is under way for it is waste, and settling it is void."""
        return self._lost

    def on_lost(self, callback: Callable[[], object] | None) -> None:
        """Have this called, once and at once, when the lease is lost; a task's `cancel`, say. None takes it back."""
        self._on_lost = callback
        if self._lost and callback is not None:
            callback()

    def lose(self) -> None:
        """End the lease. For the source alone."""
        if not self._lost:
            self._lost = True
            if self._on_lost is not None:
                self._on_lost()


@dataclass(slots=True, eq=False)
class Delivery:
    """A message that this worker holds and has not settled. Equal only to itself."""

    message: Decoded
    """What the message was judged to be."""
    raw: bytes
    """The message's own bytes, for dead letters."""
    origin: Origin
    lane: Lane
    facts: DeliveryFacts
    token: object
    """What the source needs to settle it; nobody else looks inside."""
    redelivered: bool = False
    """Whether the queue tells that it was given before, to this worker or to another."""
    lease: Lease = field(default_factory=Lease)
    job: tuple[str, str] | None = field(init=False)
    """Tenant and job, kept since every step asks; None for a message that has no place."""

    def __post_init__(self) -> None:
        """Look the job up."""
        message = self.message
        if isinstance(message, Envelope):
            self.job = message.tenant, message.job
        else:
            self.job = None if isinstance(message, Unaddressed) else (message.address.tenant, message.address.job)

    @property
    def address(self) -> Address | None:
        """Where its outcome goes; None for a message that has no place."""
        message = self.message
        return None if isinstance(message, Unaddressed) else message.address

    def shed(self) -> None:
        """Let go of the request's text: its outcome is there, and takes enough memory while it waits for the store."""
        self.raw = b""
        if (address := self.address) is not None:
            self.message = Refused(address, _SHED)


_SHED = Undeliverable("its outcome is on the way to the store")

RevokedCallback = Callable[[], Awaitable[None]]
"""“Deliveries are going away: store what is done and settle it now.” Bounded by the source."""


class Source(Availability, Protocol):
    """Deliveries from a queue.

    Order: `start` once, any number of `pull` (one at a time), `begin`, `settle` and `give_back`, then `stop`, then
    `close`. Between `stop` and `close` the worker stays a member, so that what it still holds can be settled or given
    back.

    A delivery is given once, and again only if it was not settled and its lease was lost. Where the queue tells that
    its earlier owners ended uncleanly while it ran, its facts say `suspect`. The source owns heartbeats,
    rebalances and redelivery. It never calls back into the pipeline from its own task, but for `revoked`: then some
    deliveries are going away; when that call returns, the source commits what was settled and lets go. Deliveries
    that come back at the next assignment keep running under their old lease; the leases of the others are lost.

    Errors: `QueueError` where the broker cannot be reached at the start; later outages are ridden out. A source that
    cannot go on raises from `pull` and stays unusable.
    """

    async def start(self, revoked: RevokedCallback) -> None:
        """Connect and join the group."""
        ...

    async def pull(self, budget: Mapping[Lane, int]) -> list[Delivery]:
        """Up to that many deliveries of each lane; returns as soon as there is one, and empty after about a second.

        Lanes with no budget are held back at the broker: that is the back-pressure. While nothing is pulled, the
        membership stays alive. Cancelling loses no delivery.
        """
        ...

    async def begin(self, delivery: Delivery) -> None:
        """The delivery goes to the engine now.

        Returns when a crash from here on would be told to its next owner, where the queue can tell that and an earlier
        crash made it matter; otherwise at once.
        """
        ...

    async def settle(self, delivery: Delivery) -> None:
        """End the delivery: it will not be given again. Only after its outcome is durable, in the store or the queue.

        Void, without an error, for a delivery whose lease is lost.
        """
        ...

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """These were not begun and will not be: where the queue can give single messages to others, it does so now.

        Elsewhere they go to others with `close`. The caller forgets them either way. Bounded to a few seconds, and
        raises nothing: what could not be given back goes to others later. Void for those whose lease is lost.
        """
        ...

    def lag(self) -> Mapping[Lane, int]:
        """Messages on the broker that are not settled yet, by lane, of what this worker is assigned. An estimate."""
        ...

    def uncommitted(self) -> int:
        """Deliveries given out whose end the queue does not have yet: what a kill -9 now would have run again."""
        ...

    async def stop(self) -> None:
        """Give no more deliveries, but stay a member."""
        ...

    async def close(self, *, clean: bool = True) -> None:
        """Commit what is settled and leave; what is not settled goes to others at once. Bounded; safe to repeat.

        Not `clean`: what began and is not settled may be what ends workers, so others are told as after a crash.
        """
        ...


@dataclass(frozen=True, slots=True)
class MarkFigures:
    """How it stands with the marks that a source keeps on the broker beside its offsets."""

    kept: bool | None
    """Whether the broker keeps them; None while that is not known."""
    fill: float
    """The fullest partition's share of the room that the broker has for them, 0 to 1."""
    stopped: int
    """Partitions that are not read on because their room is nearly full."""


@runtime_checkable
class KeepsMarks(Protocol):
    """A source that keeps marks on the broker, so that work done out of order is not done again."""

    def marks(self) -> MarkFigures:
        """How it stands with them."""
        ...
