"""A broker or a store of a run that can end and come back where it was."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Protocol

from apache_kafka.broker import ApacheKafka
from backburner.local.programs.child import Child
from chaos.patience import until

_READY_SECONDS = 120.0
_STOP_SECONDS = 20.0


class Server(Protocol):
    """One of them. All but `pid` from the main thread."""

    @property
    def pid(self) -> int:
        """The id of its process."""
        ...

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        ...

    async def stop(self) -> None:
        """Let it end in order, as an operator does."""
        ...

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        ...


class ChildServer:
    """A child process that answers soon after its start."""

    def __init__(self, child: Child, start: Callable[[], None]) -> None:
        """`start` starts it and waits until it answers."""
        self._child = child
        self._start = start

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._child.pid is not None
        return self._child.pid

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        await until(lambda: not self._child.running, "the end of a killed server", seconds=_STOP_SECONDS)

    async def stop(self) -> None:
        """Let it end in order, as an operator does."""
        await asyncio.to_thread(self._child.stop, grace=_STOP_SECONDS)

    async def start(self) -> None:
        """Start it, and wait until it answers; the proxies run meanwhile."""
        self._start()


class KafkaServer:
    """A broker of Apache Kafka, which takes seconds to start."""

    def __init__(self, node: ApacheKafka) -> None:
        self._node = node

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._node.pid

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        await asyncio.to_thread(self._node.kill)

    async def stop(self) -> None:
        """Let it end in order, as an operator does."""
        await asyncio.to_thread(self._node.stop)

    async def start(self) -> None:
        """Start it, and wait until it answers and counts among the brokers."""
        self._node.launch()
        await until(lambda: asyncio.to_thread(lambda: self._node.ready), "a broker's return", seconds=_READY_SECONDS)
