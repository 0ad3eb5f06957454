"""One run of faults on a stage: each under load and waited out, then the checker's verdict."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from chaos.book import Expect
from chaos.faults import Injector
from chaos.journals import Mark
from chaos.kafka_state import LANES
from chaos.patience import NeverCame, until
from chaos.redone import Struck, redone
from chaos.report import FaultRow, Report
from chaos.schedule import WORKER_FAULTS, Fault, Kind
from chaos.stage import Stage

_BEGIN_SECONDS = 90.0
_RECOVER_SECONDS = 120.0
_BEGUN_REQUESTS = 10
"""Requests that have begun before a fault comes."""
_POISONS = {Kind.POISON: "[[die]]", Kind.POISON_WORKER: "[[kill]]"}
_COME_BACK_FACTOR = 1.2
_SUSPECTS = ('backburner_lag_messages{lane="retry"}', 'backburner_deliveries_in_flight{stage="suspects"}')


class Run:
    """Faults on a stage, and what came of them."""

    def __init__(self, stage: Stage, report: Report, *, requests: int, stopped_seconds: float, judged: bool) -> None:
        """About `requests` are in the system at each fault.

        `stopped_seconds` is how long a stopped worker sleeps: longer than its session or visibility. `judged` is
        whether work that is redone beyond its bound breaks a promise, as where commit metadata is kept.
        """
        self._stage = stage
        self._report = report
        self._requests = requests
        self._judged = judged
        self._recover_seconds = _RECOVER_SECONDS * stage.crew.patience
        self._injector = Injector(
            stage.servers,
            stage.workers,
            stage.services,
            stage.journals,
            topics=[f"{stage.book.prefix}.{stage.book.pool}.{lane}" for lane in LANES],
            stopped_seconds=stopped_seconds,
        )
        self._struck: list[tuple[FaultRow, Struck]] = []
        self._redelivered: dict[tuple[str, int], float] = {}
        self._last_over = 0.0

    async def run(self, plan: Sequence[Fault]) -> None:
        """Inject all of them, wait for the end of all that was asked, and judge; the report has it all."""
        try:
            await self._faults(plan)
        except NeverCame as error:
            self._report.breaches.append(str(error))
        queue = await self._stage.look()
        await self._note_redelivered()
        self._report.verdict = self._stage.check(queue)
        self._judge()

    async def _faults(self, plan: Sequence[Fault]) -> None:
        async with self._stage.load.trickle():
            for fault in plan:
                await self._fault(fault)
        await self._stage.load.finish(self._recover_seconds)

    async def _fault(self, fault: Fault) -> None:
        stage = self._stage
        if fault.kind in WORKER_FAULTS:
            await self._calm()
        mark = stage.journals.mark()
        poison = _POISONS.get(fault.kind)
        if poison is not None:
            stage.workers.expect_ends(expected=True)
        batch = stage.load.begin(self._requests, [stage.load.ask(poison, Expect.POISON)] if poison else None)

        some = min(_BEGUN_REQUESTS, self._requests // 2)
        await until(
            partial(self._under_way, mark, some), f"work under way before fault {fault.number}", seconds=_BEGIN_SECONDS
        )
        row = FaultRow(fault, waiting=max(self._requests - len(stage.journals.begun_since(mark)), 0))
        self._report.rows.append(row)
        began = time.monotonic()
        struck = await self._injector.inject(fault)
        over = self._last_over = time.monotonic()
        row.lasted = over - began
        await stage.load.accepted(batch)
        await stage.load.done(batch, self._recover_seconds)
        row.recovered = time.monotonic() - over
        await stage.all_ready()
        stage.workers.expect_ends(expected=False)
        await self._note_redelivered()
        if struck is not None:
            row.struck, row.bound = struck.place, struck.bound
            self._struck.append((row, struck))
        print(
            f"{fault.number:4} {fault.kind:14} {row.struck:8} lasted {row.lasted:4.1f} s, "
            f"recovered in {row.recovered:4.1f} s",
            flush=True,
        )

    async def _under_way(self, mark: Mark, some: int) -> bool:
        """Whether so many requests were begun since then; of real engines, which keep no journal, whether any runs."""
        stage = self._stage
        if not stage.crew.real:
            return len(stage.journals.begun_since(mark)) >= some
        pages = [await asyncio.to_thread(place.metrics) for place in stage.workers.manned]
        return any(page.get('backburner_deliveries_in_flight{stage="engine"}', 0) for page in pages)

    async def _calm(self) -> None:
        """Until no suspect waits to run alone: an innocent one that is killed twice while it is alone is convicted.

        What the last fault left with a dead owner comes back only when its session or visibility is over.
        """
        await asyncio.sleep(self._last_over + self._stage.servers.patience * _COME_BACK_FACTOR - time.monotonic())

        async def none_waits() -> bool:
            pages = [await asyncio.to_thread(place.metrics) for place in self._stage.workers.manned]
            return all(page and not any(page.get(name, 0) for name in _SUSPECTS) for page in pages)

        await until(none_waits, "an end of all suspects", seconds=self._recover_seconds)

    async def _note_redelivered(self) -> None:
        for place in self._stage.workers.manned:
            page = await asyncio.to_thread(place.metrics)
            count = page.get("backburner_deliveries_redelivered_total", 0.0)
            self._redelivered[place.name, place.started] = count

    def _judge(self) -> None:
        report, stage = self._report, self._stage
        report.breaches += stage.supervisor.ends
        report.restarts = stage.supervisor.restarts
        report.client_errors = len(stage.load.errors)
        report.redelivered = int(sum(self._redelivered.values()))
        report.begun_again = stage.journals.begun_again()
        for row, struck in () if stage.crew.real else self._struck:
            row.redone = redone(struck, stage.journals)
            if self._judged and (row.bound is None or row.redone > row.bound):
                report.breaches.append(
                    f"redone: {row.redone} of {struck.place}'s requests after fault {row.fault.number}, "
                    f"and no more than {row.bound} were uncommitted"
                )
