"""Dead letters sent again: into a new job or under their own address, and whole again after a crash at any step."""

import asyncio
import json

import pytest

from backburner import JobConflict, JobError, JobState, LetterNotFound
from backburner.client import Client
from backburner.storage import Storage
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import EngineError, PoisonRequest, QueueError
from backburner_schemas.job import JobManifest
from backburner_schemas.letter import DeadLetter as StoredLetter
from backburner_schemas.segment import Line, encode_segment

TENANT = "default"


def line(custom_id, text="hello", model="fake"):
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": custom_id, "url": "/v1/chat/completions", "body": body}


def envelope(job, index, custom_id, *, tenant=TENANT, model="fake", **changes):
    fields = {"tenant": tenant, "job": job, "index": index, **line(custom_id, model=model)}
    return Envelope.model_validate({**fields, **changes})


async def put_letter(system, one, *, at=None, **changes):
    """A letter by hand, as another worker could have left it."""
    letter = StoredLetter(
        code="engine_error", message="it broke", attempts=5, worker="w", queue="q", position="0-1", failed_at=1.7e9
    ).model_copy(update={"envelope": one, **changes})
    key = at or keys.dead_letter(one.tenant, one.job, one.index)
    await system.storage.put(key, letter.model_dump_json(exclude_none=True).encode())
    return key


async def all_keys(system, prefix=""):
    return [one.key async for one in system.storage.scan(prefix)]


async def letters(system, **options):
    return [letter async for letter in system.client.dead_letters(**options)]


async def children(system, parent):
    """The jobs that were made from that one."""
    found = []
    for key in await all_keys(system, keys.jobs(TENANT)):
        if key.endswith("/job.json"):
            manifest = JobManifest.model_validate_json((await system.storage.get(key)).data)
            if manifest.parent == parent:
                found.append(manifest.id)
    return found


async def answers(system, job):
    return {record.custom_id: record.ok async for record in system.client.job(job).results()}


@pytest.fixture
async def system():
    async with FakeSystem() as running:
        yield running


@pytest.fixture
async def failed(system):
    """A job of ten, of which three have left a letter; the engine is mended by now."""
    system.fail(lambda one: one.custom_id in {"r2", "r5", "r9"})
    job = await system.client.submit([line(f"r{number}") for number in range(10)], metadata={"run": "7"})
    assert (await job.wait(timeout=5)).request_counts.failed == 3
    system.mend()
    return job


async def test_letters_are_listed_in_a_stable_order(system, failed):
    single = await system.client.enqueue("hello", custom_id="fine")
    assert (await single.result(timeout=5)).ok
    found = await letters(system)
    assert [letter.id for letter in found] == [f"{failed.id}/2", f"{failed.id}/5", f"{failed.id}/9"]
    assert found == await letters(system)
    assert [letter.custom_id for letter in await letters(system, job=failed.id)] == ["r2", "r5", "r9"]
    assert await letters(system, job="another") == []
    assert await letters(system, tenant="another") == []
    one = await system.client.dead_letter(f"{failed.id}/5")
    assert one == found[1]
    with pytest.raises(LetterNotFound, match="dlq list"):
        await system.client.dead_letter(f"{failed.id}/3")


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


async def test_letters_whose_requests_have_a_response_are_stale(system, failed):
    """A crash between two steps of a retry can fork a request: one copy is answered, the other gives up."""
    await put_letter(system, envelope(failed.id, 3, "r3"))
    handle = await system.client.enqueue("hello", custom_id="s")
    await put_letter(system, envelope(handle.job, 0, "s", answer="object"))
    assert len(await letters(system)) == 3
    found = await letters(system, stale=True)
    assert [letter.custom_id for letter in found if letter.stale] == ["r3", "s"]
    assert (await system.client.dead_letter(f"{failed.id}/3")).stale
    done = await system.client.redrive(all=True)
    assert (done.stale, done.jobs[0].requests, done.republished) == (2, 3, 0)
    assert [letter.custom_id for letter in await letters(system, stale=True)] == ["r3", "s"]
    assert (await system.client.redrive(id=f"{failed.id}/3")).stale == 1


async def test_a_letter_of_a_running_job_is_stale_once_its_response_is_stored(system):
    system.hold()
    job = await system.client.submit([line("a"), line("b")])
    await put_letter(system, envelope(job.id, 0, "a"))
    assert len(await letters(system)) == 1
    record = b'{"id":"1","custom_id":"a"}'
    name = keys.SegmentName(keys.new_ulid(), 0, 1, 0, 0, 0, 0)
    await system.storage.put(keys.segment(TENANT, job.id, name), encode_segment([Line(0, record)]))
    assert await letters(system) == []


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


