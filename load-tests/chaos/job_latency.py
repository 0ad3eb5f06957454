"""The scenario `job-latency`: what a job takes outside of its engine, by stage, on a worker that is warm.

Every request is in the engine at once and takes the same time there, so that the engine's share is known. What is left
is the way to it and the way back: the submit, the queue, the last segment, the end of the job, and the client's notice.
"""

import asyncio
import inspect
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, fields

from chaos.objects import S3Objects
from chaos.patience import NeverCame
from chaos.premises import Scene, premises
from chaos.report import Report
from chaos.scenario import QueuePlace, starter
from chaos.stage import FAKE, CrewSpec, Stage, stage

_ENGINE_SECONDS = 1.0
_SETTINGS = {
    **FAKE,
    "BACKBURNER_FAKE_LATENCY_SECONDS": str(_ENGINE_SECONDS),
    "BACKBURNER_CONCURRENCY": "4096",
    "BACKBURNER_RESULT_CACHE_SECONDS": "0",
    "BACKBURNER_HTTP_HOST": "127.0.0.1",
    "BACKBURNER_SQS_WAIT_SECONDS": "5",
    "BACKBURNER_SQS_VISIBILITY_SECONDS": "30",
}
_GOAL_SECONDS = 0.4
_END_SECONDS = 60.0
_POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Stages:
    """Seconds of one job, one stage behind the other, and what it took of the store."""

    to_engine: float
    """From the call of `submit` until its last request is in the engine."""
    submit_left: float
    """Of the submit, what is left by then: the seal."""
    to_store: float
    """From the last answer until the job's summary is in the store: the last segment, and the freeze."""
    to_notice: float
    """From there until `wait` has returned."""
    store_requests: int
    """What client and worker asked the store for meanwhile, the worker's looks at other things included."""

    @property
    def outside(self) -> float:
        """All that is not the engine's."""
        return self.to_engine + self.to_store + self.to_notice


def job_latency(requests: int, jobs: int, place: QueuePlace) -> Report:
    """So many jobs of so many requests, one after the other."""

    async def play(scene: Scene) -> None:
        async with stage(scene.servers, CrewSpec(1, settings=_SETTINGS), scene.folder, seed=requests) as on:
            await _play(on, scene.report, requests, jobs)

    command = {"scenario": "job-latency", "requests": requests, "jobs": jobs, "place": place}
    return premises(command, starter(place), play)


async def _play(on: Stage, report: Report, requests: int, jobs: int) -> None:
    await _job(on, requests, "warm-up")
    found = [await _job(on, requests, f"timed-{number}") for number in range(jobs)]
    middle = {field.name: statistics.median(getattr(one, field.name) for one in found) for field in fields(Stages)}
    outside = statistics.median(one.outside for one in found)
    report.command["found"] = {"outside": outside, **middle, "jobs": [asdict(one) for one in found]}
    report.verdict = on.check(await on.look())
    report.begun_again = on.journals.begun_again()
    report.breaches += on.supervisor.ends
    stages = ", ".join(f"{name} {value:.4g}" for name, value in middle.items())
    print(f"{outside:.3f} s outside of the engine, {_GOAL_SECONDS} s wanted: {stages}", flush=True)


async def _job(on: Stage, requests: int, name: str) -> Stages:
    asked = [on.load.ask("Say a word.") for _ in range(requests)]
    link = on.servers.store_link
    assert link is not None
    mark, asked_before, began = on.journals.mark(), link.requests, time.monotonic()
    begun = asyncio.create_task(_moment(lambda: len(on.journals.begun_since(mark)) >= requests))
    batch = await on.load.submitted_job(name, asked)
    submitted = time.monotonic()
    waiting = asyncio.create_task(on.load.done(batch, _END_SECONDS))
    in_engine = await begun
    answered = in_engine + _ENGINE_SECONDS
    await asyncio.sleep(answered - time.monotonic())
    summary = f"tenants/{on.book.tenant}/jobs/{name}/summary.json"
    objects = S3Objects(on.servers.address)
    stored = await _moment(lambda: asyncio.to_thread(objects.read, summary))
    await waiting
    noticed = time.monotonic()
    left = max(submitted - in_engine, 0.0)
    return Stages(in_engine - began, left, stored - answered, noticed - stored, link.requests - asked_before)


async def _moment(condition: Callable[[], object | Awaitable[object]]) -> float:
    """The monotonic time at which that became true."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        now = time.monotonic()
        if found:
            return now
        if now > deadline:
            raise NeverCame(f"within {_END_SECONDS:.0f} s never: a stage of the job")
        await asyncio.sleep(_POLL_SECONDS)
