"""One system away at a time while a worker has a deep backlog: memory stays flat, and all of it is done in the end.

The store is taken from the worker by a proxy, since the broker keeps its log in the same store; the broker is killed,
and started again on its log.
"""

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from backburner import Client
from backburner.cli.commands.stack import ensure_pool
from backburner.local.programs import broker, store
from backburner.local.programs.ports import PortLeases
from chaos.proxy import Link, Proxy
from measuring.figures import Figures
from scenarios.control_plane import chat_lines

ALLOWED_MB = 20.0
"""How much more memory than before a worker may take during an outage."""
SYSTEMS = ("store", "slow store", "broker")
_LATENCY_SECONDS = "0.005"
_STEADY_SHARE = 0.5
"""Half of the job is done before the outage, so that every buffer and the allocator have had their fill."""
_SAMPLE_SECONDS = 0.2
_PULLED = "backburner_deliveries_pulled_total"
_PATIENCE_SECONDS = 900.0


@dataclass(slots=True)
class Outage:
    """What one outage did to the worker; memory in MB, times in seconds."""

    what: str
    before_mb: float = 0.0
    during_mb: float = 0.0
    after_mb: float = 0.0
    pulled_during: int = 0
    told_after: float | None = None
    """When `/readyz` reported it, from the beginning of the outage."""
    ready_after: float | None = None
    """When it was ready again, from the end of the outage."""
    requests: int = 0
    completed: int = 0
    agrees: bool = False
    worker_lives: bool = False

    @property
    def grown_mb(self) -> float:
        """Memory at the most during the outage, beyond what it was at the most before."""
        return self.during_mb - self.before_mb

    @property
    def passed(self) -> bool:
        """Whether memory was flat, nothing was lost, and the worker went on by itself."""
        whole = self.completed == self.requests and self.agrees and self.worker_lives
        return whole and self.grown_mb <= ALLOWED_MB

    def row(self) -> str:
        """A line of the table."""
        told = "-" if self.told_after is None else f"{self.told_after:.0f} s"
        ready = "-" if self.ready_after is None else f"{self.ready_after:.0f} s"
        return (
            f"{self.what:12} {self.before_mb:8.1f} {self.during_mb:8.1f} {self.after_mb:8.1f} {self.grown_mb:+8.1f} "
            f"{self.pulled_during:8,} {told:>6} {ready:>6} {self.completed:9,} of {self.requests:,} "
            f"{'ok' if self.passed else 'BREACH'}"
        )


_HEAD = (
    f"{'away':12} {'before':>8} {'during':>8} {'after':>8} {'grown':>8} {'pulled':>8} {'told':>6} {'ready':>6} "
    f"{'completed':>9}   (MB; pulled during the outage; /readyz told after, ready again after)"
)


def outage(seconds: float, requests: int, systems: Collection[str]) -> Figures:
    """Take each of these systems away for so long, one after the other, each with a job and a worker of its own."""
    # This program's own client meets the broker's outage too, and what it logs about that is not a figure.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    rows: list[Outage] = []
    before = dict(os.environ)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backburner-load-")))
        running = stack.enter_context(store.start(folder / "store"))
        queue = stack.enter_context(broker.start(folder / "broker", storage=running))
        proxy = stack.enter_context(Proxy(0, urlsplit(running.endpoint).port or 0))
        settings = {
            "BACKBURNER_QUEUE_URL": queue.url,
            "BACKBURNER_STORE_URL": "s3://backburner/load",
            "BACKBURNER_STORE_ENDPOINT": running.endpoint,
            "BACKBURNER_KAFKA_IDEMPOTENCE": "false",
            "BACKBURNER_TOPIC_PARTITIONS": "8",
            "BACKBURNER_TOPIC_REPLICATION": "1",
            **running.environment,
        }
        os.environ.update(settings)
        try:
            asyncio.run(ensure_pool(settings, "fake"))
            for what, begin, end in (
                ("store", partial(proxy.become, Link.CLOSED), partial(proxy.become, Link.WHOLE)),
                ("slow store", partial(proxy.become, Link.LATE), partial(proxy.become, Link.WHOLE)),
                ("broker", queue.stop, queue.start),
            ):
                if what not in systems:
                    continue
                env = {**settings, "BACKBURNER_STORE_ENDPOINT": f"http://127.0.0.1:{proxy.port}"}
                with _worker(env, folder / f"{what}.log") as worker:
                    rows.append(asyncio.run(_suffer(Outage(what, requests=requests), worker, begin, end, seconds)))
                print("\n".join(([_HEAD] if len(rows) == 1 else []) + [rows[-1].row()]), flush=True)
        finally:
            os.environ.clear()
            os.environ.update(before)
    grown = max(*(row.grown_mb for row in rows), 1.0)
    return Figures(
        scenario="outage",
        goal=1.0,
        reached=all(row.passed for row in rows),
        ratio=ALLOWED_MB / grown,
        low=ALLOWED_MB / grown,
        high=ALLOWED_MB / max(min(row.grown_mb for row in rows), 1.0),
        details={"seconds": seconds, "allowed_mb": ALLOWED_MB, "outages": [asdict(row) for row in rows]},
    )


