"""The source on SQS: long polls on the queues of all lanes, and a heartbeat for everything that is held.

It moves messages and receipts, and decides nothing: who is held until when is pure state in `in_flight`, what to ask
for next in `intake`; `calls` makes the calls, and `heartbeats` does what follows from their answers.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from backburner.logs import get_logger
from backburner.publishers.sqs.connection import FAILURES
from backburner.settings import Settings
from backburner_schemas.codec import Rules
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, RevokedCallback
from backburner_worker.sources.sqs.availability import SqsAvailability
from backburner_worker.sources.sqs.calls import Poll, SqsCalls
from backburner_worker.sources.sqs.heartbeats import Heartbeats
from backburner_worker.sources.sqs.in_flight import SEND_AGAIN_AFTER_SECONDS, InFlightMessage, InFlightMessages
from backburner_worker.sources.sqs.intake import SqsIntake
from backburner_worker.sources.sqs.times import SqsTimes
from backburner_worker.sources.supervisor import Supervisor

log = get_logger(__name__)

MAX_UNDELETED_MESSAGES = 20_000
"""Settled messages that wait for their deletion, at which no more is taken in."""
_PULL_SECONDS = 1.0
_CLOSE_SECONDS = 5.0
"""For what is under way at the end, beyond the wait of the last polls."""
_COUNT_SECONDS = 5.0
_HOLD_SECONDS = 2.0
"""What is due within this is held here; what is due later is made invisible, at the price of one receipt more."""


class SqsSource:
    """A `Source` on SQS; see the port for what it promises."""

    def __init__(
        self,
        settings: Settings,
        *,
        queues: Mapping[str, Lane],
        rules: Rules,
        times: SqsTimes,
        send_again_after: float = SEND_AGAIN_AFTER_SECONDS,
    ) -> None:
        """Raises `SettingsError` if the settings cannot lead to SQS."""
        self._rules = rules
        self._times = times
        self._held = InFlightMessages(times.visibility_seconds, send_again_after=send_again_after)
        self._intake = SqsIntake(queues.values())
        self._calls = SqsCalls(settings, dict(queues), wait=times.wait_seconds, visibility=times.visibility_seconds)
        self._supervisor = Supervisor()
        self._availability = SqsAvailability(settings, self._supervisor.fail)
        self._heartbeats = Heartbeats(
            self._held, self._calls, self._availability, rules, times.visibility_seconds, fail=self._supervisor.fail
        )
        self._lag = dict.fromkeys(queues.values(), 0)
        self._polls: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._closed = False

    # --- the port ---

    async def start(self, revoked: RevokedCallback) -> None:  # noqa: ARG002 - nothing is announced here before it goes
        """Connect and check that the queues exist. Raises `QueueError`."""
        try:
            policies = await self._calls.open()
        except BaseException:
            await self.close()
            raise
        for lane, policy in policies.items():
            log.warning(
                "the queue has a redrive policy, which moves requests away without a record; remove it",
                lane=lane,
                policy=policy,
            )
        self._supervisor.start(self._run(), name="sqs-source")

    async def pull(self, budget: Mapping[Lane, int]) -> list[Delivery]:
        """Up to that many deliveries of each lane; see the port."""
        self._intake.want(budget)
        until = time.monotonic() + _PULL_SECONDS
        while True:
            self._supervisor.check()
            self._poll_on()
            self._supervisor.news.clear()
            deliveries = [self._delivery(held) for held in self._intake.hand_out(time.monotonic())]
            if deliveries or not await self._supervisor.news_until(until, self._intake.due_at()):
                return deliveries

    async def begin(self, delivery: Delivery) -> None:
        """The delivery goes to the engine; SQS counts receipts by itself."""
        if isinstance(held := delivery.token, InFlightMessage):
            held.begun = True

    async def settle(self, delivery: Delivery) -> None:
        """End the delivery; it is deleted within about a tenth of a second, or as soon as SQS answers again."""
        if self._held.settle(delivery):
            self._heartbeats.delete_soon()

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Make these visible to others at once; their leases are lost."""
        await self._release([held for each in deliveries if isinstance(held := each.token, InFlightMessage)])

    def lag(self) -> Mapping[Lane, int]:
        """Messages on the pool's queues, whoever holds them, as of a few seconds ago."""
        return {lane: max(count - self._heartbeats.deleted[lane], 0) for lane, count in self._lag.items()}

    def uncommitted(self) -> int:
        """Deliveries given out and not deleted."""
        return self._held.uncommitted

    def unavailable_reason(self) -> str | None:
        """Why SQS does not give, extend or delete; None while it does."""
        return self._availability.unavailable_reason()

    async def stop(self) -> None:
        """Give no more deliveries; what was read ahead goes back at once, what is given out stays ours."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._intake.stop()
            await self._release(self._held.waiting())

    async def close(self, *, clean: bool = True) -> None:
        """Delete what is settled and give the rest back. Bounded; safe to repeat.

        Not `clean`, what began is left as a kill leaves it: it comes back when its visibility ends, with its receipts.
        """
        if self._closed:
            return
        self._closed = True
        self._stopping.set()
        self._intake.stop()
        if not clean:
            for held in self._held.unsettled():
                if held.begun:
                    self._held.drop(held)
        if await self._supervisor.end():
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._heartbeats.finish()
            except TimeoutError:
                log.warning("SQS did not take everything back in time; it gives it again when its visibility ends")
            await self._last_polls()
        for held in self._held.unsettled():
            self._held.drop(held)
        await self._calls.close()
        self._supervisor.news.set()

    # --- tasks ---

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._heartbeats.run())
            group.create_task(self._count())

    async def _count(self) -> None:
        while True:
            for lane in self._lag:
                try:
                    before = self._heartbeats.deleted[lane]
                    self._lag[lane] = await self._calls.waiting(lane)
                    self._heartbeats.deleted[lane] -= before
                except FAILURES as error:
                    self._availability.failed("count", error)
                else:
                    self._availability.answered("count")
            self._supervisor.news.set()
            await asyncio.sleep(_COUNT_SECONDS)

    # --- polls ---

    def _poll_on(self) -> None:
        """Begin the calls that the intake wants now."""
        if self._held.settled >= MAX_UNDELETED_MESSAGES:
            return
        for lane, size in self._intake.polls():
            task = asyncio.create_task(self._poll(lane, size), name=f"sqs-poll-{lane}")
            self._polls.add(task)
            task.add_done_callback(self._polled)

    def _polled(self, task: asyncio.Task[None]) -> None:
        self._polls.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._supervisor.fail(error)
        elif not self._stopping.is_set():
            self._poll_on()

    async def _poll(self, lane: Lane, size: int) -> None:
        """One call. It is never cancelled: its thread would go on and take messages that nobody looks at."""
        came = 0
        try:
            poll = await self._calls.receive(lane, size)
            self._availability.answered("receive")
            came = len(poll.messages)
            await self._take(poll)
        except FAILURES as error:
            pause = self._availability.failed("receive", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
        finally:
            self._intake.polled(lane, size, came)

    async def _take(self, poll: Poll) -> None:
        """Hold what came, and give back what is not to be run now."""
        back: list[InFlightMessage] = []
        later: list[tuple[InFlightMessage, int]] = []
        now, unix = time.monotonic(), time.time()
        for received in poll.messages:
            held = self._held.take(received, poll.begun)
            if held is None:
                continue
            wait = received.wait_seconds(unix)
            if self._stopping.is_set():
                back.append(held)
            elif wait > _HOLD_SECONDS:
                later.append((held, int(wait) + 1))
            else:
                self._intake.add(held, now + wait if wait > 0 else None)
        if poll.messages:
            self._supervisor.news.set()
            self._heartbeats.delete_soon()
        if later:
            await self._heartbeats.delay(later)
        if back:
            await self._heartbeats.release(back)

    async def _last_polls(self) -> None:
        """Wait for the calls that still wait for messages: what they bring is given back as it comes."""
        if self._polls:
            _, late = await asyncio.wait({*self._polls}, timeout=self._times.wait_seconds + _CLOSE_SECONDS)
            if late:
                log.warning("calls to SQS did not end; what they may bring is invisible for a while", calls=len(late))
            for task in late:
                task.cancel()

    async def _release(self, messages: Sequence[InFlightMessage]) -> None:
        """Let these go. What SQS does not hear of in time comes back when its visibility ends."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._heartbeats.release(messages)

    # --- small things ---

    def _delivery(self, held: InFlightMessage) -> Delivery:
        delivery = held.received.delivery(self._rules, held)
        if delivery.redelivered:
            # An owner renews its visibility when a third of it is over: it was silent for more than half of it.
            delivery.handed_over_at = held.since - self._times.visibility_seconds / 2
        self._held.give(held, delivery)
        return delivery
