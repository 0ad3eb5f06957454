"""A child process: a dispatcher, whole but for its signals. Each question names stored jobs, which it sends.

They wait until all are planned, since their pool has no worker until then. `noted` instead of a broker counts whose
requests come while every tenant still has some.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from backburner.connections import Connections
from backburner.dispatcher.metrics import Metrics
from backburner.dispatcher.parts import Parts
from backburner.dispatcher.settings import DispatcherSettings
from backburner.publishers import open_publisher
from backburner.publishers.base import Message, Publisher
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.job import Cursor
from backburner_schemas.pool import WorkerAnnouncement
from measuring.cpu import cpu_seconds, peak_mib, reset_peak

_POLL_SECONDS = 0.02
_POOL = "fake"


class NotingPublisher:
    """Publishes, and notes when it began and ended, and whose requests came first."""

    def __init__(self, publisher: Publisher | None) -> None:
        self._publisher = publisher
        self.begun = asyncio.Event()
        self.first = self.last = 0.0
        self.sent: Counter[str] = Counter()
        self.early: Counter[str] = Counter()
        self.complete = 0

    def expect(self, complete: int) -> None:
        """Count early requests until one tenant has so many."""
        self.begun.clear()
        self.complete = complete
        self.sent, self.early = Counter(), Counter()

    async def start(self) -> None:
        """Connect."""
        if self._publisher is not None:
            await self._publisher.start()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Put the messages onto the queue, if there is one."""
        if not self.begun.is_set():
            self.begun.set()
            self.first = time.monotonic()
        if self._publisher is not None:
            await self._publisher.publish(messages)
        tenant = messages[0].key.split(b"/")[0].decode()
        if max(self.sent.values(), default=0) < self.complete:
            self.early[tenant] += len(messages)
        self.sent[tenant] += len(messages)
        self.last = time.monotonic()

    async def close(self) -> None:
        """Disconnect."""
        if self._publisher is not None:
            await self._publisher.close()


async def dispatch(
    publisher: NotingPublisher, storage: Storage, jobs: Sequence[Sequence[str]], complete: int
) -> dict[str, Any]:
    """Send these jobs. Seconds and CPU are those of the sending alone."""
    publisher.expect(complete)
    reset_peak()
    begun = time.monotonic()
    await _until(storage, jobs, lambda cursor: cursor.total is not None)
    planned = time.monotonic() - begun
    await _announce(storage)
    await publisher.begun.wait()
    cpu = cpu_seconds()
    await _until(storage, jobs, lambda cursor: cursor.count == cursor.total)
    await storage.delete([keys.worker(_POOL, "load")])
    return {
        "seconds": publisher.last - publisher.first,
        "cpu_seconds": cpu_seconds() - cpu,
        "planning": planned,
        "peak_mib": peak_mib(),
        "sent": publisher.sent.total(),
        "early": dict(publisher.early),
    }


async def _until(storage: Storage, jobs: Sequence[Sequence[str]], true: Callable[[Cursor], bool]) -> None:
    for tenant, job in jobs:
        while True:
            stored = await storage.get(keys.cursor(tenant, job))
            if stored is not None and true(Cursor.model_validate_json(stored.data)):
                break
            await asyncio.sleep(_POLL_SECONDS)


async def _announce(storage: Storage) -> None:
    now = time.time()
    worker = WorkerAnnouncement(
        worker="load", pool=_POOL, models=(_POOL,), group=_POOL, version="", started_at=now, seen_at=now
    )
    await storage.put(keys.worker(_POOL, "load"), worker.model_dump_json().encode())


async def main() -> None:
    """Start the dispatcher, then answer questions until there are none."""
    settings = DispatcherSettings.load(dispatch_backlog=2**31, dispatch_jobs=1000, dispatch_look_seconds=0.2)
    publisher = NotingPublisher(None if "noted" in sys.argv[1:] else open_publisher(settings))
    storage = Storage.open(settings)
    with tempfile.TemporaryDirectory(prefix="backburner-load-") as folder:
        os.environ["TMPDIR"] = folder
        tempfile.tempdir = folder
        connections = Connections(settings, storage, publisher)
        parts = Parts(settings, connections, Metrics(CollectorRegistry()))
        running = asyncio.create_task(parts.dispatcher.run())
        print(json.dumps({"warm": True}), flush=True)
        loop = asyncio.get_running_loop()
        while question := await loop.run_in_executor(None, sys.stdin.readline):
            asked = json.loads(question)
            found = await dispatch(publisher, storage, asked["jobs"], asked["complete"])
            print(json.dumps(found), flush=True)
        parts.dispatcher.stop()
        await running
        await connections.close()


if __name__ == "__main__":
    asyncio.run(main())
