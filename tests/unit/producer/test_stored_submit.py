"""Submits that store their input: what lies in the store afterwards, and what a second one finds."""

import asyncio
import json
from datetime import timedelta

import pytest
from dead_letters import line

from backburner import InvalidInput, JobConflict, JobError, SubmitProgress, SyncClient
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.job import JobManifest


async def manifest_of(system, job):
    return JobManifest.model_validate_json((await system.storage.get(keys.manifest("default", job.id))).data)


async def input_of(system, job):
    return (await system.storage.get(keys.stored_input("default", job.id))).data


def file_of(folder, *texts):
    path = folder / "in.jsonl"
    path.write_bytes(b"".join(texts))
    return path


TEXTS = [b'{"custom_id":"r%d","url":"/v1/completions","body":{"model":"fake","prompt":"x"}}\r\n' % n for n in range(3)]


async def test_a_file_is_stored_as_it_is(system, tmp_path):
    path = file_of(tmp_path, b"\xef\xbb\xbf", *TEXTS, b"\n")
    job = await system.client.submit(path, stored=True)
    assert await input_of(system, job) == path.read_bytes()
    manifest = await manifest_of(system, job)
    assert (manifest.stored.bytes, manifest.stored.skipped) == (path.stat().st_size, 0)
    for key in (keys.open_job("default", job.id), keys.pending("default", job.id)):
        assert await system.storage.modified(key) is not None
    # It is known by what it holds, not by how it is written.
    other = await system.client.submit([text.strip() for text in TEXTS], stored=True)
    assert (await manifest_of(system, other)).stored.sha256 == manifest.stored.sha256


async def test_an_iterable_is_stored_line_by_line(system):
    told: list[SubmitProgress] = []
    job = await system.client.submit(
        (line(f"r{number}") for number in range(1_500)), stored=True, on_progress=told.append
    )
    assert len((await input_of(system, job)).splitlines()) == 1_500
    assert (told[-1].sent, told[-1].total) == (1_500, 1_500)
    assert not (await job.status()).sealed


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
async def test_texts_with_line_breaks_are_stored_on_a_line_each(system, end):
    texts = [json.dumps(line(f"r{number}"), indent=2).replace("\n", end) for number in range(3)]
    job = await system.client.submit(texts, stored=True)
    stored = await input_of(system, job)
    assert [json.loads(text)["custom_id"] for text in stored.splitlines()] == ["r0", "r1", "r2"]
    # It is the same input as one that was written otherwise.
    compact = await system.client.submit([line(f"r{number}") for number in range(3)], stored=True)
    assert (await manifest_of(system, job)).stored.sha256 == (await manifest_of(system, compact)).stored.sha256


async def test_it_may_wait_longer_than_the_broker_keeps_requests(system):
    job = await system.client.submit([line("a")], stored=True, deadline=timedelta(days=365))
    status = await job.status()
    assert status.expires_at - status.created_at == 365 * 86_400
    with pytest.raises(JobError, match="stored job"):
        await system.client.submit([line("a")], deadline=timedelta(days=365))


async def test_nothing_is_left_of_an_input_that_is_refused(system):
    with pytest.raises(InvalidInput):
        await system.client.submit([line("a"), line("a")], stored=True, job_id="twice")
    with pytest.raises(InvalidInput):
        await system.client.submit([], stored=True, job_id="twice")
    assert [one.key async for one in system.storage.scan("") if "twice" in one.key] == []


async def test_a_submit_that_was_broken_off_is_completed_by_the_next(system, monkeypatch):
    create = system.storage.create

    async def killed(key, data):
        if key.endswith("job.json"):
            raise KeyboardInterrupt
        return await create(key, data)

    with monkeypatch.context() as patch:
        patch.setattr(system.storage, "create", killed)
        with pytest.raises(KeyboardInterrupt):
            await system.client.submit([line("a")], stored=True, job_id="mine", priority="low")
    job = await system.client.submit([line("a")], stored=True, job_id="mine")
    assert await system.storage.modified(keys.pending("default", "mine")) is not None
    assert (await manifest_of(system, job)).priority == "normal"
    with pytest.raises(JobConflict):
        await system.client.submit([line("b")], stored=True, job_id="mine")


async def test_the_same_id_is_either_stored_or_sent(system):
    await system.client.submit([line("a")], job_id="sent")
    with pytest.raises(JobConflict):
        await system.client.submit([line("a")], stored=True, job_id="sent")
    assert await system.storage.modified(keys.stored_input("default", "sent")) is None
    await system.client.submit([line("a")], stored=True, job_id="stored")
    for again in ("a", "another"):
        with pytest.raises(JobConflict, match="stored=True"):
            await system.client.submit([line(again)], job_id="stored")
    assert system.published == 1
    assert await system.storage.modified(keys.cursor("default", "stored")) is None


async def test_of_a_job_that_is_sent_already_nothing_can_be_held_back(system):
    job = await system.client.submit([line("a")])
    with pytest.raises(JobConflict, match="cannot be paused"):
        await job.pause()


def test_threads_have_the_same(tmp_path):
    from backburner.testing import FakeSystem

    with FakeSystem() as system:
        client = system.sync_client
        assert isinstance(client, SyncClient)
        job = client.submit(file_of(tmp_path, *TEXTS), stored=True, window="22:00-06:00")
        assert job.pause().waiting.reason == "dispatcher"
        assert job.resume().id == job.id


async def test_a_submit_that_loses_its_id_to_another_leaves_the_others_input_alone(system, monkeypatch):
    put, reached, allowed = Storage.put, asyncio.Event(), asyncio.Event()

    async def held(self, key, data):
        if key in {keys.open_job("default", "mine"), keys.stored_input("default", "mine")} and not reached.is_set():
            reached.set()
            await allowed.wait()
        await put(self, key, data)

    monkeypatch.setattr(Storage, "put", held)
    loser = asyncio.create_task(system.client.submit([line("other")], stored=True, job_id="mine"))
    await reached.wait()
    job = await system.client.submit([line("a"), line("b")], stored=True, job_id="mine")
    before = await input_of(system, job)
    allowed.set()
    with pytest.raises(JobConflict):
        await loser
    assert await input_of(system, job) == before
