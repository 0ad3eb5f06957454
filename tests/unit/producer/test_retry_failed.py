"""The failed part of an ended job as a new job: exactly that part, from wherever its bodies can be had."""

import json
from functools import partial

import pytest
from clock import Clock
from dead_letters import TENANT, all_keys
from killed_client import killed_after

from backburner import InvalidInput, JobConflict, JobError, JobNotFound, JobState, QueueError
from backburner.client import Client
from backburner.dead_letters.plan import Plans
from backburner.jobs.finalizer import finalize
from backburner.jobs.job_watch import JobWatch
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import ContextLengthExceeded
from backburner_schemas.job import JobManifest


def line(custom_id, model="fake"):
    body = {"model": model, "messages": [{"role": "user", "content": f"question of {custom_id}"}]}
    return {"custom_id": custom_id, "url": "/v1/chat/completions", "body": body}


INPUT = [line(f"r{number}") for number in range(10)]
OWN_FAULT = {"r1", "r4"}
ENGINES_FAULT = {"r2", "r7"}


@pytest.fixture
async def ended(system):
    """Two requests failed by their own fault, two by the engine's; by now all would go well."""
    system.fail(OWN_FAULT, ContextLengthExceeded())
    system.fail(ENGINES_FAULT)
    job = await system.client.submit(INPUT, metadata={"run": "7"}, priority="low")
    await job.wait(timeout=5)
    system.mend()
    return job


async def answers(job):
    await job.wait(timeout=20)
    return {record.custom_id: record.text async for record in job.results()}


async def children(system, parent):
    manifests = [key for key in await all_keys(system, keys.jobs(TENANT)) if key.endswith("/job.json")]
    found = [JobManifest.model_validate_json((await system.storage.get(key)).data) for key in manifests]
    return [one for one in found if one.parent == parent]


async def test_exactly_what_failed_runs_again_from_the_given_input(system, ended, tmp_path):
    made = await system.client.retry_failed(ended.id, input=INPUT)
    assert (await answers(made)).keys() == OWN_FAULT | ENGINES_FAULT
    status = await made.status()
    assert (status.status, status.metadata) == (JobState.COMPLETED, {"run": "7"})
    (manifest,) = await children(system, ended.id)
    assert (manifest.id, manifest.priority) == (made.id, "low")
    assert await all_keys(system, keys.dead_letters(TENANT)) == []
    assert await all_keys(system, keys.redrives(TENANT)) == []
    # The same answers as the same requests get elsewhere: index and body belong together.
    again = await system.client.submit(INPUT)
    assert (await answers(made)).items() <= (await answers(again)).items()


async def test_its_own_failed_part_can_be_retried_without_an_input(system, ended):
    system.fail(["r4"], ContextLengthExceeded())
    made = await system.client.retry_failed(ended.id, input=INPUT, priority="high", deadline=600)
    assert (await made.status()).request_counts.failed == 1
    system.mend()
    again = await system.client.retry_failed(made.id)
    assert (await answers(again)).keys() == {"r4"}
    (manifest,) = await children(system, ended.id)
    assert manifest.priority == "high"
    assert manifest.deadline - manifest.created_at == pytest.approx(600, abs=2)


async def test_without_an_input_the_letters_will_do(system):
    system.fail(ENGINES_FAULT)
    job = await system.client.submit(INPUT)
    system.mend()
    made = await system.client.retry_failed(job.id)
    assert (await answers(made)).keys() == ENGINES_FAULT


async def test_a_body_that_cannot_be_had_is_told_with_the_remedy(system, ended):
    before = await all_keys(system, "")
    with pytest.raises(InvalidInput, match=r"2 of the 4 requests that failed are not stored \(index 1, 4\).*--input"):
        await system.client.retry_failed(ended.id)
    assert await all_keys(system, "") == before


async def test_requests_that_were_cut_off_run_again(system):
    system.hold()
    job = await system.client.submit(INPUT)
    await system.release(3)
    assert await system.expire(job.id) is JobState.EXPIRED
    await system.release()
    made = await system.client.retry_failed(job.id, input=INPUT)
    assert (await answers(made)).keys() == {f"r{number}" for number in range(3, 10)}