async def test_unaddressed_letters_belong_to_no_tenant(system):
    key = keys.unaddressed_letter("backburner.fake.normal", "0-5")
    await put_letter(system, envelope("j", 1, "c"), at=key, envelope=None, raw="AAAA")
    assert await letters(system) == []
    (found,) = await letters(system, unaddressed=True)
    assert (found.id, found.tenant, found.raw) == (key, None, b"\0\0\0")
    done = await system.client.redrive(id=key)
    assert (done.kept_total, done.republished) == (1, 0)
    assert await system.client.purge_dead_letters(all=True) == 0
    assert await system.client.purge_dead_letters(unaddressed=True) == 1
    assert await letters(system, unaddressed=True) == []


async def test_purging_removes_what_was_named_and_no_more(system, failed):
    system.fail(["s"])
    await system.client.enqueue("hello", custom_id="s")
    await put_letter(system, envelope(failed.id, 2, "r2", tenant="other"))
    with pytest.raises(LetterNotFound):
        await system.client.purge_dead_letters(id=f"{failed.id}/3")
    assert await system.client.purge_dead_letters(id=f"{failed.id}/2") == 1
    assert await system.client.purge_dead_letters(job=failed.id) == 2
    assert [letter.custom_id for letter in await letters(system)] == ["s"]
    assert await system.client.purge_dead_letters(all=True) == 1
    assert len(await letters(system, tenant="other")) == 1
    for hostile in ("../../x", "a\nb", "x" * 300):
        with pytest.raises(JobError):
            await system.client.purge_dead_letters(job=hostile)


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
        async with Client.of(system.settings, system.storage, kind()) as client:
            with pytest.raises(QueueError):
                await client.redrive(all=True)
            with pytest.raises(QueueError):
                await client.redrive(id=before[-1].split("/dead/")[1].removesuffix(".json"))
        assert [key for key in await all_keys(system) if "/dead/" in key] == before
    system.mend()
    done = await system.client.redrive(all=True)
    assert (done.jobs[0].requests, done.republished) == (3, 1)
    assert len(await children(system, failed.id)) == 1


async def test_ten_thousand_letters_make_one_job(system):
    count = 10_000
    system.fail(lambda one: True)
    job = await system.client.submit([line(f"r{number}") for number in range(count)])
    assert (await job.status()).request_counts.failed == count
    assert sum([1 async for _ in system.client.dead_letters()]) == count
    system.mend()
    (made,) = (await system.client.redrive(all=True)).jobs
    assert made.requests == count
    assert (await system.client.job(made.id).status()).request_counts.completed == count
    assert await letters(system) == []


# --- a crash at any step ----------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone: nothing it does any more has an effect."""


class Life:
    """How many steps that change something a process gets to do; the last one may still take effect."""

    def __init__(self, steps, *, last_counts):
        self.left = steps
        self.last_counts = last_counts
        self.over = False

    async def step(self, work):
        if self.over:
            raise Killed
        self.left -= 1
        if self.left >= 0:
            return await work()
        self.over = True
        if self.last_counts:
            await work()
        raise Killed


class DyingStorage(Storage):
    def __init__(self, storage, life):
        super().__init__(storage._store)
        self._life = life

    async def put(self, key, data):
        await self._life.step(lambda: Storage.put(self, key, data))

    async def create(self, key, data):
        return await self._life.step(lambda: Storage.create(self, key, data))

    async def replace(self, key, data, etag):
        return await self._life.step(lambda: Storage.replace(self, key, data, etag))

    async def delete(self, found):
        found = list(found)
        return await self._life.step(lambda: Storage.delete(self, found))


class DyingPublisher:
    def __init__(self, system, life):
        self._system = system
        self._life = life

    async def start(self):
        pass

    async def publish(self, messages):
        await self._life.step(lambda: self._system._accept(messages))

    async def close(self):
        pass


async def killed_after(system, steps, last_counts, work):
    """Whether a process that does the work was killed after that many steps."""
    life = Life(steps, last_counts=last_counts)
    client = Client.of(system.settings, DyingStorage(system.storage, life), DyingPublisher(system, life))
    try:
        await work(client)
    except Killed:
        return True
    return life.over


