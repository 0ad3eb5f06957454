"""Keeps what is held: extends it, deletes what is settled, releases, resends. The calls are made side by side.

`in_flight` decides what is due when. Nothing here waits for SQS before it looks at the clock again: a lease that
could not be extended in time is lost on time.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from typing import Any

from backburner.logs import get_logger
from backburner.publishers.base import Message
from backburner.publishers.sqs.connection import FAILURES
from backburner.publishers.sqs.message import MAX_BYTES, Entry, batches, entry_of
from backburner_schemas.codec import Rules
from backburner_schemas.envelope import Envelope
from backburner_schemas.names import Lane
from backburner_worker.sources.sqs.availability import SqsAvailability
from backburner_worker.sources.sqs.calls import MAX_BATCH_MESSAGES, SqsCalls
from backburner_worker.sources.sqs.in_flight import InFlightMessage, InFlightMessages

log = get_logger(__name__)

_LINGER_SECONDS = 0.05
"""How long a settled message waits for others, so that batches are full."""
_POLL_SECONDS = 0.5
_VOID = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "InvalidReceiptHandle",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
        # The receipt has expired, or the message was held for twelve hours in all.
        "InvalidParameterValue",
    }
)
"""Codes for a receipt that is no longer valid."""


class Heartbeats:
    """Does what is due for the held messages."""

    def __init__(
        self,
        held: InFlightMessages,
        calls: SqsCalls,
        availability: SqsAvailability,
        rules: Rules,
        visibility: float,
        *,
        fail: Callable[[BaseException], None],
    ) -> None:
        """`fail` is called with what must not happen: the source cannot go on."""
        self._held = held
        self._calls = calls
        self._availability = availability
        self._fail = fail
        self._rules = rules
        self._look = min(_POLL_SECONDS, visibility / 24)
        self._extensions: set[asyncio.Task[None]] = set()
        self._others: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.deleted = dict.fromkeys(Lane, 0)
        """Deletions so far, by which others count what is left."""

    async def run(self) -> None:
        """Do what is due, for ever. Never waits for SQS."""
        while True:
            self._tend()
            await asyncio.sleep(self._look)

    def _tend(self) -> None:
        now = time.monotonic()
        if lost := self._held.expired(now):
            log.warning("visibility not extended in time; dropping the messages, others may have them", count=len(lost))
        if old := self._held.too_long(now):
            log.info(
                "messages held for nearly twelve hours, SQS's limit; sending them again as new ones", count=len(old)
            )
        for batch in _batches(old):
            self._start(self._others, self._resend(batch))
        for batch in _batches(self._held.due_heartbeats(now)):
            self._start(self._extensions, self._extend(batch))
        self._delete_now()

    # --- extend ---

    async def _extend(self, batch: list[InFlightMessage]) -> None:
        asked = time.monotonic()
        handles, seconds = [held.handle for held in batch], [self._held.extension(held, asked) for held in batch]
        try:
            refused = await self._calls.extend(batch[0].received.lane, handles, seconds)
        except FAILURES as error:
            self._availability.failed("extend", error)
            for held in batch:
                self._held.not_extended(held, time.monotonic())
            return
        self._availability.answered("extend")
        void = 0
        for held, handle, granted in zip(batch, handles, seconds, strict=True):
            code = refused.get(handle)
            if code is None:
                self._held.extended(held, handle, asked, granted)
            elif code in _VOID:
                # One that was deleted meanwhile is void, too.
                void += self._held.refused(held, handle)
            else:
                self._held.not_extended(held, time.monotonic())
        if void:
            log.warning("receipts are no longer valid; dropping the messages, others may have them", count=void)

    # --- delete ---

    def delete_soon(self) -> None:
        """Delete what is settled: at once where that fills a batch, else within the linger."""
        if self._held.to_delete >= MAX_BATCH_MESSAGES:
            self._delete_now()
        elif self._held.to_delete and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._delete_now)

    def _delete_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for batch in _batches(self._held.deletions(time.monotonic())):
            self._start(self._others, self._delete(batch))

    async def _delete(self, batch: list[InFlightMessage]) -> None:
        lane, handles = batch[0].received.lane, [held.handle for held in batch]
        try:
            refused = await self._calls.delete(lane, handles)
        except FAILURES as error:
            self._availability.failed("delete", error)
            self._held.not_deleted(batch, time.monotonic())
            return
        self._availability.answered("delete")
        for held, handle in zip(batch, handles, strict=True):
            code = refused.get(handle)
            if code is not None and code not in _VOID:
                self._held.not_deleted([held], time.monotonic())
            elif self._held.deleted(held, handle):
                self.deleted[lane] += 1

    # --- release ---

    async def release(self, messages: Iterable[InFlightMessage]) -> None:
        """Let these go, for others to have at once. Their leases are lost."""
        found = [held for held in messages if not held.dropped]
        for held in found:
            self._held.drop(held)
        if found and self._extensions:
            # One that is under way would make them invisible again.
            await asyncio.wait({*self._extensions})
        anew = [held for held in found if held.is_sent_anew]
        back = [(held, 0) for held in found if not held.is_sent_anew]
        await asyncio.gather(self.delay(back), *(self._resend(batch) for batch in _batches(anew)))

    async def delay(self, messages: Iterable[tuple[InFlightMessage, int]]) -> None:
        """Let these go, and make them visible to all after so many seconds. What SQS refuses comes back later."""
        seconds = dict(messages)
        for held in seconds:
            self._held.drop(held)
        await asyncio.gather(*(self._delay(batch, [seconds[held] for held in batch]) for batch in _batches(seconds)))

    async def _delay(self, batch: list[InFlightMessage], seconds: list[int]) -> None:
        try:
            await self._calls.extend(batch[0].received.lane, [held.handle for held in batch], seconds)
        except FAILURES as error:
            self._availability.failed("extend", error)
        else:
            self._availability.answered("extend")

    async def finish(self) -> None:
        """Delete what is settled and give everything else back."""
        releasing = asyncio.ensure_future(self.release(self._held.unsettled()))
        try:
            while self._held.settled:
                self._delete_now()
                if self._others:
                    await asyncio.wait({*self._others}, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(_LINGER_SECONDS)
            await releasing
            if self._others:
                await asyncio.wait({*self._others})
        finally:
            releasing.cancel()
            if self._timer is not None:
                self._timer.cancel()

    # --- resend ---

    async def _resend(self, batch: list[InFlightMessage]) -> None:
        """Put new messages into the places of these, which are dropped; what cannot be sent is given back as it is.

        What is known of a message is believed on `retry` alone: so that is where suspects go.
        """
        lane = batch[0].received.lane
        entries: defaultdict[Lane, list[Entry]] = defaultdict(list)
        for number, held in enumerate(batch):
            if (message := self._anew(held)) is not None:
                entry = entry_of(number, message, time.time())
                if entry.size <= MAX_BYTES:
                    entries[message.lane].append(entry)
        sent: set[int] = set()
        try:
            for target, of_target in entries.items():
                for part in batches(of_target):
                    sent |= await self._calls.send(target, part)
            self._availability.answered("send")
        except FAILURES as error:
            self._availability.failed("send", error)
        await self._replaced(lane, [batch[number] for number in sent])
        left = [(held, 0) for number, held in enumerate(batch) if number not in sent]
        if left:
            await self.delay(left)

    async def _replaced(self, lane: Lane, messages: list[InFlightMessage]) -> None:
        """New messages are in the places of these: delete them."""
        if not messages:
            return
        for held in messages:
            self._held.remember(held.received.id)
        try:
            await self._calls.delete(lane, [held.handle for held in messages])
        except FAILURES as error:
            self._availability.failed("delete", error)
        else:
            self._availability.answered("delete")

    def _anew(self, held: InFlightMessage) -> Message | None:
        """The message to send for it; None for what has no envelope."""
        delivery = held.received.delivery(self._rules, held)
        if not isinstance(delivery.message, Envelope):
            return None
        facts = replace(delivery.facts, not_before=None)
        return Message("", Lane.RETRY if facts.suspect else held.received.lane, delivery.message, facts)

    def _start(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._fail(error)

        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(ended)


def _batches(messages: Iterable[InFlightMessage]) -> Iterator[list[InFlightMessage]]:
    """In batches of one queue each, as large as SQS takes them."""
    by_lane = sorted(messages, key=lambda held: held.received.lane)
    for _, group in itertools.groupby(by_lane, key=lambda held: held.received.lane):
        found = list(group)
        for start in range(0, len(found), MAX_BATCH_MESSAGES):
            yield found[start : start + MAX_BATCH_MESSAGES]
