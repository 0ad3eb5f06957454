"""Fuzzing: a real queue, a real store, one worker process, and hostile messages among good ones.

In the end the worker lives, each good message has its answer, each message has one end, and nothing was written
where it does not belong.
"""

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from obstore.store import S3Store
from rich.console import Console
from rich.table import Table

from backburner import Client
from backburner.local.programs import broker, emulator, store
from backburner.local.programs.child import Child, Program, clean_environment
from backburner.publishers import ensure_topics
from backburner.settings import Settings
from fuzz.ends import Store, by_kind, compare_letters, judge, read_store, wrong_keys
from fuzz.messages import Generator
from fuzz.parts import BAIT, CLAIMED, LARGE_BYTES, SEALED, SECRET, TENANTS, TOTAL_REQUESTS, UNSEALED
from fuzz.wire import KafkaWire, SqsWire, Wire

_STILL_SECONDS = 120.0
"""Without any message settled for so long, the worker counts as stuck."""
_MAX_SHOWN_PROBLEMS = 5
_PARTITION_COUNT = 8
_PREFIX, _POOL, _ROOT = "backburner", "fake", "fuzz"


@dataclass
class FuzzVerdict:
    """What came out."""

    messages: int
    seed: int
    seconds: float
    store: Store
    kinds: dict[str, Any] = field(default_factory=dict)
    breaches: dict[str, list[str]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing was broken."""
        return not any(self.breaches.values())

    def show(self, console: Console) -> None:
        """The table, and a few of each kind of breach."""
        table = Table("kind", *(title for title in ("messages", "answers", "errors", "letters")))
        for kind, counts in sorted(self.kinds.items()):
            table.add_row(kind, *(f"{counts[title]:,}" for title in ("messages", "answers", "errors", "letters")))
        console.print(table)
        for name, found in self.breaches.items():
            console.print(f"{name}: {len(found)}")
            for one in found[:_MAX_SHOWN_PROBLEMS]:
                console.print(f"    {one}", markup=False)
        rate = self.messages / self.seconds
        console.print(
            f"fuzz: {self.messages:,} messages, seed {self.seed}, {self.seconds:.0f} s, {rate:,.0f} a second: "
            f"{'clean' if self.clean else 'BROKEN'}"
        )


def fuzz(messages: int, seed: int, queue: str) -> FuzzVerdict:
    """Send so many, wait until the queue is empty, look at what became of them."""
    with tempfile.TemporaryDirectory(prefix="backburner-fuzz-") as folder, _servers(Path(folder), queue) as settings:
        return asyncio.run(_fuzz(messages, seed, queue, settings, Path(folder)))


async def _fuzz(messages: int, seed: int, queue: str, settings: dict[str, str], folder: Path) -> FuzzVerdict:
    await _make_pool()
    s3 = S3Store(
        store.RESULTS_BUCKET,
        endpoint=settings["BACKBURNER_STORE_ENDPOINT"],
        region=settings["AWS_REGION"],
        client_options={"allow_http": True},
    )
    await _set_up(s3)
    wire = _wire(queue, settings)
    worker = _worker(settings, folder / "worker.log")
    try:
        started = time.monotonic()
        sent = await wire.send(Generator(seed, text=wire.text, limit=wire.limit).messages(messages))
        pid = worker.pid
        stuck = await _drained(wire, worker)
        seconds = time.monotonic() - started
        alive = worker.exit_status() is None and worker.pid == pid
    finally:
        worker.stop(grace=30.0)
    found = await read_store(s3, _ROOT)
    breaches = judge(found, sent)
    breaches["keys out of place"] = wrong_keys(found)
    breaches["bodies of others shown"] = found.leaks
    breaches["letters that are wrong"] = await compare_letters(s3, _ROOT, found, sent)
    breaches["worker ended or stuck"] = [stuck or worker.tail()] if stuck or not alive else []
    return FuzzVerdict(len(sent), seed, seconds, found, by_kind(found, sent), breaches)


async def _drained(wire: Wire, worker: Child) -> str | None:
    """Wait until everything is settled. Returns why that never happened."""
    fewest, since = sys.maxsize, time.monotonic()
    while (left := await wire.left()) > 0:
        if left < fewest:
            fewest, since = left, time.monotonic()
        if worker.exit_status() is not None:
            return f"the worker ended with {worker.exit_status()} and {left:,} messages left: {worker.tail()}"
        if time.monotonic() - since > _STILL_SECONDS:
            return f"{left:,} messages are left and nothing moves: {worker.tail()}"
        await asyncio.sleep(0.5)
    return None


async def _set_up(s3: S3Store) -> None:
    """Jobs with a manifest, stored bodies, and the bait: as the wire documents describe, by hand."""
    now = time.time()
    content = {"role": "user", "content": "say [[echo]] stored-body"}
    body = {"model": "fake", "messages": [content]}
    bait = {"model": "fake", "messages": [{"role": "user", "content": f"say [[echo]] {SECRET}"}]}
    large = {"model": "fake", "messages": [{"role": "user", "content": "x" * LARGE_BYTES}]}
    objects: dict[str, Any] = {
        f"tenants/default/jobs/{CLAIMED}/bodies/0.json": body,
        f"tenants/default/jobs/{CLAIMED}/bodies/1.json": large,
        f"tenants/{BAIT[0]}/jobs/{BAIT[1]}/bodies/{BAIT[2]}.json": bait,
        f"tenants/default/jobs/{SEALED}/sealed.json": {"v": 1, "total": TOTAL_REQUESTS, "sha256": "", "sealed_at": now},
    }
    for job in (UNSEALED, SEALED):
        manifest = {"v": 1, "id": job, "tenant": "default", "created_at": now, "deadline": now + 86_400}
        objects |= {f"tenants/default/jobs/{job}/job.json": manifest, f"open/default/{job}": {}}
    for key, value in objects.items():
        await s3.put_async(f"{_ROOT}/{key}", json.dumps(value).encode())


async def _make_pool() -> None:
    settings = Settings.load()
    async with Client(settings) as client:
        await client.register_pool("fake")
        await ensure_topics(settings, _POOL)


def _wire(queue: str, settings: dict[str, str]) -> Wire:
    if queue == "sqs":
        url = settings["BACKBURNER_QUEUE_URL"]
        return SqsWire(url.partition("endpoint=")[2], store.REGION, _PREFIX, _POOL)
    return KafkaWire(settings["BACKBURNER_QUEUE_URL"].removeprefix("kafka://"), _PREFIX, _POOL, _PARTITION_COUNT)


def _worker(settings: dict[str, str], log: Path) -> Child:
    env = clean_environment(
        **settings,
        BACKBURNER_ENGINE="fake",
        BACKBURNER_MODEL="fake",
        BACKBURNER_ALLOWED_TENANTS=",".join(TENANTS),
        BACKBURNER_SEGMENT_MAX_AGE_SECONDS="2",
        BACKBURNER_SEGMENT_MIN_AGE_SECONDS="0.5",
        BACKBURNER_HTTP_HOST="127.0.0.1",
        BACKBURNER_RETRY_BASE_SECONDS="0.2",
        BACKBURNER_RETRY_MAX_SECONDS="1",
    )
    child = Child(Program(name="worker", argv=(sys.executable, "-m", "backburner_worker"), env=env, log=log))
    child.start()
    return child


@contextlib.contextmanager
def _servers(folder: Path, queue: str) -> Iterator[dict[str, str]]:
    """Store and queue; the settings that reach them are in this process's environment too."""
    before = dict(os.environ)
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(store.start(folder / "store"))
        if queue == "sqs":
            url = stack.enter_context(emulator.start(folder / "sqs")).url
        else:
            url = stack.enter_context(broker.start(folder / "broker", storage=None)).url
        settings = {
            "BACKBURNER_QUEUE_URL": url,
            "BACKBURNER_STORE_URL": f"s3://{store.RESULTS_BUCKET}/{_ROOT}",
            "BACKBURNER_STORE_ENDPOINT": running.endpoint,
            "BACKBURNER_KAFKA_IDEMPOTENCE": "false",
            "BACKBURNER_KAFKA_SESSION_SECONDS": "6",
            "BACKBURNER_KAFKA_LEAVE_GROUP": "false",
            "BACKBURNER_TOPIC_PARTITIONS": str(_PARTITION_COUNT),
            "BACKBURNER_TOPIC_REPLICATION": "1",
            "BACKBURNER_HTTP_PORT": "0",
            "BACKBURNER_LOG_LEVEL": "error",
            **running.environment,
        }
        os.environ.update(settings)
        try:
            yield settings
        finally:
            os.environ.clear()
            os.environ.update(before)
