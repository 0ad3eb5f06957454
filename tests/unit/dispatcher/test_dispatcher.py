"""A whole dispatcher: what it sends, in which order, and what becomes of jobs that it cannot send."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from dispatcher_system import System
from live import lines
from tenacity import wait_none
from waiting import until
from wrong_clock import SHIFTS, set_clock, store_elsewhere

from backburner.dispatcher import job_run, waiting
from backburner.dispatcher.pending import PendingJob
from backburner.ordering.plan import Plan, PlanWriter
from backburner.storage import Storage
from backburner.submission.stored_job import create_stored_job
from backburner_schemas import keys
from backburner_schemas.errors import StoreDenied, StoreError
from backburner_schemas.job import Cursor, JobManifest, StoredInput
from backburner_schemas.pool import WorkerAnnouncement


async def answered(system, job, count):
    """Let it look as if so many requests had their records."""
    name = keys.SegmentName(keys.new_ulid(), 0, count, 0, 1, 1, 1)
    await system.storage.put(keys.segment(job.tenant, job.id, name), b"{}\n")


async def test_tenants_are_served_by_the_weights_of_the_quotas_file(system):
    quotas = system.folder / "quotas.toml"
    quotas.write_text("[tenants.gold]\nweight = 3.0\n")
    await system.announce()
    system.queue.open.clear()
    async with (
        system.client() as client,
        system.dispatcher(quotas_file=str(quotas), dispatch_backlog=100_000) as dispatcher,
    ):
        jobs = [await client.submit(lines(6_000), stored=True, tenant=tenant) for tenant in ("gold", "iron")]
        await until(lambda: all(dispatcher.sent_of((job.tenant, job.id)) is not None for job in jobs), "both under way")
        system.queue.open.set()
        await until(lambda: len(system.queue.messages) == 12_000, "all of both")
        early = system.queue.tenants(6_000)
        assert early["gold"] / early["iron"] == pytest.approx(3, rel=0.4)


async def test_nothing_is_remembered_of_a_job_that_was_sent(system):
    await system.announce()
    async with system.client() as client, system.dispatcher() as dispatcher:
        job = await client.submit(lines(10), stored=True)
        await system.until_sealed(job)
        await until(lambda: not dispatcher._watch and not dispatcher.claims and not len(dispatcher._pending), "nothing")


async def test_no_more_is_sent_than_may_be_unanswered_and_it_goes_on_as_records_come(system):
    await system.announce()
    async with system.client() as client, system.dispatcher(dispatch_backlog=700):
        job = await client.submit(lines(3_000), stored=True)
        await system.waits_for(job, "backlog")
        first = len(system.queue.messages)
        assert 700 - 512 < first <= 700
        await answered(system, job, first)
        await until(lambda: len(system.queue.messages) > first, "more")
        await system.waits_for(job, "backlog")
        assert len(system.queue.messages) <= first + 700


async def test_a_job_that_is_paused_half_way_goes_on_from_there(system):
    await system.announce()
    async with system.client() as client, system.dispatcher(dispatch_backlog=700):
        job = await client.submit(lines(2_000), stored=True)
        await until(lambda: system.queue.messages, "the first requests")
        await job.pause()
        await system.waits_for(job, "paused")
        sent = len(system.queue.messages)
        cursor = await system.cursor(job)
        assert (cursor.owner, cursor.count) == ("", sent)
        await answered(system, job, 10_000)
        await job.resume()
        await until(lambda: len(system.queue.messages) == 2_000, "the rest")
        assert sorted(system.queue.indexes) == [*range(2_000)]


async def test_what_begins_alike_goes_out_together(system):
    await system.announce()
    requests = lines(400, "{}")
    for number, request in enumerate(requests):
        request["body"]["messages"].insert(0, {"role": "system", "content": f"{number % 20};" * 100})
    async with system.client() as client, system.dispatcher(dispatch_backlog=10_000):
        await client.submit(requests, stored=True)
        await until(lambda: len(system.queue.messages) == 400, "all")
    beginnings = [index % 20 for index in system.queue.indexes]
    changes = sum(one != other for one, other in pairwise(beginnings))
    assert changes == 19


async def test_a_queue_that_refuses_is_asked_until_it_takes_all(system):
    await system.announce()
    system.queue.failing = 3
    async with system.client() as client, system.dispatcher():
        job = await client.submit(lines(600), stored=True)
        await system.until_sealed(job)
    assert sorted(system.queue.indexes) == [*range(600)]


async def test_a_queue_that_nothing_is_sent_to_any_more_does_not_count_as_away(system, monkeypatch):
    monkeypatch.setattr("backburner.dispatcher.sender._PATIENCE_SECONDS", 0.0)
    await system.announce()
    system.queue.missing.add("fake")
    async with system.client() as client, system.dispatcher() as dispatcher:
        job = await client.submit(lines(5), stored=True)
        await until(dispatcher._sender.unavailable_reason, "a queue that is away")
        # From here on another dispatcher has the job: this one would never learn that the queue is back.
        thief = (await system.cursor(job)).model_copy(update={"owner": "thief", "updated_at": time.time()})
        await system.storage.put(keys.cursor(job.tenant, job.id), thief.model_dump_json().encode())
        await until(lambda: dispatcher._sender.unavailable_reason() is None, "a queue that is not asked")


async def test_a_topic_that_is_missing_holds_up_no_other_and_is_told(system):
    async with system.client() as client, system.dispatcher(dispatch_backlog=100_000):
        for model in ("fake", "lost"):
            await client.register_pool(model)
            await system.announce(model)
        system.queue.missing.add("lost")
        stuck = [await client.submit(lines(2_100, model="lost"), stored=True) for _ in range(4)]

        async def told():
            reasons = [(await system.cursor(job)).waiting for job in stuck]
            return any("the topic of lost does not exist" in reason.detail for reason in reasons if reason is not None)

        await until(told, "a reason")
        job = await client.submit(lines(600), stored=True)
        await system.until_sealed(job)
        system.queue.missing.clear()
        for job in stuck:
            await system.until_sealed(job)
    assert len(system.queue.messages) == 4 * 2_100 + 600


async def test_a_pool_that_the_manifest_names_has_to_be_there(system):
    async with system.client() as client, system.dispatcher():
        await client.register_pool("gone")
        job = await client.submit(lines(5), stored=True, pool="gone", job_id="mine")
        assert job.id == "mine"
    async with system.client() as client:
        await client.remove_pool("gone")
        job = await client.submit(lines(5), stored=True, job_id="other")
        manifest = JobManifest.model_validate_json((await system.storage.get(keys.manifest("default", "other"))).data)
        hostile = manifest.model_copy(update={"pool": "../gone"})
        await system.storage.put(keys.manifest("default", "other"), hostile.model_dump_json().encode())
        async with system.dispatcher():
            status = await job.wait(timeout=30)
    assert (status.status, status.errors.data[0].code) == ("failed", "pool_not_found")


async def test_what_is_wrong_with_an_input_is_told_by_line(system):
    faulty = {
        2: {"url": "/v1/embeddings", "body": {"model": "fake", "input": "x"}},
        3: {"url": "/v1/chat/completions", "body": {"model": "nobody's", "messages": []}},
        4: {"url": "/v1/chat/completions", "method": "GET", "body": {}},
    }
    good = {"url": "/v1/chat/completions", "body": {"model": "fake", "messages": [{"role": "user", "content": "x"}]}}
    data = b"".join(json.dumps({"custom_id": f"r{n}", **faulty.get(n, good)}).encode() + b"\n" for n in range(1, 5))
    now, job_id = time.time(), keys.new_job_id()
    stored = StoredInput(key=keys.stored_input("default", job_id), bytes=len(data))
    manifest = JobManifest(
        id=job_id,
        tenant="default",
        created_at=now,
        deadline=now + 600,
        stored=stored,
        endpoint="/v1/chat/completions",
    )
    await system.storage.put(stored.key, data)
    await create_stored_job(system.storage, manifest)
    async with system.client() as client, system.dispatcher():
        status = await client.job(job_id).wait(timeout=30)
    assert [error.line for error in status.errors.data] == [2, 3, 4]


async def test_an_input_that_changed_after_it_was_planned_is_not_sent(system):
    async with system.client() as client:
        async with system.dispatcher():
            job = await client.submit(lines(50), stored=True)
            await system.waits_for(job, "no_worker")
        # Handed back. The same size, so that only its bytes tell.
        key = keys.stored_input(job.tenant, job.id)
        data = (await system.storage.get(key)).data
        await system.storage.put(key, data.replace(b"prompt 7", b"prompt X"))
        await system.announce()
        async with system.dispatcher():
            status = await job.wait(timeout=30)
    assert status.status == "failed"
    assert "not the one" in status.errors.data[0].message
    assert not system.queue.messages


async def test_a_dispatcher_that_stops_while_it_plans_hands_the_job_back_at_once(system, monkeypatch):
    reading = asyncio.Event()
    stream = system.storage.stream

    async def stuck(key):
        async for piece in stream(key):
            reading.set()
            await asyncio.Event().wait()
            yield piece

    monkeypatch.setattr(system.storage, "stream", stuck)
    async with system.client() as client:
        job = await client.submit(lines(50), stored=True)
        async with system.dispatcher():
            await asyncio.wait_for(reading.wait(), 30)
            assert (await system.cursor(job)).owner
        assert not (await system.cursor(job)).owner


async def test_a_job_that_nobody_serves_gives_its_place_to_one_that_somebody_does(system):
    await system.announce()
    async with system.client() as client, system.dispatcher(dispatch_jobs=1):
        await client.register_pool("nobody")
        waiting = await client.submit(lines(5, model="nobody"), stored=True)
        await system.waits_for(waiting, "no_worker")
        job = await client.submit(lines(5), stored=True)
        await system.until_sealed(job)
        # It has its turn when somebody can answer it.
        assert len(system.queue.messages) == 5
        assert (await waiting.status()).waiting.reason == "no_worker"
        await system.announce("nobody")
        await system.until_sealed(waiting)


async def test_a_cursor_that_cannot_be_read_stops_its_job_alone(system):
    await system.announce()
    async with system.client() as client, system.dispatcher():
        await system.storage.put(keys.cursor("default", "broken"), b"{")
        await client.submit(lines(5), stored=True, job_id="broken")
        job = await client.submit(lines(5), stored=True)
        await system.until_sealed(job)
    assert (await system.storage.get(keys.cursor("default", "broken"))).data == b"{"


async def test_any_number_of_jobs_that_are_held_back_leave_the_others_their_turn(system):
    """Of the same tenant, older, and with earlier deadlines: more than are looked at at once."""
    await system.announce()
    async with system.client() as client, system.dispatcher():
        held = []
        for number in range(70):
            await system.storage.put(keys.paused("default", f"held-{number}"), b"")
            held.append(await client.submit(lines(1), stored=True, job_id=f"held-{number}", deadline=3600))
        for job in held:
            await system.waits_for(job, "paused")
        job = await client.submit(lines(5), stored=True)
        await system.until_sealed(job)
    assert len(system.queue.messages) == 5


async def test_the_input_of_a_job_that_nobody_serves_is_not_read_again_and_again(system, monkeypatch):
    stream, looks = system.storage.stream, 0
    read = Counter()

    def counted(key):
        read[key] += 1
        return stream(key)

    monkeypatch.setattr(system.storage, "stream", counted)
    async with system.client() as client, system.dispatcher(dispatch_jobs=1) as dispatcher:
        jobs = [await client.submit(lines(5), stored=True) for _ in range(3)]
        for job in jobs:
            await system.waits_for(job, "no_worker")
        look = dispatcher._pending.look

        async def counting(running):
            nonlocal looks
            looks += 1
            await look(running)

        monkeypatch.setattr(dispatcher._pending, "look", counting)
        await until(lambda: looks >= 20, "looks")
        # Once to plan it, once to spool it.
        assert {read[keys.stored_input("default", job.id)] for job in jobs} == {2}
        await system.announce()
        for job in jobs:
            await system.until_sealed(job)


async def test_a_dispatcher_that_stops_while_the_store_is_away_ends_all_the_same(system, monkeypatch):
    monkeypatch.setattr("backburner.dispatcher.parts._HAND_BACK_SECONDS", 0.1)

    async def away(*_):
        raise StoreError

    async with system.client() as client:
        async with system.dispatcher(drain_seconds=0):
            job = await client.submit(lines(5), stored=True)
            await system.waits_for(job, "no_worker")
            monkeypatch.setattr(system.storage, "replace", away)
        assert (await system.cursor(job)).owner
        monkeypatch.undo()


async def test_a_job_that_was_sent_whole_is_sealed_by_a_successor_whatever_became_of_its_input(system):
    """The last owner ended between the last cursor and the seal."""
    async with system.client() as client:
        async with system.dispatcher():
            job = await client.submit(lines(5), stored=True)
            await system.waits_for(job, "no_worker")
        cursor = (await system.cursor(job)).model_copy(update={"count": 5, "owner": "dead"})
        await system.storage.put(keys.cursor(job.tenant, job.id), cursor.model_dump_json().encode())
        await system.storage.delete([keys.stored_input(job.tenant, job.id), keys.plan(job.tenant, job.id)])
        async with system.dispatcher(dispatch_claim_seconds=1):
            await system.until_sealed(job)
        assert (await job.status()).request_counts.total == 5
    assert not system.queue.messages


async def test_an_input_of_another_size_is_not_read(system, monkeypatch):
    read = []
    stream = system.storage.stream

    def noted(key):
        read.append(key)
        return stream(key)

    monkeypatch.setattr(system.storage, "stream", noted)
    async with system.client() as client:
        job = await client.submit(lines(5), stored=True)
        key = keys.stored_input(job.tenant, job.id)
        await system.storage.put(key, (await system.storage.get(key)).data * 2)
        async with system.dispatcher():
            status = await job.wait(timeout=30)
    assert status.status == "failed"
    assert "not what it was" in status.errors.data[0].message
    assert not read


async def test_a_job_whose_objects_are_denied_stops_no_other(system, monkeypatch):
    await system.announce()
    get = system.storage.get

    async def denied(key, **limits):
        if key.startswith("tenants/closed/"):
            raise StoreDenied
        return await get(key, **limits)

    async with system.client() as client:
        await client.submit(lines(5), stored=True, tenant="closed")
        monkeypatch.setattr(system.storage, "get", denied)
        async with system.dispatcher():
            job = await client.submit(lines(5), stored=True)
            await system.until_sealed(job)


@pytest.mark.parametrize("object_of", [keys.manifest, keys.cursor])
async def test_a_job_of_which_an_object_cannot_be_read_stops_no_other(system, monkeypatch, object_of):
    """As of a store that answers 500 for one damaged object, for ever."""
    await system.announce()
    async with system.client() as client:
        damaged = await client.submit(lines(5), stored=True, tenant="damaged")
        other = await client.submit(lines(5), stored=True, tenant="other")
    real, key = Storage.get, object_of(damaged.tenant, damaged.id)

    async def get(self, name, **options):
        if name == key:
            raise StoreError("this object cannot be read")
        return await real(self, name, **options)

    monkeypatch.setattr(Storage, "get", get)
    async with system.dispatcher():
        await system.until_sealed(other)


async def reordered(system, job):
    """Put in place of a job's plan another of the same requests, as an earlier release may have made it."""
    key, size = keys.plan(job.tenant, job.id), await system.storage.size(keys.stored_input(job.tenant, job.id))
    plan = await Plan.read(system.storage.stream(key), input_bytes=size, max_line_bytes=1 << 20)
    with PlanWriter(plan.digest, [pool for pool, _ in plan.pools]) as writer:
        for entry in reversed([*plan.entries()]):
            writer.add([entry])
        made = writer.finish([count for _, count in plan.pools], replace(plan.forecast, groups=writer.groups))
    await system.storage.put(key, b"".join(made.pieces()))


