"""How long messages wait, as the latest pull of each lane shows it. Pure: it is told the time."""

import math
from collections.abc import Iterable

from backburner_schemas.envelope import Envelope
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery

_NEVER = math.inf, 0.0


class OldestMessages:
    """A queue hands out the oldest first, so what was pulled last tells how old what is still there can be."""

    def __init__(self) -> None:
        self._queued_at: dict[Lane, float] = {}
        """When the oldest message of the latest pull came onto the queue, in Unix seconds."""
        self._urgent: dict[Lane, tuple[float, float]] = {}
        """The earliest deadline of the latest pull, and when that request was made."""

    def pulled(self, deliveries: Iterable[Delivery]) -> None:
        """Note a pull."""
        lanes: dict[Lane, list[Delivery]] = {}
        for delivery in deliveries:
            lanes.setdefault(delivery.lane, []).append(delivery)
        for lane, those in lanes.items():
            stamps = [delivery.origin.timestamp for delivery in those if delivery.origin.timestamp > 0]
            messages = [delivery.message for delivery in those if isinstance(delivery.message, Envelope)]
            deadlines = [(one.deadline, one.enqueued_at) for one in messages if one.deadline is not None]
            self._queued_at[lane] = min(stamps, default=math.inf)
            self._urgent[lane] = min(deadlines, default=_NEVER)

    def age_seconds(self, lane: Lane, now: float) -> float:
        """For how long the oldest message of the latest pull has been on the queue; 0 where none was pulled."""
        return max(now - self._queued_at.get(lane, math.inf), 0.0)

    def deadline_ratio(self, lane: Lane, now: float) -> float:
        """How much of its time the most urgent message of the latest pull has used, 1 at its deadline; 0 for none."""
        deadline, enqueued_at = self._urgent.get(lane, _NEVER)
        if now >= deadline:
            return 1.0
        return min(max(now - enqueued_at, 0.0) / (deadline - enqueued_at), 1.0) if enqueued_at < deadline else 0.0
