"""The scenario `rejoin`: a third worker joins under load, on a broker that keeps commit metadata.

Nothing that was finished and committed may run again: no record is stored twice, and what was begun twice is no more
than what was running when the partitions went away.
"""

import asyncio

from chaos.patience import until
from chaos.premises import Scene, premises
from chaos.report import Report
from chaos.servers import noida
from chaos.stage import QUICK_FAKE, Crew, Stage, stage

_WORKERS = 2
_RUNNING = 16
"""In each engine at once."""
_END_SECONDS = 240.0


def rejoin(requests: int) -> Report:
    """So many requests in one job."""

    async def play(scene: Scene) -> None:
        # Members with names, as of a StatefulSet: this broker's group stands still when nameless ones join at once.
        crew = Crew(_WORKERS, static=True, settings={**QUICK_FAKE, "BACKBURNER_CONCURRENCY": str(_RUNNING)})
        async with stage(scene.servers, crew, scene.folder, seed=requests) as on:
            await _play(on, scene.report, requests)

    return premises({"scenario": "rejoin", "requests": requests}, noida, play)


async def _play(on: Stage, report: Report, requests: int) -> None:
    asked = [on.load.ask("Say a word.") for _ in range(requests)]
    whole = asyncio.create_task(on.load.whole_job("rejoined", asked, seconds=_END_SECONDS))
    await until(lambda: len(on.journals.begun_since({})) > requests // 4, "a quarter begun", seconds=_END_SECONDS)
    third = on.workers.add("core")
    await until(lambda: third.ready, "the third worker's being ready", seconds=_END_SECONDS)
    await until(lambda: on.journals.begun_at(third.name), "the third worker's first request", seconds=_END_SECONDS)
    before = len(on.journals.begun_since({}))
    await whole
    verdict = report.verdict = on.check(await on.look())
    report.breaches += on.workers.ends
    report.begun_again = sum(times - 1 for times in on.journals.times().values())
    print(
        f"{requests:,} requests; the third worker began its first after {before:,} beginnings, and "
        f"{on.journals.begun_at(third.name):,} in all; {report.begun_again} begun twice, "
        f"{verdict.stored_twice} stored twice",
        flush=True,
    )
    if before >= requests:
        report.breaches.append("rejoin: the third worker came too late to meet any load; ask for more requests")
    if verdict.stored_twice:
        report.breaches.append(f"rejoin: {verdict.stored_twice} finished requests ran again")
    if report.begun_again > _WORKERS * _RUNNING:
        report.breaches.append(
            f"rejoin: {report.begun_again} ran again, and no more than {_WORKERS * _RUNNING} were running"
        )
