"""The scenario `poison`: a large job with a few requests that kill the engine, two workers, then a redrive.

Only the poison may fail, each with one dead letter, and each may cost few engines. With `in_flight`, so many requests
are in the one engine when it dies first, and what it takes to find the poison among them is measured.
"""

import asyncio
import json
import sys
import time
from dataclasses import replace
from functools import partial
from typing import Any

from chaos.book import Asked, Expect
from chaos.objects import S3Objects
from chaos.patience import until
from chaos.premises import Scene, premises
from chaos.records import read_json
from chaos.report import Report
from chaos.servers import apache, tansu
from chaos.stage import QUICK_FAKE, CrewSpec, Stage, stage
from chaos.workers import WORKER_PROGRAM

_WORKER_COUNT = 2
_RESTARTS_PER_POISON = 4
"""The death among many, those of ever fewer, and that of the poison alone."""
_SCALE_FACTOR = 20
"""By which all times of `in_flight` are shorter than what they stand for: restarts of 2 min, generations of 30 s."""
_RESTART_SECONDS = 120 / _SCALE_FACTOR
_GENERATION_SECONDS = 30 / _SCALE_FACTOR
_GOAL_MINUTES = {1: 25.0, 3: 60.0}
"""Of a worker's time at full scale, by how many kill."""
_PLAIN = "programs.one_by_one_worker"
"""What groups are measured against."""
_END_SECONDS = 240.0
_FOUND_SECONDS = 900.0
_CLI_SECONDS = 120.0
_DIE = "[[die]]"
_JOB = "poisoned"


def poison(requests: int, poisoned: int) -> Report:
    """So many requests, of which so many are poison."""

    async def play(scene: Scene) -> None:
        crew = CrewSpec(_WORKER_COUNT, settings={**QUICK_FAKE, "BACKBURNER_CONCURRENCY": "64"})
        async with stage(scene.servers, crew, scene.folder, seed=requests) as on:
            await _play(on, scene.report, requests, poisoned)

    return premises({"scenario": "poison", "requests": requests, "poisoned": poisoned}, tansu, play)


def poison_in_flight(in_flight: int, poisoned: int, *, one_by_one: bool = False) -> Report:
    """So many requests at once in one engine, of which so many are poison; the plain way tries them `one_by_one`."""

    async def play(scene: Scene) -> None:
        settings = {
            **QUICK_FAKE,
            "BACKBURNER_CONCURRENCY": str(in_flight),
            "BACKBURNER_FAKE_LOAD_SECONDS": str(_RESTART_SECONDS),
            "BACKBURNER_FAKE_LATENCY_SECONDS": str(_GENERATION_SECONDS),
        }
        # With a name, as of a StatefulSet, its partitions wait for it: what is measured is no session's end.
        crew = CrewSpec(1, named=1, program=_PLAIN if one_by_one else WORKER_PROGRAM, settings=settings)
        async with stage(scene.servers, crew, scene.folder, seed=in_flight) as on:
            await _find(on, scene.report, in_flight, poisoned, one_by_one=one_by_one)

    command = {"scenario": "poison", "in_flight": in_flight, "poisoned": poisoned, "one_by_one": one_by_one}
    return premises(command, partial(apache, brokers=1), play)


async def _find(on: Stage, report: Report, in_flight: int, poisoned: int, *, one_by_one: bool) -> None:
    on.workers.expect_ends(expected=True)
    asked = [on.load.ask("Say a word.") for _ in range(in_flight - poisoned)]
    # Late, so that all of them are in the engine by then.
    asked += [on.load.ask(_DIE, Expect.POISON) for _ in range(poisoned)]
    began = time.monotonic()
    await on.load.whole_job(_JOB, asked, seconds=_FOUND_SECONDS)
    minutes = (time.monotonic() - began) * _SCALE_FACTOR / 60
    await on.all_ready()
    deaths = on.workers.restarts
    report.command["found"] = {"minutes": minutes, "deaths": deaths}
    print(
        f"{in_flight} in flight, {poisoned} of them poison: {minutes:.0f} min of a worker at full scale and "
        f"{deaths} engine deaths",
        flush=True,
    )
    if poisoned == 1 and deaths > _RESTARTS_PER_POISON:
        report.breaches.append(f"poison: {deaths} engines died of one poisoned request")
    if (goal := _GOAL_MINUTES.get(poisoned)) is not None and minutes > goal and not one_by_one:
        report.breaches.append(f"poison: {minutes:.0f} min of a worker, and {goal:.0f} are wanted")
    report.verdict = on.check(await on.look())
    report.restarts, report.begun_again = deaths, on.journals.begun_again()
    report.breaches += on.supervisor.ends


async def _play(on: Stage, report: Report, requests: int, poisoned: int) -> None:
    on.workers.expect_ends(expected=True)
    asked = [on.load.ask("Say a word.") for _ in range(requests - poisoned)]
    for number in range(poisoned):
        asked.insert((2 * number + 1) * requests // (2 * poisoned), on.load.ask(_DIE, Expect.POISON))
    await on.load.whole_job(_JOB, asked, seconds=_END_SECONDS)
    await on.all_ready()
    engines = on.workers.restarts
    print(f"{requests:,} requests, {poisoned} of them poison: done, {engines} engine restarts", flush=True)
    if engines > _RESTARTS_PER_POISON * poisoned:
        report.breaches.append(f"poison: {engines} engines died of {poisoned} poisoned requests")
    before = on.check(await on.look())
    if (before.answered, before.failed, before.letters) != (requests - poisoned, poisoned, poisoned):
        report.breaches.append(
            f"poison: {before.answered} answered, {before.failed} errors and {before.letters} dead letters, "
            f"expected {requests - poisoned}, {poisoned} and {poisoned}"
        )
    await _redrive(on, report, [one for one in asked if one.expect is Expect.POISON])
    report.verdict = on.check(await on.look())
    report.restarts, report.begun_again = on.workers.restarts, on.journals.begun_again()
    report.breaches += on.supervisor.ends


async def _redrive(on: Stage, report: Report, poisoned: list[Asked]) -> None:
    """Send the letters again as a user does: it creates a linked job, whose requests are poison still."""
    objects = S3Objects(on.servers.address)
    (redriven,) = (await _cli("dlq", "redrive", "--job", _JOB, "--json"))["jobs"]
    name, count = redriven["id"], redriven["requests"]
    print(f"dlq redrive created the job {name} of {count} requests", flush=True)
    folder = f"tenants/{on.book.tenant}/jobs/{name}/"
    parent = read_json(objects, f"{folder}job.json").get("parent")
    if (parent, count) != (_JOB, len(poisoned)):
        report.breaches.append(f"redrive: {count} requests of {parent!r}, expected {len(poisoned)} of {_JOB!r}")
    await until(
        lambda: objects.read(f"{folder}summary.json"), f"the end of the redriven job {name}", seconds=_END_SECONDS
    )
    # They keep their custom_ids, come in the order of their letters' keys, and killed again what ran them.
    in_key_order = sorted(poisoned, key=lambda one: str(one.index))
    on.book.jobs[name] = [replace(one, job=name, index=index) for index, one in enumerate(in_key_order)]
    for one in poisoned:
        one.redriven = True


async def _cli(*arguments: str) -> Any:
    """What `backburner` prints with these arguments, as JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "backburner", *arguments, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(_CLI_SECONDS):
        printed, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"backburner {' '.join(arguments)} ended with {process.returncode}")
    return json.loads(printed)
