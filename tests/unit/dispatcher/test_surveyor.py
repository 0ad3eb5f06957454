"""The surveyor remembers what it needs of open jobs, and nothing of those that have ended."""

import asyncio
import gc
import tracemalloc

import pytest
from dispatcher_system import SETTINGS, System
from prometheus_client import CollectorRegistry

from backburner.connections import Connections
from backburner.dispatcher.metrics import Metrics
from backburner.dispatcher.parts import Parts
from backburner.dispatcher.settings import DispatcherSettings
from backburner.dispatcher.sharing import surveyor as surveyor_module
from backburner.dispatcher.sharing.surveyor import Surveyor
from backburner_schemas import keys
from backburner_schemas.job import JobManifest, StoredInput

_BYTES_PER_JOB = 1024
"""What an open job may take; a whole manifest takes four times as much."""


def surveyor_of(system: System) -> Surveyor:
    connections = Connections(DispatcherSettings.load(**SETTINGS), system.storage, system.queue)
    return Parts(DispatcherSettings.load(**SETTINGS), connections, Metrics(CollectorRegistry())).surveyor


async def open_job(system: System) -> tuple[str, str]:
    job = "acme", keys.new_job_id()
    manifest = JobManifest(
        id=job[1],
        tenant=job[0],
        created_at=1_700_000_000.25,
        deadline=4e9,
        metadata={f"key {one}": "v" * 100 for one in range(16)},
        stored=StoredInput(key=keys.stored_input(*job), bytes=1),
    )
    await system.storage.put(keys.open_job(*job), b"")
    await system.storage.put(keys.manifest(*job), manifest.model_dump_json().encode())
    return job


async def test_a_job_that_has_ended_is_forgotten(system: System) -> None:
    surveyor = surveyor_of(system)
    jobs = [await open_job(system) for _ in range(10)]
    await surveyor.look()
    assert set(surveyor._known) == set(jobs)
    await system.storage.delete([keys.open_job(*job) for job in jobs[1:]])
    await surveyor.look()
    assert set(surveyor._known) == {jobs[0]}


async def test_an_open_job_takes_less_than_a_kilobyte(system: System) -> None:
    surveyor = surveyor_of(system)
    await surveyor.look()
    for _ in range(100):
        await open_job(system)
    gc.collect()
    tracemalloc.start()
    try:
        await surveyor.look()
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(surveyor._known) == 100
    assert taken < 100 * _BYTES_PER_JOB


async def test_a_survey_that_ends_by_what_nobody_expects_leaves_none_of_its_reads_behind(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveyor, under_way = surveyor_of(system), 0
    for _ in range(10):
        await open_job(system)
    left = iter(range(10))

    async def slow(*_: object) -> JobManifest:
        nonlocal under_way
        if next(left) == 9:
            raise KeyError
        under_way += 1
        try:
            await asyncio.Event().wait()
        finally:
            under_way -= 1
        raise AssertionError

    monkeypatch.setattr(surveyor_module, "read_manifest", slow)
    with pytest.raises(KeyError):
        await surveyor.look()
    assert under_way == 0