async def test_a_job_that_is_planned_anew_is_sent_whole_whoever_goes_on_with_the_new_plan(system, monkeypatch):
    count = 3000
    async with system.client() as client, system.dispatcher():
        job = await client.submit(lines(count), stored=True)
        await system.waits_for(job, "no_worker")
    await reordered(system, job)
    await system.announce()
    async with system.dispatcher(dispatch_backlog=700):
        await system.waits_for(job, "backlog")
    assert 0 < (await system.cursor(job)).count < count
    await system.storage.delete([keys.plan(job.tenant, job.id)])
    planned = asyncio.Event()

    async def estimate(*_):
        planned.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(job_run, "estimate_of", estimate)
        async with system.dispatcher():
            # It leaves with the new plan stored, and nothing sent by it.
            await planned.wait()
    async with system.dispatcher(dispatch_backlog=100_000):
        await system.until_sealed(job)
    assert {*system.queue.indexes} == {*range(count)}


async def test_what_waits_is_told_to_any_thread_while_jobs_come(system):
    """Told by the thread that serves metrics: it is asked here in the middle of a listing."""
    async with system.dispatcher() as dispatcher:
        jobs, manifest = dispatcher._pending._jobs, JobManifest(id="j", tenant="t", created_at=1, deadline=4e9)

        class Arriving(PendingJob):
            @property
            def noted(self):
                jobs["t", f"j{len(jobs)}"] = PendingJob(("t", "later"), manifest)
                return "paused"

            @noted.setter
            def noted(self, value):
                pass

        jobs.update({("t", f"j{number}"): Arriving(("t", f"j{number}"), manifest) for number in range(3)})
        assert dispatcher.waiting() == {"paused": 3}


