"""The source port: hands out deliveries and is told when they are settled. It knows no engine and no store."""

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
        """Whether the delivery went to another worker: work on it is wasted, and settling it has no effect."""
        return self._lost

    def on_lost(self, callback: Callable[[], object] | None) -> None:
        """Call this, once and at once, when the lease is lost; a task's `cancel`, say. None removes the callback."""
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
    """What the message was decoded to."""
    raw: bytes
    """The message's own bytes, for dead letters."""
    origin: Origin
    lane: Lane
    facts: DeliveryFacts
    token: object
    """What the source needs to settle it; nobody else looks inside."""
    redelivered: bool = False
    """Whether the queue reports that it was delivered before, to this worker or to another."""
    handed_over_at: float | None = None
    """Monotonic seconds by which each earlier owner had let go of it, where one may have stored its outcome and the
    queue does not know; None where none can have."""
    left_cleanly: bool = False
    """Whether the queue shows that who ran it last let go of it in order; False where it cannot show that."""
    lease: Lease = field(default_factory=Lease)
    on_drop: Callable[[], object] | None = None
    """Has the source drop the request's text too, where it keeps it."""
    job: tuple[str, str] | None = field(init=False)
    """Tenant and job, kept since every step needs it; None for a message without an address."""

    def __post_init__(self) -> None:
        """Look the job up."""
        message = self.message
        if isinstance(message, Envelope):
            self.job = message.tenant, message.job
        else:
            self.job = None if isinstance(message, Unaddressed) else (message.address.tenant, message.address.job)

    @property
    def address(self) -> Address | None:
        """Where its outcome goes; None for a message without an address."""
        message = self.message
        return None if isinstance(message, Unaddressed) else message.address

    def drop_payload(self) -> None:
        """Drop the request's text: its outcome exists, and takes enough memory while it waits for the store."""
        self.raw = b""
        if self.on_drop is not None:
            self.on_drop()
        if (address := self.address) is not None:
            self.message = Refused(address, _DROPPED)


_DROPPED = Undeliverable("its outcome is being stored")

RevokedCallback = Callable[[], Awaitable[None]]
"""“Deliveries are going away: store what is done and settle it now.” Bounded by the source."""


class Source(Availability, Protocol):
    """Deliveries from a queue.

    Order: `start` once, any number of `pull` (one at a time), `begin`, `settle` and `give_back`, then `stop`, then
    `close`. Between `stop` and `close` the worker stays a member, so that what it still holds can be settled or given
    back.

    A delivery is handed out once, and again only if it was not settled and its lease was lost. Where the queue shows
    that its earlier owners ended uncleanly while it ran, its facts have `suspect` set. The source owns heartbeats,
    rebalances and redelivery. It never calls back into the pipeline from its own task, but for `revoked`: then some
    deliveries are going away; when that call returns, the source commits what was settled and lets go. Deliveries that
    come back at the next assignment keep running under their old lease; the leases of the others are lost.

    Errors: `QueueError` where the broker cannot be reached at the start; later outages are ridden out. A source that
    cannot go on raises from `pull` and stays unusable.
    """

    async def start(self, revoked: RevokedCallback) -> None:
        """Connect and join the group."""
        ...

    async def pull(self, budget: Mapping[Lane, int]) -> list[Delivery]:
        """Up to that many deliveries of each lane; returns as soon as there is one, and empty after about a second.

        Lanes with no budget are held back at the broker: this is back-pressure. While nothing is pulled, the
        membership stays alive. Cancelling loses no delivery.
        """
        ...

    async def begin(self, delivery: Delivery) -> None:
        """The delivery goes to the engine now.

        Returns when its next owner would learn of a crash from here on, where the queue can record that and an earlier
        crash made it matter; otherwise at once.
        """
        ...

    async def settle(self, delivery: Delivery) -> None:
        """End the delivery: it will not be redelivered. Only after its outcome is durable, in the store or the queue.

        Has no effect, and raises nothing, for a delivery whose lease is lost.
        """
        ...

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Return deliveries that will not be begun: where the queue can hand single messages to others, it does so now.

        Elsewhere they go to others with `close`. The caller forgets them either way. Bounded to a few seconds, and
        raises nothing: what could not be returned goes to others later. No effect on those whose lease is lost.
        """
        ...

    def lag(self) -> Mapping[Lane, int]:
        """Messages on the broker that are not settled yet, by lane, of what this worker is assigned. An estimate."""
        ...

    def uncommitted(self) -> int:
        """Deliveries handed out that the queue has not recorded as done: what would run again after a kill -9 now."""
        ...

    async def stop(self) -> None:
        """Hand out no more deliveries, but stay a member."""
        ...

    async def close(self, *, clean: bool = True) -> None:
        """Commit what is settled and leave; what is not settled goes to others at once. Bounded; safe to repeat.

        Not `clean`: what began and is not settled may be what kills workers, so others see it as after a crash.
        """
        ...


@dataclass(frozen=True, slots=True)
class OffsetMetadata:
    """The state of the metadata that a source stores on the broker beside its offsets: its marks."""

    supported: bool | None
    """Whether the broker stores it; None while that is not known."""
    usage_ratio: float
    """Share of the space for it that is in use in the fullest partition, 0 to 1."""
    partitions_paused: int
    """Partitions that are not read on because that space is nearly full."""


@runtime_checkable
class KeepsOffsetMetadata(Protocol):
    """A source that stores marks beside its offsets, so that work done out of order is not done again."""

    def offset_metadata(self) -> OffsetMetadata:
        """Its state now."""
        ...


@dataclass(frozen=True, slots=True)
class LogLosses:
    """What logs of the queue lost of their own, since the source was opened: by topic."""

    records_lost: Mapping[str, int]
    """Records, at most, that the queue deleted before anybody read them."""
    logs_restarted: Mapping[str, int]
    """Partitions found to be another log than before, whole or from some offset on."""


@runtime_checkable
class ReadsLogs(Protocol):
    """A source whose queue is logs, which can lose records that were not settled."""

    def log_losses(self) -> LogLosses:
        """What was lost so far."""
        ...