async def test_a_cancelled_jobs_rest_runs_again(system):
    system.hold()
    job = await system.client.submit(INPUT)
    await system.release(8)
    await job.cancel()
    await system.release()
    await job.wait(timeout=10)
    made = await system.client.retry_failed(job.id, input=INPUT)
    assert (await answers(made)).keys() == {"r8", "r9"}


async def test_a_job_whose_producer_left_is_sent_to_its_end(system):
    class Gone(Exception):
        pass

    lines = [line(f"r{number}") for number in range(600)]

    def items():
        yield from lines[:550]
        raise Gone

    with pytest.raises(Gone):
        await system.client.submit(items(), job_id="mine")
    clock = Clock()
    watch = JobWatch(clock)
    assert await finalize(system.storage, TENANT, "mine", grace=0.0, watch=watch) is None
    clock.now += 4_000
    ending = await finalize(system.storage, TENANT, "mine", grace=0.0, watch=watch)
    # What was read and not yet sent is not known to anybody.
    known = ending.summary.counts.completed
    assert 0 < known < 600
    with pytest.raises(JobError, match="nothing to retry"):
        await system.client.retry_failed("mine")
    with pytest.raises(JobConflict):
        await system.client.retry_failed("mine", input=INPUT)
    made = await system.client.retry_failed("mine", input=lines)
    assert (await answers(made)).keys() == {f"r{number}" for number in range(known, 600)}


@pytest.mark.parametrize(
    "other",
    [INPUT[:9], [*INPUT, line("r10")], [*INPUT[:9], line("other")], [line("r0", "x"), *INPUT[1:]]],
    ids=["shorter", "longer", "another request", "another body"],
)
async def test_another_input_is_refused(system, ended, other):
    with pytest.raises(JobConflict, match="not the one that job"):
        await system.client.retry_failed(ended.id, input=other)
    assert await children(system, ended.id) == []