async def says(system, job, text):
    found = (await system.cursor(job)).waiting
    return found is not None and text in found.detail


async def test_a_job_that_finds_no_room_on_the_disk_waits_until_another_has_left(system, monkeypatch):
    monkeypatch.setattr(job_run, "_ROOM_SECONDS", 0.0)
    async with system.client() as client:
        first = await client.submit(lines(100), stored=True)
        taken = (await system.storage.size(keys.stored_input(first.tenant, first.id))) + 64 * 100
        async with system.dispatcher(dispatch_spool_bytes=taken + 100):
            await system.waits_for(first, "no_worker")
            second = await client.submit(lines(100), stored=True)
            await system.announce()
            await system.until_sealed(first)
            await system.until_sealed(second)


@pytest.mark.parametrize("has_workers", [False, True])
async def test_a_large_job_that_is_held_up_keeps_no_other_tenant_off_the_disk(system, monkeypatch, has_workers):
    monkeypatch.setattr(job_run, "_ROOM_SECONDS", 0.0)
    async with system.client() as client:
        await client.register_pool("large")
        await system.announce()
        if has_workers:
            await system.announce("large")
        of_large = [{**one, "body": {**one["body"], "model": "large"}} for one in lines(3000)]
        large = await client.submit(of_large, stored=True, tenant="large")
        taken = (await system.storage.size(keys.stored_input(large.tenant, large.id))) + 64 * 3000
        async with system.dispatcher(dispatch_spool_bytes=taken + 100, dispatch_backlog=700):
            await system.waits_for(large, "backlog" if has_workers else "no_worker")
            await system.until_sealed(await client.submit(lines(5), stored=True, tenant="other"))


