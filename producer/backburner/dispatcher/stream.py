"""What is left to send of one planned job: its requests in turns, and how far the broker has acknowledged them.

It reads the spool, which is a local file, and decides nothing about whose turn it is.
"""

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from backburner.dispatcher.sharing.scheduler import Queue
from backburner.inputs.fast_check import fast_check
from backburner.ordering.plan import Plan
from backburner.ordering.spool import Spool, SpooledLine
from backburner.publishers.encoded import EncodedMessages
from backburner.submission.envelopes import Envelopes
from backburner_schemas.errors import RequestRefused, StoredObjectBroken
from backburner_schemas.job import JobManifest

TURN_BYTES = 1 << 20
"""Of the lines of one turn, but for the last one."""
MAX_TURNS_IN_FLIGHT = 4
"""Turns of one job that the broker has not acknowledged."""
MAX_UNCONFIRMED_REQUESTS = 50_000
"""Requests beyond the cursor: what a successor sends once more at most."""


@dataclass(slots=True, eq=False)
class Turn:
    """Some requests of a job, next to each other in its plan, on their way to one lane."""

    queue: Queue
    messages: EncodedMessages
    end: int
    """The position behind the last."""
    acknowledged: bool = False


class JobStream:
    """The requests of one job, from a position of its plan on."""

    def __init__(
        self,
        manifest: JobManifest,
        plan: Plan,
        spool: Spool,
        start: int,
        *,
        max_bytes: int,
        now: Callable[[], float],
    ) -> None:
        """Everything before `start` is on the broker. `now` dates requests, in Unix seconds by the store's clock."""
        self._now = now
        self.manifest = manifest
        self._plan = plan
        self._spool = spool
        self._pools = [pool for pool, _ in plan.pools]
        self._ends = [*accumulate(count for _, count in plan.pools)]
        self._envelopes = Envelopes(manifest)
        self._max_bytes = max_bytes
        self._in_flight: deque[Turn] = deque()
        self.total = plan.count
        self.sent = start
        """The position up to which requests were given out."""
        self.acknowledged = start
        """The position up to which the broker has all requests."""
        self.confirmed = start
        """The position that the cursor tells."""
        self.sent_at = time.monotonic()
        """Monotonic seconds at which a turn was given out last, or of the beginning."""
        self.stopped = False
        """Whether nothing more is to be given out."""
        self.trouble = ""
        """Why the queue did not take what was given out last; empty if it did."""
        self.failure: Exception | None = None
        """Why nothing more can be given out, if that is so."""

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.manifest.tenant

    @property
    def created_at(self) -> float:
        """Unix seconds."""
        return self.manifest.created_at

    @property
    def deadline(self) -> float:
        """Unix seconds."""
        return self.manifest.deadline

    @property
    def queue(self) -> Queue:
        """The lane that its next requests go to; of one that is through, where its last ones went."""
        return self._pools[min(bisect_right(self._ends, self.sent), len(self._pools) - 1)], self.manifest.priority

    @property
    def left(self) -> int:
        """Requests that were not given out yet."""
        return self.total - self.sent

    @property
    def may_send(self) -> bool:
        """Whether there is something to send, and not too much that nobody has confirmed."""
        return (
            not self.stopped
            and self.left > 0
            and len(self._in_flight) < MAX_TURNS_IN_FLIGHT
            and self.sent - self.confirmed < MAX_UNCONFIRMED_REQUESTS
        )

    @property
    def quiet(self) -> bool:
        """Whether the broker has acknowledged all that was given out."""
        return not self._in_flight

    async def take(self, room: int) -> Turn | None:
        """The next turn, of so many requests at most; it ends with a group where it can.

        None, and `failure` says why, where the lines cannot be read or are not what they were.
        """
        queue, start = self.queue, self.sent
        try:
            lines = await self._spool.lines(start, start + room + 1, max_bytes=TURN_BYTES)
            chosen = whole_groups(lines, room, ends=start + len(lines) == self.total)
            members = [line.members(self._max_bytes) for line in self._believed(chosen)]
        except (OSError, ValueError, RequestRefused, StoredObjectBroken) as error:
            self.fail(error)
            return None
        if self.stopped:
            return None
        messages = self._envelopes.grouped(
            members, [line.index for line in chosen], [line.group for line in chosen], queue[0], self._now()
        )
        self.sent += len(chosen)
        self.sent_at = time.monotonic()
        turn = Turn(queue, messages, self.sent)
        self._in_flight.append(turn)
        return turn

    def fail(self, error: Exception) -> None:
        """Nothing more can be given out, since this went wrong."""
        self.stopped, self.failure = True, error

    def _believed(self, lines: Sequence[SpooledLine]) -> Sequence[SpooledLine]:
        """The lines; none of them travels as it stands because a stored plan says so alone.

        A line with fields of its own could give its envelope the address of another tenant.
        """
        verbatim = [line.data for line in lines if line.verbatim]
        if self._plan.made_here or not verbatim or fast_check(verbatim, self._max_bytes) is not None:
            return lines
        return [line._replace(verbatim=False) for line in lines]

    def acknowledge(self, turn: Turn) -> None:
        """The broker has all of that turn."""
        turn.acknowledged = True
        while self._in_flight and self._in_flight[0].acknowledged:
            self.acknowledged = self._in_flight.popleft().end

    def close(self) -> None:
        """Remove plan and spool from the disk; nothing can be sent any more."""
        self.stopped = True
        self._spool.close()
        self._plan.close()


def whole_groups(lines: Sequence[SpooledLine], room: int, *, ends: bool) -> Sequence[SpooledLine]:
    """The first of the lines, all for one pool and at most as many as there is room for; whole groups if possible.

    `ends` says that no line follows. Pure.
    """
    pool = lines[0].pool
    fit = next((place for place, line in enumerate(lines) if line.pool != pool), len(lines))
    # Groups end with their pool.
    if fit <= room and (ends or fit < len(lines)):
        return lines[:fit]
    fit = min(fit, room)
    cut = fit
    following = lines[fit].group if fit < len(lines) else lines[fit - 1].group
    while cut and lines[cut - 1].group == following:
        cut -= 1
    return lines[: cut or fit]