async def test_a_file_is_an_input_whatever_its_spacing(system, ended, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("\n\n".join(json.dumps(one, indent=None, separators=(" , ", " : ")) for one in INPUT))
    made = await system.client.retry_failed(ended.id, input=path)
    assert (await answers(made)).keys() == OWN_FAULT | ENGINES_FAULT


async def test_nothing_failed_makes_no_job(system):
    job = await system.client.submit(INPUT)
    with pytest.raises(JobError, match="there is nothing to retry"):
        await system.client.retry_failed(job.id, input=INPUT)
    assert await children(system, job.id) == []


async def test_a_job_that_has_not_ended_is_refused_with_both_ways_out(system):
    system.hold()
    job = await system.client.submit(INPUT)
    with pytest.raises(JobConflict, match=r"(?s)has not ended.*watch.*cancel"):
        await system.client.retry_failed(job.id, input=INPUT)


@pytest.mark.parametrize("job", ["absent", "single-x", "stream-x"])
async def test_what_is_no_job_cannot_be_retried(system, job):
    with pytest.raises(JobNotFound):
        await system.client.retry_failed(job)


async def test_a_retry_that_was_killed_anywhere_is_completed_by_the_next():
    steps, killed = 0, True
    while killed:
        async with FakeSystem() as system:
            system.fail(OWN_FAULT | ENGINES_FAULT)
            job = await system.client.submit(INPUT)
            system.mend()
            work = partial(Client.retry_failed, job=job.id, input=INPUT)
            killed = await killed_after(system, steps, False, work)
            if not killed:
                break
            if await all_keys(system, keys.redrives(TENANT)) or not await children(system, job.id):
                await system.client.retry_failed(job.id, input=INPUT)
            (made,) = await children(system, job.id)
            assert (await answers(system.client.job(made.id))).keys() == OWN_FAULT | ENGINES_FAULT, steps
            assert await all_keys(system, keys.dead_letters(TENANT)) == []
            assert await all_keys(system, keys.redrives(TENANT)) == []
        steps += 1
    assert steps > 8


async def test_retrying_twice_makes_one_job(system, ended):
    made = await system.client.retry_failed(ended.id, input=INPUT)
    assert (await made.status()).parent == ended.id
    before = system.published
    again = await system.client.retry_failed(ended.id, input=INPUT)
    assert (again.id, system.published) == (made.id, before)
    assert "retried before" in again.warnings[0]
    assert len(await children(system, ended.id)) == 1


async def test_a_retry_that_was_completed_meanwhile_is_not_made_twice(system, ended, monkeypatch):
    # Between the other's first look and its plan, this one begins and ends.
    real, first = Plans.make, []

    async def make(self, plan, source):
        if not first:
            first.append(plan)
            first.append(await system.client.retry_failed(ended.id, input=INPUT))
        return await real(self, plan, source)

    monkeypatch.setattr(Plans, "make", make)
    late = await system.client.retry_failed(ended.id, input=INPUT)
    assert late.id == first[1].id
    assert len(await children(system, ended.id)) == 1
    assert await all_keys(system, keys.redrives(TENANT)) == []
    assert await system.storage.modified(keys.stored_input(TENANT, first[0].manifest.id)) is None


async def test_a_retry_whose_job_is_gone_may_be_made_anew(system, ended):
    made = await system.client.retry_failed(ended.id, input=INPUT)
    await system.storage.delete(await all_keys(system, keys.job(TENANT, made.id)))
    again = await system.client.retry_failed(ended.id, input=INPUT)
    assert again.id != made.id
    assert (await answers(again)).keys() == OWN_FAULT | ENGINES_FAULT


async def test_a_retry_that_breaks_off_says_how_to_complete_it(system, ended, monkeypatch):
    async def publish(self, messages):
        raise QueueError

    monkeypatch.setattr("backburner.testing.system._FakePublisher.publish", publish)
    with pytest.raises(QueueError, match=f"`backburner retry {ended.id}` again") as caught:
        await system.client.retry_failed(ended.id, input=INPUT)
    assert caught.value.job_id in caught.value.message


async def test_a_pool_that_comes_after_the_submit_changes_no_retry(system):
    system.fail(OWN_FAULT)
    sent = [*INPUT[:5], line("late", model="later"), *INPUT[5:]]
    job = await system.client.submit(sent, skip_invalid=True)
    await job.wait(timeout=5)
    system.mend()
    await system.client.register_pool("later")
    made = await system.new_client().retry_failed(job.id, input=sent)
    assert (await answers(made)).keys() == OWN_FAULT


async def test_a_redrive_that_was_broken_off_is_ended_first(system, ended):
    assert await killed_after(system, 3, True, partial(Client.redrive, job=ended.id))
    with pytest.raises(JobConflict, match="dlq redrive --job"):
        await system.client.retry_failed(ended.id, input=INPUT)
    await system.client.redrive(job=ended.id)
    made = await system.client.retry_failed(ended.id, input=INPUT)
    assert (await answers(made)).keys() == OWN_FAULT | ENGINES_FAULT


def test_the_blocking_client_retries_and_redrives_too():
    with FakeSystem() as system:
        client = system.sync_client
        system.fail(ENGINES_FAULT)
        job = client.submit(INPUT)
        assert {letter.custom_id for letter in client.dead_letters(job.id)} == ENGINES_FAULT
        letter = next(client.dead_letters())
        assert client.dead_letter(letter.id) == letter
        made = client.retry_failed(job.id, input=iter(INPUT))
        assert made.wait(timeout=5).request_counts.failed == 2
        system.mend()
        (again,) = client.redrive(job=made.id).jobs
        assert client.job(again.id).wait(timeout=5).request_counts.completed == 2
        assert client.purge_dead_letters(all=True) == 0


async def test_a_retry_whose_progress_fails_at_its_end_says_how_to_complete_it(system, ended):
    async def progress(seen):
        if seen.sent:
            raise RuntimeError("the dashboard is away")

    with pytest.raises(RuntimeError) as caught:
        await system.client.retry_failed(ended.id, input=INPUT, on_progress=progress)
    assert await system.storage.modified(keys.redrive_plan(TENANT, ended.id)) is not None
    (note,) = caught.value.__notes__
    assert "retry" in note