async def test_a_job_that_is_larger_than_the_disk_may_hold_says_so_and_holds_up_no_other(system):
    await system.announce()
    async with system.client() as client, system.dispatcher(dispatch_spool_bytes=20_000):
        large = await client.submit(lines(1000), stored=True)
        await until(partial(says, system, large, "split the job"))
        await system.until_sealed(await client.submit(lines(5), stored=True))


async def test_a_window_in_a_time_zone_that_is_not_known_here_stops_its_job_alone(system):
    await system.announce()
    async with system.client() as client:
        odd = await client.submit(lines(5), stored=True, window="22:00-06:00", timezone="Europe/Berlin")
        key = keys.manifest("default", odd.id)
        data = (await system.storage.get(key)).data
        await system.storage.put(key, data.replace(b"Europe/Berlin", b"Europe/Utopia"))
        async with system.dispatcher():
            job = await client.submit(lines(5), stored=True)
            await system.until_sealed(job)
        # Whoever reads the manifest on a machine without time zones, a worker say, takes it as it is.
        assert (await odd.status()).waiting.reason == "dispatcher"
    assert len(system.queue.messages) == 5


async def test_a_job_that_was_handed_back_says_that_nobody_has_it(system):
    await system.announce()
    async with system.client() as client:
        async with system.dispatcher(dispatch_backlog=700):
            job = await client.submit(lines(2_000), stored=True)
            await system.waits_for(job, "backlog")
        waiting = (await job.status()).waiting
        assert (waiting.reason, "no dispatcher" in waiting.detail) == ("dispatcher", True)


