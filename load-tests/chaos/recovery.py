"""The scenario `recovery`: a worker is killed in the middle of a job, and a new one takes its place.

What it had stored may not run again, whatever the queue knew of it. Told apart from that is what it had begun and not
stored: that has to. And how long it takes until the first request runs again.
"""

import asyncio
import signal
import time
from dataclasses import asdict, dataclass
from functools import partial

from chaos.answers import request_id
from chaos.objects import S3Objects
from chaos.patience import until
from chaos.premises import Scene, premises
from chaos.records import find_jobs, in_key_order
from chaos.report import Report
from chaos.scenario import QueuePlace, starter
from chaos.stage import QUICK_FAKE, CrewSpec, Stage, stage
from chaos.workers import WorkerPlace

_JOB = "recovered"
_RUNNING_REQUESTS = 16
"""In the engine at once."""
_SETTINGS = {
    **QUICK_FAKE,
    "BACKBURNER_CONCURRENCY": str(_RUNNING_REQUESTS),
    "BACKBURNER_FAKE_LATENCY_SECONDS": "0.5",
    # As they are by default.
    "BACKBURNER_SEGMENT_MIN_AGE_SECONDS": "1",
    "BACKBURNER_SQS_VISIBILITY_SECONDS": "30",
}
_STORED_SHARE = 1 / 3
"""Of the job, at which the worker is killed."""
_END_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the death of one worker cost."""

    stored: int
    """Requests whose record was in the store when it died."""
    stored_again: int
    """Of those, how many were begun again."""
    begun_again: int
    """Requests that it had begun and not stored, and that were begun again: what ran, and what waited for a segment."""
    load_seconds: float
    """From the kill until the new worker was ready."""
    first_seconds: float
    """From the kill until the first request was begun again."""
    end_seconds: float
    """From the kill until the job was frozen."""


def recovery(requests: int, place: QueuePlace) -> Report:
    """One job of so many requests, in the middle of which its only worker is killed."""

    async def play(scene: Scene) -> None:
        # On Apache Kafka with a name, as of a StatefulSet: its partitions wait for it. Tansu, whose members with names
        # are held up at each start, gets one without, as from `backburner up`.
        crew = CrewSpec(1, named=int(place is QueuePlace.APACHE), settings=_SETTINGS)
        async with stage(scene.servers, crew, scene.folder, seed=requests) as on:
            await _play(on, scene.report, requests)

    return premises({"scenario": "recovery", "requests": requests, "place": place}, starter(place), play)


async def _play(on: Stage, report: Report, requests: int) -> None:
    asked = [on.load.ask("Say a word.") for _ in range(requests)]
    whole = asyncio.create_task(on.load.whole_job(_JOB, asked, seconds=_END_SECONDS))
    await until(lambda: len(_stored(on)) >= requests * _STORED_SHARE, "a third that is stored", seconds=_END_SECONDS)
    (worker,) = on.workers.core
    worker.send(signal.SIGKILL, "it was killed")
    killed, mark = time.monotonic(), on.journals.mark()
    before = set(on.journals.begun_since({}))
    ready = asyncio.create_task(_ready(worker, killed))
    # What was on its way into the store has come by the time that anybody begins anew.
    await until(partial(on.journals.begun_since, mark), "the first request after that", seconds=_END_SECONDS)
    first = time.monotonic() - killed
    stored = _stored(on) & before
    load = await ready
    await whole
    end = time.monotonic() - killed
    again = before & set(on.journals.begun_since(mark))
    found = Recovery(len(stored), len(again & stored), len(again - stored), load, first, end)
    report.command["found"] = asdict(found)
    report.begun_again, report.restarts = len(again), on.supervisor.restarts
    report.verdict = on.check(await on.look())
    report.breaches += on.supervisor.ends
    if found.stored_again:
        report.breaches.append(f"recovery: {found.stored_again} requests that were stored ran again")
    print(
        f"{found.stored} were stored, of which {found.stored_again} ran again, and {found.begun_again} were not; "
        f"{load:.1f} s until the new worker was ready, {first:.1f} s until the first began, {end:.1f} s until the end",
        flush=True,
    )


async def _ready(worker: WorkerPlace, killed: float) -> float:
    """Seconds from the kill until the next worker of that place is ready."""
    await until(lambda: worker.started > 1 and worker.ready, "a new worker", seconds=_END_SECONDS)
    return time.monotonic() - killed


def _stored(on: Stage) -> set[str]:
    """The ids of the job's requests that have a response."""
    objects = S3Objects(on.servers.address)
    keys = [key for job in find_jobs(objects) if job.job == _JOB for key in job.segments]
    return {
        request_id(on.book.tenant, _JOB, record.index)
        for record in in_key_order(objects, keys)
        if record.response is not None
    }
