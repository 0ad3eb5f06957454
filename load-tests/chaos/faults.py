"""Injects one fault into a run, for as long as it lasts. It knows nothing of the load."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping

from chaos.journals import Journals, Mark
from chaos.patience import until
from chaos.proxy import Link, Proxy
from chaos.redone import Struck
from chaos.schedule import Fault, Kind
from chaos.servers import Server, Servers
from chaos.workers import WorkerPlace, Workers, is_alive

_END_SECONDS = 60.0
_LINKS: Mapping[Kind, Link] = {
    Kind.BROKER_PAUSED: Link.PAUSED,
    Kind.BROKER_RESET: Link.RESET,
    Kind.BROKER_SLOW: Link.SLOW,
    Kind.BROKER_DARK: Link.DARK,
    Kind.STORE_PAUSED: Link.PAUSED,
    Kind.STORE_RESET: Link.RESET,
    Kind.STORE_SLOW: Link.SLOW,
    Kind.STORE_DARK: Link.DARK,
}


class Injector:
    """Applies a fault to servers and workers."""

    def __init__(self, servers: Servers, workers: Workers, journals: Journals, *, stopped_seconds: float) -> None:
        """`stopped_seconds` is how long a stopped worker sleeps: longer than its session or visibility."""
        self._servers = servers
        self._workers = workers
        self._journals = journals
        self._stopped_seconds = stopped_seconds

    async def inject(self, fault: Fault) -> Struck | None:
        """Returns when the fault is over, with what it struck if that was one worker."""
        kind = fault.kind
        if kind in _LINKS:
            front = self._servers.broker_link if kind.value.startswith("broker") else self._servers.store_link
            assert front is not None
            await _link(front, _LINKS[kind], fault.seconds)
            return None
        if kind in {Kind.KILL_BROKER, Kind.KILL_STORE}:
            server = self._servers.broker if kind is Kind.KILL_BROKER else self._servers.store
            assert server is not None
            await _away(server, fault.seconds)
            return None
        if kind is Kind.JOIN:
            place = self._workers.add("extra")
            await until(lambda: place.ready, "the joining worker's being ready", seconds=_END_SECONDS)
            return None
        if kind in {Kind.POISON, Kind.POISON_WORKER}:
            return None  # It is in the load.
        place = self._choose(fault)
        act = {
            Kind.KILL_WORKER: self._kill,
            Kind.KILL_ENGINE: self._kill_engine,
            Kind.STOP_WORKER: self._stop,
            Kind.TERM_WORKER: self._term,
            Kind.LEAVE: self._leave,
        }[kind]
        return await self._strike(place, act)

    def _choose(self, fault: Fault) -> WorkerPlace:
        if fault.kind is Kind.LEAVE:
            return [place for place in self._workers.manned if place.name.startswith("extra")][-1]
        core = self._workers.core
        return core[int(fault.pick * len(core))]

    async def _strike(self, place: WorkerPlace, act: Callable[[WorkerPlace], Awaitable[Mark]]) -> Struck:
        engine = place.engine()
        first = self._journals.mark()
        held = (await asyncio.to_thread(place.metrics)).get("backburner_deliveries_uncommitted")
        moment = await act(place)
        journal = self._journals.of(place.name)
        between = self._journals.begun_between(journal, first, moment)
        return Struck(
            place=place.name,
            begun=frozenset(self._journals.begun_by(journal, engine, until=moment)),
            moment=moment,
            bound=None if held is None else int(held) + between,
        )

    # Each returns how long the journals were when the worker, or its engine, could begin no more.

    async def _kill(self, place: WorkerPlace) -> Mark:
        process = place.child.pid
        place.send(signal.SIGKILL, "it was killed")
        await _gone(process)
        return self._journals.mark()

    async def _kill_engine(self, place: WorkerPlace) -> Mark:
        engine: int | None = await until(place.engine, f"an engine of {place.name}", seconds=_END_SECONDS)
        assert engine is not None
        process = place.child.pid
        place.ends_expected = "its engine was killed"
        os.kill(engine, signal.SIGKILL)
        await _gone(engine)
        moment = self._journals.mark()
        await _gone(process)
        return moment

    async def _stop(self, place: WorkerPlace) -> Mark:
        place.send(signal.SIGSTOP, "it was stopped for long")
        moment = self._journals.mark()
        await asyncio.sleep(self._stopped_seconds)
        place.send(signal.SIGCONT, "it was stopped for long")
        return moment

    async def _term(self, place: WorkerPlace) -> Mark:
        process = place.child.pid
        place.send(signal.SIGTERM, "it was asked to end")
        await _gone(process)
        return self._journals.mark()

    async def _leave(self, place: WorkerPlace) -> Mark:
        process = place.child.pid
        self._workers.retire(place)
        await _gone(process)
        return self._journals.mark()


async def _link(proxy: Proxy, link: Link, seconds: float) -> None:
    proxy.become(link)
    await asyncio.sleep(seconds)
    proxy.become(Link.WHOLE)


async def _away(server: Server, seconds: float) -> None:
    await server.kill()
    await asyncio.sleep(seconds)
    server.start()


async def _gone(process: int | None) -> None:
    await until(lambda: not is_alive(process), f"the end of process {process}", seconds=_END_SECONDS)