async def test_a_job_whose_input_is_gone_when_some_of_it_was_sent_says_so_and_what_was_sent_counts(system):
    await system.announce()
    async with system.client() as client:
        async with system.dispatcher(dispatch_backlog=700):
            job = await client.submit(lines(2_000), stored=True)
            await system.waits_for(job, "backlog")
        await system.storage.delete([keys.stored_input(job.tenant, job.id)])
        async with system.dispatcher(dispatch_backlog=700):
            await system.waits_for(job, "dispatcher")
        status = await job.status()
        assert "not there any more" in status.waiting.detail
        assert (status.status, status.request_counts.total) == ("in_progress", 2_000)


async def test_a_job_of_which_some_may_be_on_the_queue_does_not_fail_for_its_input(system):
    await system.announce()
    async with system.client() as client:
        job = await client.submit(lines(5), stored=True)
        # Its owner died between its first publish and its first count.
        begun = Cursor(begun=True, total=5, updated_at=1.0)
        await system.storage.put(keys.cursor(job.tenant, job.id), begun.model_dump_json().encode())
        await system.storage.delete([keys.stored_input(job.tenant, job.id)])
        async with system.dispatcher():
            await system.waits_for(job, "dispatcher")
        assert (await job.status()).status == "in_progress"


async def test_what_the_queue_has_acknowledged_is_never_sent_to_it_again(system, monkeypatch):
    monkeypatch.setattr("backburner.runtime.retrying._BACKOFF", wait_none())
    await system.announce()
    system.queue.choosy = 7
    async with system.client() as client, system.dispatcher():
        job = await client.submit(lines(100), stored=True)
        await system.until_sealed(job)
    assert sorted(system.queue.indexes) == [*range(100)]