class _Worker:
    """A worker process, seen from outside."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self._process = psutil.Process(process.pid)
        self._url = f"http://127.0.0.1:{port}"

    @property
    def rss_mb(self) -> float:
        return float(self._process.memory_info().rss) / 1e6

    @property
    def lives(self) -> bool:
        return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE

    @property
    def ready(self) -> bool:
        try:
            self._get("/readyz")
        except OSError:
            return False
        return True

    @property
    def pulled(self) -> int:
        lines = self._get("/metrics").splitlines()
        return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(_PULLED)))

    def _get(self, path: str) -> str:
        """The page. Raises `OSError` where there is none, or for a status that is not 200."""
        with urllib.request.urlopen(self._url + path, timeout=60) as page:  # noqa: S310 - our own worker
            return str(page.read().decode())


@contextmanager
def _worker(env: dict[str, str], log: Path) -> Iterator[_Worker]:
    with PortLeases() as leases, log.open("wb") as file:
        port = leases.take()
        more = {
            "BACKBURNER_ENGINE": "fake",
            "BACKBURNER_MODEL": "fake",
            "BACKBURNER_FAKE_LATENCY_SECONDS": _LATENCY_SECONDS,
            "BACKBURNER_HTTP_HOST": "127.0.0.1",
            "BACKBURNER_HTTP_PORT": str(port),
        }
        argv = [sys.executable, "-m", "backburner_worker"]
        process = subprocess.Popen(argv, env={**os.environ, **env, **more}, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield _Worker(process, port)
        finally:
            process.terminate()
            try:
                process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _suffer(
    row: Outage, worker: _Worker, begin: Callable[[], None], end: Callable[[], None], seconds: float
) -> Outage:
    async with Client() as client:
        job = await client.submit(chat_lines(row.requests))
        await _until(lambda: worker.ready, "a warm worker")
        already = worker.pulled
        enough = int(row.requests * _STEADY_SHARE)
        while worker.pulled < enough:
            row.before_mb = max(row.before_mb, worker.rss_mb)
            await asyncio.sleep(_SAMPLE_SECONDS)
        row.before_mb = max(row.before_mb, worker.rss_mb)
        already, started = worker.pulled, time.monotonic()
        begin()
        while (passed := time.monotonic() - started) < seconds:
            row.during_mb = max(row.during_mb, worker.rss_mb)
            if row.told_after is None and not await asyncio.to_thread(lambda: worker.ready):
                row.told_after = passed
            await asyncio.sleep(_SAMPLE_SECONDS)
        row.pulled_during = worker.pulled - already
        end()
        ended = time.monotonic()
        await _until(lambda: worker.ready, "a worker that is ready again")
        row.ready_after = time.monotonic() - ended
        status = await job.wait(timeout=_PATIENCE_SECONDS)
        row.after_mb, row.worker_lives = worker.rss_mb, worker.lives
        row.completed = status.request_counts.completed
        row.agrees = (await job.reconcile()).agrees
    return row


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not await asyncio.to_thread(condition):
        if time.monotonic() > deadline:
            raise RuntimeError(f"within {_PATIENCE_SECONDS:.0f} s never: {what}")
        await asyncio.sleep(_SAMPLE_SECONDS)
