"""Dead letters sent again: into a new job, or under their own address."""

import json

import pytest
from dead_letters import TENANT, all_keys, answers, children, envelope, letters, line, put_letter

from backburner import JobError, JobState, LetterNotFound
from backburner.client import Client
from backburner_schemas import keys
from backburner_schemas.errors import ContextLengthExceeded, EngineError, PoisonRequest, QueueError
from backburner_schemas.job import JobManifest


async def test_a_jobs_letters_become_a_whole_new_job_with_its_parent(system, failed):
    done = await system.client.redrive(job=failed.id, deadline=3600)
    (made,) = done.jobs
    assert (made.parent, made.requests, done.kept_total) == (failed.id, 3, 0)
    assert await answers(system, made.id) == {"r2": True, "r5": True, "r9": True}
    child = system.client.job(made.id)
    status = await child.status()
    assert (status.status, status.metadata) == (JobState.COMPLETED, {"run": "7"})
    assert status.expires_at - status.created_at == pytest.approx(3600, abs=2)
    assert (await child.reconcile()).agrees
    assert await children(system, failed.id) == [made.id]
    assert await letters(system) == []
    assert await all_keys(system, keys.redrives(TENANT)) == []
    # The parent stays as it was.
    assert (await failed.status()).request_counts.failed == 3


async def test_what_fails_again_is_a_letter_of_the_new_job(system, failed):
    system.fail("r5")
    (made,) = (await system.client.redrive(all=True)).jobs
    assert [letter.id for letter in await letters(system)] == [f"{made.id}/1"]
    system.mend()
    (grandchild,) = (await system.client.redrive(all=True)).jobs
    assert await answers(system, grandchild.id) == {"r5": True}


async def test_one_letter_is_redriven_alone(system, failed):
    (made,) = (await system.client.redrive(id=f"{failed.id}/5")).jobs
    assert await answers(system, made.id) == {"r5": True}
    assert [letter.index for letter in await letters(system)] == [2, 9]
    with pytest.raises(LetterNotFound):
        await system.client.redrive(id=f"{failed.id}/5")


@pytest.mark.parametrize("options", [{}, {"job": "a", "all": True}, {"id": "a/1", "job": "a"}])
async def test_exactly_one_choice_is_needed(system, options):
    for method in (system.client.redrive, system.client.purge_dead_letters):
        with pytest.raises(JobError, match="exactly one"):
            await method(**options)


async def test_a_body_that_was_stored_goes_along(system):
    system.fail(["big"])
    text = "x" * 2_000_000
    job = await system.client.submit([line("big", text)])
    assert (await letters(system))[0].envelope.body_ref is not None
    system.mend()
    (made,) = (await system.client.redrive(job=job.id)).jobs
    assert await answers(system, made.id) == {"big": True}
    assert await all_keys(system, keys.bodies(TENANT, made.id))


async def test_a_single_request_keeps_its_handle(system):
    system.fail(["s"], PoisonRequest())
    handle = await system.client.enqueue("hello", custom_id="s")
    await system.storage.put(keys.suspect(TENANT, handle.job, 0), b"")
    system.mend()
    system.hold()
    done = await system.client.redrive(all=True)
    assert (done.jobs, done.republished) == ([], 1)
    (message,) = system._waiting
    assert (message.lane, message.facts.attempt, message.facts.suspect) == ("normal", 1, False)
    assert await system.storage.get(keys.suspect(TENANT, handle.job, 0)) is None
    assert await letters(system) == []
    await system.release()
    assert (await handle.result(timeout=5)).ok
    assert await all_keys(system, keys.redrives(TENANT)) == []


async def test_many_single_requests_are_sent_and_counted_side_by_side(system):
    system.fail(lambda one: True)
    handles = [await system.client.enqueue("hello") for _ in range(50)]
    system.mend()
    assert (await system.client.redrive(all=True)).republished == 50
    for handle in handles:
        assert (await handle.result(timeout=5)).ok


async def test_letters_of_streams_keep_their_address_and_get_a_new_deadline(system):
    stream = "stream-backburner.fake.normal-2026-05-04"
    await put_letter(system, envelope(stream, "3-17", "a"))
    await put_letter(system, envelope(stream, "3-18", "b", deadline=5.0))
    await put_letter(system, envelope("feed", "x1", "c"))
    system.hold()
    done = await system.client.redrive(all=True)
    assert (done.republished, done.jobs) == (3, [])
    sent = {one.envelope.custom_id: one.envelope for one in system._waiting}
    assert sent["a"].address == envelope(stream, "3-17", "a").address
    assert sent["a"].deadline is None
    assert sent["b"].deadline > 1.7e9
    await system.release()
    records = [record async for record in system.client.job(stream).results(follow=False)]
    assert sorted(record.backburner.index for record in records) == ["3-17", "3-18"]


async def test_a_letter_written_anew_while_its_request_is_published_stays(system):
    """The engine is as broken as before: what it leaves behind must not go with the old letter."""
    system.fail(["s"])
    await system.client.enqueue("hello", custom_id="s")
    before = (await letters(system))[0]
    assert (await system.client.redrive(all=True)).republished == 1
    (after,) = await letters(system)
    assert after.id == before.id
    assert after.failed_at > before.failed_at


