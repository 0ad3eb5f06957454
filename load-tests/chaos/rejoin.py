"""The scenario `rejoin`: a third worker joins under load, on a broker that keeps commit metadata.

Nothing that was finished and committed may run again. What was committed is read from the broker all the time while the
group rebalances; whatever is begun after it was seen as done is a breach.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from chaos.answers import request_id
from chaos.background import ended
from chaos.commits import Committed, committed, is_done
from chaos.journals import Mark
from chaos.patience import until
from chaos.premises import Scene, premises
from chaos.queue_state import QueueState
from chaos.report import Report
from chaos.servers import PARTITION_COUNT, apache
from chaos.stage import QUICK_FAKE, CrewSpec, Stage, stage

_WORKER_COUNT = 2
_RUNNING_REQUESTS = 16
"""In each engine at once."""
_END_SECONDS = 240.0
_POLL_SECONDS = 0.1


def rejoin(requests: int) -> Report:
    """Jobs of so many requests, one after the other until the third worker has a part in one."""

    async def play(scene: Scene) -> None:
        # Members with names, as of a StatefulSet.
        crew = CrewSpec(
            _WORKER_COUNT,
            named=_WORKER_COUNT,
            settings={**QUICK_FAKE, "BACKBURNER_CONCURRENCY": str(_RUNNING_REQUESTS)},
        )
        async with stage(scene.servers, crew, scene.folder, seed=requests) as on:
            await _play(on, scene.report, requests)

    return premises({"scenario": "rejoin", "requests": requests}, partial(apache, brokers=1), play)


async def _play(on: Stage, report: Report, requests: int) -> None:
    looks: list[tuple[Committed, Mark]] = []
    joined = asyncio.Event()
    async with _watched(on, looks):
        whole = asyncio.create_task(_jobs_until(joined, on, requests))
        await until(lambda: len(on.journals.begun_since({})) > requests // 4, "a quarter begun", seconds=_END_SECONDS)
        third = on.workers.add("core")
        await until(lambda: on.journals.begun_at(third.name), "the third worker's first request", seconds=_END_SECONDS)
        before = len(on.journals.begun_since({}))
        joined.set()
        jobs = await whole
    queue = await on.look()
    verdict = report.verdict = on.check(queue)
    report.breaches += on.supervisor.ends
    report.begun_again = on.journals.begun_again()
    again = _ran_after_commit(on, looks, queue)
    print(
        f"{jobs * requests:,} requests; the third worker began its first after {before:,} beginnings, and "
        f"{on.journals.begun_at(third.name):,} in all; {report.begun_again} begun twice, {verdict.stored_twice} stored "
        f"twice; {len(looks)} looks at what was committed, and of that {len(again)} ran again",
        flush=True,
    )
    if not looks:
        report.breaches.append("rejoin: nobody saw what was committed, so nothing was judged")
    if again:
        report.breaches.append(f"rejoin: {len(again)} requests that were finished and committed ran again")


async def _jobs_until(joined: asyncio.Event, on: Stage, requests: int) -> int:
    """Run jobs, one after the other, until a worker has joined while one ran; how many there were."""
    jobs = 0
    while not joined.is_set():
        asked = [on.load.ask("Say a word.") for _ in range(requests)]
        jobs += 1
        await on.load.whole_job(f"rejoined-{jobs}", asked, seconds=_END_SECONDS)
    return jobs


@contextlib.asynccontextmanager
async def _watched(on: Stage, looks: list[tuple[Committed, Mark]]) -> AsyncIterator[None]:
    """Within the block, what is committed is read over and over, each time with the journals' lengths right after."""
    group = f"{on.book.prefix}.{on.book.pool}"
    partitions = [TopicPartition(f"{group}.normal", number) for number in range(PARTITION_COUNT)]
    admin = AIOKafkaAdminClient(bootstrap_servers=on.servers.bootstrap)
    await admin.start()

    async def watch() -> None:
        while True:
            found = await committed(admin, group, partitions)
            looks.append((found, on.journals.mark()))
            await asyncio.sleep(_POLL_SECONDS)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        try:
            await ended(watching)
        finally:
            await admin.close()


def _ran_after_commit(on: Stage, looks: list[tuple[Committed, Mark]], queue: QueueState) -> set[str]:
    """The ids of what was begun after it had been seen as committed."""
    at = {
        request_id(on.book.tenant, message.job, message.index): message.at
        for message in queue.messages or ()
        if message.at is not None
    }
    again: set[str] = set()
    for found, mark in looks:
        again |= {name for name in on.journals.begun_since(mark) if name in at and is_done(found, *at[name])}
    return again
