"""Fuzzing: a real queue, a real store, one worker process, and hostile messages among good ones.

In the end the worker lives, each good message has its answer, each message has one end, and nothing was written
where it does not belong.
"""

import asyncio
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from obstore.store import S3Store
from rich.console import Console
from rich.table import Table

from backburner.local.programs import store
from backburner.local.programs.child import Child
from fuzz.ends import Store, by_kind, compare_letters, judge, leaks_of_log, read_store, wrong_keys
from fuzz.messages import Generator
from fuzz.parts import BAIT, CLAIMED, LARGE_BYTES, SEALED, SECRET, TOTAL_REQUESTS, UNSEALED
from fuzz.stage import PARTITION_COUNT, POOL, PREFIX, ROOT, Queue, make_pool, servers, start_worker
from fuzz.wire import KafkaWire, SqsWire, Wire

_STILL_SECONDS = 120.0
"""Without any message settled for so long, the worker counts as stuck."""
_MAX_SHOWN_PROBLEMS = 5


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


def fuzz(messages: int, seed: int, queue: Queue) -> FuzzVerdict:
    """Send so many, wait until the queue is empty, look at what became of them."""
    with tempfile.TemporaryDirectory(prefix="backburner-fuzz-") as folder, servers(Path(folder), queue) as settings:
        return asyncio.run(_fuzz(messages, seed, queue, settings, Path(folder)))


async def _fuzz(messages: int, seed: int, queue: Queue, settings: dict[str, str], folder: Path) -> FuzzVerdict:
    await make_pool()
    s3 = S3Store(
        store.RESULTS_BUCKET,
        endpoint=settings["BACKBURNER_STORE_ENDPOINT"],
        region=settings["AWS_REGION"],
        client_options={"allow_http": True},
    )
    await _set_up(s3)
    wire = _wire(queue, settings)
    log = folder / "worker.log"
    worker = start_worker(settings, log)
    try:
        started = time.monotonic()
        sent = await wire.send(Generator(seed, text=wire.text, limit=wire.limit).messages(messages))
        pid = worker.pid
        stuck = await drained(wire, worker)
        seconds = time.monotonic() - started
        alive = worker.exit_status() is None and worker.pid == pid
    finally:
        worker.stop(grace=30.0)
    found = await read_store(s3, ROOT)
    breaches = judge(found, sent)
    breaches["keys out of place"] = wrong_keys(found)
    breaches["bodies of others shown"] = [*found.leaks, *leaks_of_log(log)]
    breaches["letters that are wrong"] = await compare_letters(s3, ROOT, found, sent)
    breaches["worker ended or stuck"] = [stuck or worker.tail()] if stuck or not alive else []
    return FuzzVerdict(len(sent), seed, seconds, found, by_kind(found, sent), breaches)


async def drained(wire: Wire, worker: Child) -> str | None:
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
        await s3.put_async(f"{ROOT}/{key}", json.dumps(value).encode())


def _wire(queue: Queue, settings: dict[str, str]) -> Wire:
    if queue is Queue.SQS:
        url = settings["BACKBURNER_QUEUE_URL"]
        return SqsWire(url.partition("endpoint=")[2], store.REGION, PREFIX, POOL)
    return KafkaWire(settings["BACKBURNER_QUEUE_URL"].removeprefix("kafka://"), PREFIX, POOL, PARTITION_COUNT)