async def test_few_jobs_are_read_at_the_same_time_to_be_planned(system, monkeypatch):
    stream, reading, gate = system.storage.stream, set(), asyncio.Event()

    async def held(key):
        reading.add(key)
        await gate.wait()
        async for piece in stream(key):
            yield piece

    monkeypatch.setattr(system.storage, "stream", held)
    async with system.client() as client, system.dispatcher() as dispatcher:
        jobs = [await client.submit(lines(40), stored=True) for _ in range(12)]
        await until(lambda: dispatcher.claims == 12, "claims")
        await until(lambda: len(reading) == 4, "readers")
        gate.set()
        await system.until_planned(*jobs)


async def has_owner(system, job):
    return bool((await system.cursor(job)).owner)


async def test_a_tenant_whose_long_jobs_have_every_place_gives_places_to_one_that_comes_later(system):
    await system.announce()
    async with system.client() as client, system.dispatcher(dispatch_jobs=4, dispatch_backlog=600) as dispatcher:
        early = [await client.submit(lines(1_000), stored=True, tenant="early") for _ in range(6)]
        await until(lambda: len(system.queue.messages) >= 88, "a full lane")
        await system.until_planned(*early[:4])
        late = [await client.submit(lines(1_000), stored=True, tenant="late") for _ in range(3)]

        async def owned(jobs):
            return sum([await has_owner(system, job) for job in jobs])

        async def shared():
            return (await owned(early), await owned(late)) == (2, 2)

        await until(shared, "places for both")
        # What left does not come back at once, for whatever place gets free.

        async def told():
            return [(await system.cursor(job)).waiting for job in early].count(waiting.OTHERS_TURN) == 2

        await until(told, "what the other two wait for")
        for job in late:
            await job.cancel()
        await until(lambda: dispatcher.claims == 2, "free places")
        assert await owned(early) == 2