async def test_what_cannot_be_redriven_is_told_and_kept(system, failed):
    kept = [
        await put_letter(
            system, envelope(failed.id, 3, "r3", tenant="other"), at=keys.dead_letter(TENANT, failed.id, 3)
        ),
        await put_letter(system, envelope(failed.id, 4, "r4", model="unknown")),
        await put_letter(system, envelope(failed.id, "x", "rx")),
        await put_letter(system, envelope(failed.id, 6, "r2"), at=keys.dead_letter(TENANT, failed.id, 6)),
        await put_letter(system, envelope(failed.id, 7, "r7"), envelope=None, raw="AAAA"),
        await put_letter(
            system,
            envelope(failed.id, 8, "r8", body=None, body_ref=keys.body(TENANT, failed.id, 8)),
        ),
        await put_letter(system, envelope("stream-q-2026-05-04", "1-1", "s", model="unknown")),
    ]
    await system.storage.put(keys.dead_letter(TENANT, failed.id, 0), b"{broken")
    await system.storage.put(f"{keys.dead_letters(TENANT)}a/b/c/7.json", b"no letter")
    # All indexes but 2, 5 and 9 have their response; these letters are judged before that is looked up.
    found = {letter.id: letter for letter in await letters(system, stale=True)}
    assert found[f"{failed.id}/0"].code == "store_object_broken"
    done = await system.client.redrive(all=True)
    reasons = {one.id: one.reason for one in done.kept}
    assert "belongs to another request" in reasons[f"{failed.id}/3"]
    assert "cannot be read" in reasons[f"{failed.id}/0"]
    assert "no envelope" in reasons[f"{failed.id}/7"]
    assert "are numbers" in reasons[f"{failed.id}/x"]
    assert "no pool serves" in reasons["stream-q-2026-05-04/1-1"]
    assert done.jobs[0].requests == 3
    assert set(kept) <= set(await all_keys(system))


async def test_the_letters_of_an_unfinished_job_are_judged_one_by_one(system):
    system.hold()
    job = await system.client.submit([line(f"r{number}") for number in range(10)])
    await put_letter(system, envelope(job.id, 0, "r0"))
    await put_letter(system, envelope(job.id, 1, "r0"))
    await put_letter(system, envelope(job.id, 2, "r2", model="unknown"))
    await put_letter(system, envelope(job.id, 3, "r3", body=None, body_ref=keys.body(TENANT, job.id, 3)))
    done = await system.client.redrive(job=job.id)
    reasons = {one.id: one.reason for one in done.kept}
    assert "was used before" in reasons[f"{job.id}/1"]
    assert "no pool serves" in reasons[f"{job.id}/2"]
    assert "is gone" in reasons[f"{job.id}/3"]
    assert (done.jobs[0].requests, done.kept_total) == (1, 3)
    assert [letter.index for letter in await letters(system)] == [1, 2, 3]


async def test_a_job_whose_own_objects_are_broken_keeps_its_letters(system, failed):
    await system.storage.put(keys.manifest(TENANT, failed.id), b"{")
    assert len(await letters(system)) == 3
    done = await system.client.redrive(all=True)
    assert (done.kept_total, done.jobs) == (3, [])
    assert "cannot be read as JobManifest" in done.kept[0].reason


async def test_another_jobs_plan_is_not_carried_out(system, failed):
    other = JobManifest(id="evil", tenant="other", created_at=1.0, deadline=4e9, parent=failed.id)
    plan = {"manifest": other.model_dump(mode="json"), "letters": "2"}
    await system.storage.put(keys.redrive_plan(TENANT, failed.id), json.dumps(plan).encode())
    done = await system.client.redrive(all=True)
    assert "another job's plan" in done.kept[0].reason
    assert await all_keys(system, keys.jobs("other")) == []


async def test_a_queue_that_is_away_leaves_every_letter_where_it_was(system, failed):
    system.fail(["s"])
    await system.client.enqueue("hello", custom_id="s")

    class Away:
        async def start(self):
            raise QueueError

        async def publish(self, messages):
            raise QueueError

        async def close(self):
            pass

    class Unwell(Away):
        async def start(self):
            pass

    before = [key for key in await all_keys(system) if "/dead/" in key]
    for kind in (Away, Unwell):
        async with Client.from_parts(system.settings, system.storage, kind()) as client:
            with pytest.raises(QueueError):
                await client.redrive(all=True)
            with pytest.raises(QueueError):
                await client.redrive(id=before[-1].split("/dead/")[1].removesuffix(".json"))
        assert [key for key in await all_keys(system) if "/dead/" in key] == before
    system.mend()
    done = await system.client.redrive(all=True)
    assert (done.jobs[0].requests, done.republished) == (3, 1)
    assert len(await children(system, failed.id)) == 1


async def test_more_letters_than_are_listed_read_or_removed_at_once_make_one_job(system):
    count = 1_100
    system.fail(lambda one: True)
    job = await system.client.submit([line(f"r{number}") for number in range(count)])
    assert (await job.status()).request_counts.failed == count
    assert sum([1 async for _ in system.client.dead_letters()]) == count
    system.mend()
    (made,) = (await system.client.redrive(all=True)).jobs
    assert made.requests == count
    assert (await system.client.job(made.id).status()).request_counts.completed == count
    assert await letters(system) == []


async def test_the_fake_leaves_no_letter_for_a_requests_own_fault(system):
    system.fail(["a"], ContextLengthExceeded())
    system.fail(["b"], EngineError())
    await system.client.submit([line("a"), line("b")])
    assert [letter.custom_id for letter in await letters(system)] == ["b"]