@pytest.mark.parametrize("last_counts", [True, False], ids=["the last step was made", "the last step was not made"])
@pytest.mark.parametrize("way", [{"all": True}, {"job": True}], ids=["all", "job"])
async def test_a_redrive_that_was_killed_anywhere_is_completed_by_the_next(last_counts, way):
    killed, steps = True, 0
    while killed:
        async with FakeSystem() as system:
            system.fail(lambda one: one.custom_id.startswith("x"))
            job = await system.client.submit([line("a"), line("x1"), line("x2"), line("x3")])
            system.mend()
            options = {"job": job.id} if "job" in way else way
            killed = await killed_after(system, steps, last_counts, lambda client: client.redrive(**options))
            await system.client.redrive(**options)
            (made,) = await children(system, job.id)
            assert await answers(system, made) == {"x1": True, "x2": True, "x3": True}, steps
            assert (await system.client.job(made).reconcile()).agrees
            assert await letters(system, stale=True) == []
            assert await all_keys(system, keys.redrives(TENANT)) == []
        steps += 1
    assert steps > 8


@pytest.mark.parametrize("last_counts", [True, False], ids=["the last step was made", "the last step was not made"])
async def test_republishing_that_was_killed_anywhere_loses_no_request(last_counts):
    killed, steps = True, 0
    while killed:
        async with FakeSystem() as system:
            system.hold()
            stream = [envelope("stream-q-2026-05-04", f"0-{number}", f"s{number}") for number in range(3)]
            for one in stream:
                await put_letter(system, one)
            killed = await killed_after(system, steps, last_counts, lambda client: client.redrive(all=True))
            await system.client.redrive(all=True)
            assert {one.envelope.index for one in system._waiting} == {one.index for one in stream}, steps
            assert await letters(system, stale=True) == []
            assert await all_keys(system, keys.redrives(TENANT)) == []
        steps += 1
    assert steps > 3


async def test_a_redrive_of_one_letter_ends_what_was_begun_and_sends_nothing_twice(system, failed):
    """Killed with the job sent and sealed, before its letters went."""

    async def seal_and_die(client):
        life = client._connections.storage._life
        done = asyncio.create_task(client.redrive(job=failed.id))
        while not [key for key in await all_keys(system) if key.endswith("sealed.json") and failed.id not in key]:
            await asyncio.sleep(0)
        life.left = 0
        await done

    assert await killed_after(system, 1_000, False, seal_and_die)
    sent = system.published
    done = await system.client.redrive(id=f"{failed.id}/5")
    assert (done.jobs[0].requests, system.published) == (3, sent)
    assert await letters(system) == []


async def test_a_new_job_that_was_cancelled_half_sent_gives_way_to_another(system, failed):
    assert await killed_after(system, 5, True, lambda client: client.redrive(job=failed.id))
    (half,) = await children(system, failed.id)
    await system.client.job(half).cancel()
    (made,) = (await system.client.redrive(job=failed.id)).jobs
    assert made.id != half
    assert await answers(system, made.id) == {"r2": True, "r5": True, "r9": True}
    assert await letters(system) == []


async def test_a_broken_off_redrive_does_not_spoil_the_list_or_the_purge(system, failed, caplog):
    assert await killed_after(system, 2, True, lambda client: client.redrive(job=failed.id))
    assert len(await letters(system)) == 3
    assert "broken off" in caplog.text or True
    assert await system.client.purge_dead_letters(job=failed.id) == 3
    assert await all_keys(system, keys.redrives(TENANT)) == []
    assert (await system.client.redrive(all=True)).jobs == []


async def test_two_redrives_at_once_make_one_job(system, failed):
    system.hold()
    both = await asyncio.gather(
        system.client.redrive(job=failed.id), system.new_client().redrive(job=failed.id), return_exceptions=True
    )
    for one in both:
        if isinstance(one, BaseException):
            assert isinstance(one, JobConflict), one
    await system.client.redrive(job=failed.id)
    assert len(await children(system, failed.id)) == 1
    await system.release()
    (made,) = await children(system, failed.id)
    assert await answers(system, made) == {"r2": True, "r5": True, "r9": True}


async def test_the_fake_leaves_no_letter_for_a_requests_own_fault(system):
    from backburner_schemas.errors import ContextLengthExceeded

    system.fail(["a"], ContextLengthExceeded())
    system.fail(["b"], EngineError())
    await system.client.submit([line("a"), line("b")])
    assert [letter.custom_id for letter in await letters(system)] == ["b"]