async def test_a_job_that_is_cancelled_before_it_was_sent_needs_no_place_to_end(system):
    await system.announce()
    async with system.client() as client, system.dispatcher(dispatch_jobs=1, dispatch_backlog=600):
        long = await client.submit(lines(1_000), stored=True)
        await system.waits_for(long, "backlog")
        job = await client.submit(lines(5), stored=True)
        await job.cancel()
        status = await job.wait(timeout=30)
        assert status.status == "cancelled"
        assert await has_owner(system, long)


async def test_a_job_takes_the_place_of_one_of_its_own_tenant_that_has_more_time(system):
    await system.announce()
    async with system.client() as client, system.dispatcher(dispatch_jobs=1, dispatch_backlog=600):
        long = await client.submit(lines(1_000), stored=True, deadline=7_200)
        await system.waits_for(long, "backlog")
        urgent = await client.submit(lines(1_000), stored=True, deadline=600)
        await until(partial(has_owner, system, urgent), "a place for what is due first")
        assert not await has_owner(system, long)


async def test_what_a_dispatcher_sent_before_its_first_count_keeps_its_answers_when_the_job_is_cancelled(system):
    await system.announce()
    cursors = []
    publish = system.queue.publish

    async def noted(messages):
        stored = await system.storage.get(keys.cursor("default", messages[0].envelope.job))
        cursors.append(Cursor.model_validate_json(stored.data))
        await publish(messages)

    system.queue.publish = noted
    async with system.client() as client:
        async with system.dispatcher():
            job = await client.submit(lines(5), stored=True)
            await system.until_sealed(job)
        assert all(cursor.begun for cursor in cursors)
        # As it would be if the dispatcher had died there, and the job was cancelled.
        died = cursors[0].model_copy(update={"owner": "", "count": 0})
        await system.storage.delete([keys.sealed("default", job.id)])
        await system.storage.put(keys.cursor("default", job.id), died.model_dump_json().encode())
        await system.storage.put(keys.pending("default", job.id), b"")
        await job.cancel()

        async def handed_back():
            cursor = await system.cursor(job)
            return cursor.updated_at != died.updated_at and not cursor.owner

        async with system.dispatcher():
            await until(handed_back, "the job is left until late answers are in")
        assert (await job.status()).status == "cancelling"


@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
async def test_a_job_that_has_time_left_is_sent_by_whatever_clock(tmp_path, monkeypatch, shift):
    true_time = time.time
    system = System(tmp_path)
    system.storage = store_elsewhere()
    set_clock(monkeypatch, shift)
    await system.storage.measure_clock()
    async with system.client() as client:
        await client.register_pool("fake")
        job = await client.submit(lines(20), stored=True, deadline=3_600)
    stored = await system.storage.get(keys.manifest(job.tenant, job.id))
    assert JobManifest.model_validate_json(stored.data).deadline == pytest.approx(true_time() + 3_600, abs=60)
    worker = WorkerAnnouncement(
        worker="w", pool="fake", models=("fake",), group="fake", version="", started_at=0, seen_at=true_time() + 60
    )
    await system.storage.put(keys.worker("fake", "w"), worker.model_dump_json().encode())
    async with system.dispatcher():
        await system.until_sealed(job)
    assert sorted(system.queue.indexes) == list(range(20))
    assert await system.storage.modified(keys.summary(job.tenant, job.id)) is None
