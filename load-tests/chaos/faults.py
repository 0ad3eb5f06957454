"""Injects one fault into a run, for as long as it lasts. It knows nothing of the load."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from apache_kafka.replicas import are_whole
from chaos.journals import Journals, Mark
from chaos.leaders import GROUPS_TOPIC, move_leaders
from chaos.patience import until
from chaos.place import Place, is_alive
from chaos.proxy import Link, Proxy
from chaos.redone import Struck
from chaos.schedule import SERVICE_FAULTS, WORKER_FAULTS, Fault, Kind
from chaos.server import Server
from chaos.servers import Servers
from chaos.services import CLAIM_SECONDS, Services
from chaos.workers import WorkerPlace, Workers

_One = TypeVar("_One")
_END_SECONDS = 60.0
_STOPPED_CLAIMS_COUNT = 2.0
"""For how many of the times after which it loses its claims a stopped dispatcher sleeps."""
_BROKER_LINKS: Mapping[Kind, Link] = {
    Kind.BROKER_PAUSED: Link.PAUSED,
    Kind.BROKER_RESET: Link.RESET,
    Kind.BROKER_SLOW: Link.SLOW,
    Kind.BROKER_DARK: Link.DARK,
}
_STORE_LINKS: Mapping[Kind, Link] = {
    Kind.STORE_PAUSED: Link.PAUSED,
    Kind.STORE_RESET: Link.RESET,
    Kind.STORE_SLOW: Link.SLOW,
    Kind.STORE_DARK: Link.DARK,
}


class Injector:
    """Applies a fault to servers, workers, gateway and dispatchers."""

    def __init__(
        self,
        servers: Servers,
        workers: Workers,
        services: Services | None,
        journals: Journals,
        *,
        topics: Sequence[str],
        stopped_seconds: float,
    ) -> None:
        """`topics` are the pool's, `stopped_seconds` is how long a stopped worker sleeps: longer than its session."""
        self._servers = servers
        self._workers = workers
        self._services = services
        self._journals = journals
        self._topics = topics
        self._stopped_seconds = stopped_seconds

    async def inject(self, fault: Fault) -> Struck | None:
        """Returns when the fault is over, with what it struck if that was one worker."""
        kind = fault.kind
        if kind in WORKER_FAULTS:
            return await self._strike(fault)
        if kind in SERVICE_FAULTS:
            await self._service(fault)
        elif kind is Kind.JOIN:
            place = self._workers.add("extra")
            await until(lambda: place.ready, "the joining worker's being ready", seconds=_END_SECONDS)
        elif kind not in {Kind.POISON, Kind.POISON_WORKER}:  # Those are in the load.
            await self._server_fault(fault)
        return None

    async def _server_fault(self, fault: Fault) -> None:
        kind, seconds, servers = fault.kind, fault.seconds, self._servers
        if kind in _STORE_LINKS:
            assert servers.store_link is not None
            await _link(servers.store_link, _STORE_LINKS[kind], seconds)
        elif kind in _BROKER_LINKS:
            await _link(_chosen(servers.brokers, fault).link, _BROKER_LINKS[kind], seconds)
        elif kind is Kind.KILL_STORE:
            await _away(_there(servers.store), seconds)
        elif kind is Kind.KILL_BROKER:
            await _away(_there(_chosen(servers.brokers, fault).server), seconds)
        elif kind is Kind.STOP_BROKER:
            process = _there(_chosen(servers.brokers, fault).server).pid
            os.kill(process, signal.SIGSTOP)
            await asyncio.sleep(seconds)
            os.kill(process, signal.SIGCONT)
        elif kind is Kind.RESTART_BROKERS:
            await _restart(servers)
        elif kind is Kind.MOVE_LEADERS:
            await move_leaders(servers.bootstrap, self._topics)
        elif kind is Kind.MOVE_COORDINATOR:
            await move_leaders(servers.bootstrap, [GROUPS_TOPIC])
        else:
            raise NotImplementedError(kind)

    # --- gateway and dispatchers ----------------------------------------------------------------------------------

    async def _service(self, fault: Fault) -> None:
        assert self._services is not None
        gateway = fault.kind in {Kind.KILL_GATEWAY, Kind.STOP_GATEWAY, Kind.TERM_GATEWAY}
        place = self._services.gateway if gateway else _chosen(self._services.dispatchers, fault)
        process = place.child.pid
        if fault.kind in {Kind.KILL_GATEWAY, Kind.KILL_DISPATCHER}:
            place.send(signal.SIGKILL, "it was killed")
            await _gone(process)
        elif fault.kind in {Kind.TERM_GATEWAY, Kind.TERM_DISPATCHER}:
            place.send(signal.SIGTERM, "it was asked to end")
            await _gone(process)
        else:
            place.send(signal.SIGSTOP, None)
            await asyncio.sleep(fault.seconds if gateway else CLAIM_SECONDS * _STOPPED_CLAIMS_COUNT)
            place.send(signal.SIGCONT, None)

    # --- workers --------------------------------------------------------------------------------------------------

    async def _strike(self, fault: Fault) -> Struck:
        acts: Mapping[Kind, Callable[[WorkerPlace], Awaitable[Mark]]] = {
            Kind.KILL_WORKER: partial(self._end, number=signal.SIGKILL, why="it was killed"),
            Kind.KILL_ENGINE: self._kill_engine,
            Kind.STOP_WORKER: self._stop,
            Kind.TERM_WORKER: partial(self._end, number=signal.SIGTERM, why="it was asked to end"),
            Kind.LEAVE: self._leave,
        }
        if fault.kind is Kind.LEAVE:
            place = [place for place in self._workers.manned if place.name.startswith("extra")][-1]
        else:
            place = _chosen(self._workers.core, fault)
        engine = place.engine()
        first = self._journals.mark()
        held = (await asyncio.to_thread(place.metrics)).get("backburner_deliveries_uncommitted")
        moment = await acts[fault.kind](place)
        journal = self._journals.of(place.name)
        between = self._journals.begun_between(journal, first, moment)
        return Struck(
            place=place.name,
            begun=frozenset(self._journals.begun_by(journal, engine, until=moment)),
            moment=moment,
            bound=None if held is None else int(held) + between,
        )

    # Each returns how long the journals were when the worker, or its engine, could begin no more.

    async def _end(self, place: Place, *, number: signal.Signals, why: str) -> Mark:
        process = place.child.pid
        place.send(number, why)
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

    async def _leave(self, place: WorkerPlace) -> Mark:
        process = place.child.pid
        self._workers.retire(place)
        await _gone(process)
        return self._journals.mark()


def _chosen(several: Sequence[_One], fault: Fault) -> _One:
    return several[int(fault.pick * len(several))]


def _there(server: Server | None) -> Server:
    assert server is not None, "that one is not ours to end"
    return server


async def _link(proxy: Proxy, link: Link, seconds: float) -> None:
    proxy.become(link)
    await asyncio.sleep(seconds)
    proxy.become(Link.WHOLE)


async def _away(server: Server, seconds: float) -> None:
    await server.kill()
    await asyncio.sleep(seconds)
    await server.start()


async def _restart(servers: Servers) -> None:
    for broker in servers.brokers:
        server = _there(broker.server)
        await server.stop()
        await server.start()
        # As an operator does: the next one only when all have what this one missed.
        await until(lambda: are_whole(servers.bootstrap), "all replicas in sync", seconds=_END_SECONDS)


async def _gone(process: int | None) -> None:
    await until(lambda: not is_alive(process), f"the end of process {process}", seconds=_END_SECONDS)
