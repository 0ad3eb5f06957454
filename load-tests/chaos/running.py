"""One run of the fault harness on servers that are up: workers warm, faults one after the other, then the checker."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backburner import Client
from backburner.cli.stack import ensure_pool
from backburner.local.ports import PortLeases
from backburner.settings import Settings
from backburner_schemas.routing import pool_name
from chaos import kafka_state
from chaos.book import Book, Expect
from chaos.checker import check
from chaos.faults import Injector
from chaos.journals import Journals
from chaos.load import Load
from chaos.objects import S3Objects
from chaos.patience import NeverCame, until
from chaos.producers import kafka_lines
from chaos.queue_state import QueueState
from chaos.redone import Struck, redone
from chaos.report import Report, Row
from chaos.schedule import WORKER_FAULTS, Fault, Kind
from chaos.servers import Servers
from chaos.workers import Place, Workers

_WARM_SECONDS = 90.0
_BEGIN_SECONDS = 90.0
_RECOVER_SECONDS = 120.0
_COMMIT_SECONDS = 60.0
_SOME = 10
"""Requests that have begun before a fault comes."""
_SUSPECTS = ('backburner_lag{lane="retry"}', 'backburner_held{stage="suspects"}')
_POISONS = {Kind.POISON: "[[die]]", Kind.POISON_WORKER: "[[kill]]"}


@dataclass(frozen=True, slots=True)
class Crew:
    """Which workers a run begins with."""

    model: str
    count: int
    settings: dict[str, str]
    static: bool
    """Whether they keep their names, and so their membership, over restarts."""
    stopped_seconds: float
    """How long a stopped one sleeps: longer than its session or visibility."""
    real: bool = False


class Run:
    """Servers, workers, load and book of one run."""

    def __init__(self, servers: Servers, crew: Crew, *, requests: int, seed: int, folder: Path, judged: bool) -> None:
        """About `requests` are in the system at each fault.

        `judged` says whether work that is redone beyond its bound breaks a promise, as where commit metadata is kept.
        """
        self._servers = servers
        self._crew = crew
        self._requests = requests
        self._seed = seed
        self._judged = judged
        self._folder = folder
        (folder / "journals").mkdir()
        self._journals = Journals(folder / "journals")
        self._struck: list[tuple[Row, Struck]] = []
        self._redelivered: dict[tuple[str, int], float] = {}
        self.report = Report()

    async def run(self, plan: Sequence[Fault]) -> Report:
        """Inject all of them, wait for the end of all that was asked, and judge."""
        began = time.monotonic()
        settings = {**self._servers.settings, **self._crew.settings}
        # The client reads the store's credentials from there.
        os.environ.update(settings)
        await ensure_pool(settings, self._crew.model)
        loaded = Settings.load()
        pool = pool_name(self._crew.model)
        book = Book(loaded.tenant, loaded.prefix, pool)
        with PortLeases() as leases:
            workers = Workers(
                settings,
                folder=self._folder,
                leases=leases,
                journals=self._journals,
                static=self._crew.static,
            )
            supervisor = asyncio.create_task(workers.tend())
            try:
                async with Client() as client, kafka_lines(self._servers.bootstrap, book.prefix, pool) as raw:
                    load = Load(client, raw, book, model=self._crew.model, seed=self._seed, real=self._crew.real)
                    await self._faults(plan, workers, load)
                    self.report.client_errors = len(load.errors)
            except NeverCame as error:
                self.report.breaches.append(str(error))
            queue = await self._look(book)
            self._note_redelivered(workers)
            supervisor.cancel()
            await asyncio.to_thread(workers.stop)
        self._judge(book, queue, workers)
        self.report.seconds = time.monotonic() - began
        return self.report

    # --- faults -------------------------------------------------------------------------------------------------

    async def _faults(self, plan: Sequence[Fault], workers: Workers, load: Load) -> None:
        for _ in range(self._crew.count):
            workers.add("core")
        await self._all_ready(workers)
        injector = Injector(self._servers, workers, self._journals, stopped_seconds=self._crew.stopped_seconds)
        trickle = asyncio.create_task(load.trickle())
        try:
            for fault in plan:
                await self._fault(fault, injector, workers, load)
        finally:
            trickle.cancel()
            await asyncio.wait([trickle])
        await load.finish(_RECOVER_SECONDS)

    async def _fault(self, fault: Fault, injector: Injector, workers: Workers, load: Load) -> None:
        if fault.kind in WORKER_FAULTS:
            await self._calm(workers)
        mark = self._journals.mark()
        poison = _POISONS.get(fault.kind)
        if poison is not None:
            workers.expect_ends("there is poison")
        batch = load.begin(self._requests, [load.ask(poison, Expect.POISON)] if poison else None)

        def under_way() -> bool:
            return len(self._journals.begun_since(mark)) >= min(_SOME, self._requests // 2)

        await until(under_way, f"work under way before fault {fault.number}", seconds=_BEGIN_SECONDS)
        row = Row(fault, waiting=max(self._requests - len(self._journals.begun_since(mark)), 0))
        self.report.rows.append(row)
        began = time.monotonic()
        struck = await injector.inject(fault)
        over = time.monotonic()
        row.lasted = over - began
        await load.accepted(batch)
        await load.done(batch, _RECOVER_SECONDS)
        row.recovered = time.monotonic() - over
        await self._all_ready(workers)
        workers.expect_ends(None)
        self._note_redelivered(workers)
        if struck is not None:
            row.struck, row.bound = struck.place, struck.bound
            self._struck.append((row, struck))
        print(
            f"{fault.number:4} {fault.kind:14} {row.struck:8} lasted {row.lasted:4.1f} s, "
            f"recovered in {row.recovered:4.1f} s",
            flush=True,
        )

    async def _all_ready(self, workers: Workers) -> None:
        for place in workers.manned:
            await until(partial(_ready, place), f"{place.name}'s being ready", seconds=_WARM_SECONDS)

    async def _calm(self, workers: Workers) -> None:
        """Until no suspect waits to run alone: an innocent one that is killed while it is alone is convicted."""

        async def none_waits() -> bool:
            pages = [await asyncio.to_thread(place.metrics) for place in workers.manned]
            return all(page and not any(page.get(name, 0) for name in _SUSPECTS) for page in pages)

        await until(none_waits, "an end of all suspects", seconds=_RECOVER_SECONDS)

    def _note_redelivered(self, workers: Workers) -> None:
        for place in workers.manned:
            count = place.metrics().get("backburner_deliveries_redelivered_total", 0.0)
            self._redelivered[place.name, place.started] = count

    # --- the verdict --------------------------------------------------------------------------------------------

    async def _look(self, book: Book) -> QueueState:
        return await kafka_state.look(self._servers.bootstrap, book.prefix, book.pool, seconds=_COMMIT_SECONDS)

    def _judge(self, book: Book, queue: QueueState, workers: Workers) -> None:
        report = self.report
        report.verdict = check(book, S3Objects(self._servers.address), queue, fake=not self._crew.real)
        report.breaches += workers.ends
        report.restarts = workers.restarts
        report.redelivered = int(sum(self._redelivered.values()))
        report.begun_again = sum(times - 1 for times in self._journals.times().values())
        for row, struck in self._struck:
            row.redone = redone(struck, self._journals)
            if self._judged and (row.bound is None or row.redone > row.bound):
                report.breaches.append(
                    f"redone: {row.redone} of {struck.place}'s requests after fault {row.fault.number}, "
                    f"and no more than {row.bound} were uncommitted"
                )


def _ready(place: Place) -> bool:
    return place.ready
