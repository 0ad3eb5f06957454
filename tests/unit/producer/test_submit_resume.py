"""Submitting the same job again: after a crash, when it is sealed, with another input, and side by side."""

import asyncio
import json

import pytest
from segments import answered, store
from waiting import until

from backburner import Expired, InvalidInput, JobConflict, JobError, JobState, QueueError
from backburner.client import Client
from backburner.publishers.base import PublishFailed
from backburner.storage import Storage
from backburner.submission.cursor import JobCursor
from backburner.submission.sender import Sender
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.job import Cursor, JobManifest, Prefix, Sealed


class Breaker:
    """A publisher that keeps what it is given and fails for good after that many messages."""

    def __init__(self, limit: int = 10**9) -> None:
        self.messages = []
        self.limit = limit

    async def start(self) -> None: ...

    async def publish(self, messages):
        if len(self.messages) + len(messages) > self.limit:
            raise QueueError
        self.messages += messages

    async def close(self) -> None: ...

    @property
    def indexes(self):
        return [one.envelope.index for one in self.messages]


@pytest.fixture(autouse=True)
def _frequent_cursors(monkeypatch):
    monkeypatch.setattr("backburner.submission.submission._CURSOR_LINES", 500)


def client_of(system, publisher):
    return Client.from_parts(system.settings, system.storage, publisher)


def lines(count, start=0):
    for number in range(start, count):
        yield {
            "custom_id": f"r{number}",
            "url": "/v1/chat/completions",
            "body": {"model": "fake", "messages": [{"role": "user", "content": f"hello {number}"}]},
        }


async def read(system, key, kind):
    stored = await system.storage.get(key)
    return kind.model_validate_json(stored.data) if stored else None


async def broken_off(system, limit=4000, total=6000):
    breaker = Breaker(limit)
    with pytest.raises(QueueError) as caught:
        await client_of(system, breaker).submit(lines(total), job_id="mine", metadata={"first": "yes"})
    assert caught.value.job_id == "mine"
    assert "--job-id mine" in caught.value.message
    cursor = await read(system, keys.cursor("default", "mine"), Cursor)
    assert 0 < cursor.count <= len(breaker.messages)
    return breaker, cursor


async def test_a_submit_that_was_broken_off_goes_on_from_its_cursor(system):
    first, cursor = await broken_off(system)
    second = Breaker()
    job = await client_of(system, second).submit(lines(6000), job_id="mine", metadata={"second": "no"})
    assert second.indexes == list(range(cursor.count, 6000))
    assert set(first.indexes) | set(second.indexes) == set(range(6000))
    sealed = await read(system, keys.sealed("default", "mine"), Sealed)
    assert sealed.total == 6000
    whole = await client_of(system, Breaker()).submit(lines(6000))
    assert sealed.sha256 == (await read(system, keys.sealed("default", whole.id), Sealed)).sha256
    manifest = await read(system, keys.manifest("default", job.id), JobManifest)
    assert manifest.metadata == {"first": "yes"}


async def test_a_file_resumes_a_job_that_an_iterable_began(system, tmp_path):
    import json

    _, cursor = await broken_off(system)
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(one, indent=None, separators=(", ", ":  ")) + "\n" for one in lines(6000)))
    second = Breaker()
    await client_of(system, second).submit(path, job_id="mine")
    assert second.indexes == list(range(cursor.count, 6000))


@pytest.mark.parametrize("size", [2000, 3000])
async def test_a_file_goes_on_from_its_cursor_whatever_its_blocks(system, tmp_path, monkeypatch, size):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in lines(3000)))
    monkeypatch.setattr("backburner.inputs.line_blocks.BLOCK_BYTES", 2000)
    first = Breaker(1500)
    with pytest.raises(QueueError):
        await client_of(system, first).submit(path, job_id="mine")
    cursor = await read(system, keys.cursor("default", "mine"), Cursor)
    assert 0 < cursor.count <= len(first.messages)
    monkeypatch.setattr("backburner.inputs.line_blocks.BLOCK_BYTES", size)
    second = Breaker()
    await client_of(system, second).submit(path, job_id="mine")
    assert second.indexes == list(range(cursor.count, 3000))
    sealed = await read(system, keys.sealed("default", "mine"), Sealed)
    whole = await client_of(system, Breaker()).submit(lines(3000))
    assert sealed.sha256 == (await read(system, keys.sealed("default", whole.id), Sealed)).sha256


async def test_another_input_cannot_resume_a_job(system):
    _, cursor = await broken_off(system)
    other = Breaker()
    for source in (lines(6000, start=1), lines(cursor.count - 1)):
        with pytest.raises(JobConflict, match="another input"):
            await client_of(system, other).submit(source, job_id="mine")
    assert other.messages == []
    assert await system.storage.get(keys.sealed("default", "mine")) is None
    assert await system.storage.get(keys.cancelled("default", "mine")) is None


@pytest.mark.parametrize("wrong", ["a list", "an iterable", "a file"])
@pytest.mark.parametrize("right", ["an iterable", "a file"])
async def test_another_input_does_not_break_off_the_one_that_is_being_sent(system, tmp_path, right, wrong):
    def given(kind, items, name):
        if kind != "a file":
            return items if kind == "a list" else iter(items)
        path = tmp_path / name
        path.write_text("".join(json.dumps(one) + "\n" for one in items))
        return path

    class Slow(Breaker):
        async def publish(self, messages):
            if not self.messages:
                with pytest.raises(JobConflict, match="another input"):
                    await client_of(system, other).submit(given(wrong, list(others(1)), "wrong"), job_id="mine")
            await super().publish(messages)

    other, slow = Breaker(), Slow()
    job = await client_of(system, slow).submit(given(right, list(lines(600)), "right"), job_id="mine")
    assert other.messages == []
    assert sorted(slow.indexes) == list(range(600))
    assert (await read(system, keys.sealed("default", job.id), Sealed)).total == 600


async def test_an_input_that_differs_after_the_cursor_is_a_new_end_of_the_same_job(system):
    # Nobody can know what the first submit would have sent.
    _, cursor = await broken_off(system)
    job = await client_of(system, Breaker()).submit(lines(cursor.count + 5), job_id="mine")
    assert (await job.status()).request_counts.total == cursor.count + 5


async def test_submitting_a_sealed_job_again_sends_nothing(system):
    job = await system.client.submit(lines(1000), job_id="mine")
    again = Breaker()
    found = await client_of(system, again).submit(lines(1000), job_id="mine")
    assert found.id == job.id
    assert again.messages == []


@pytest.mark.parametrize("count", [999, 1001, 3000])
async def test_another_input_for_a_sealed_job_is_a_conflict(system, count):
    await system.client.submit(lines(1000), job_id="mine")
    again = Breaker()
    with pytest.raises(JobConflict, match="another input"):
        await client_of(system, again).submit(lines(count), job_id="mine")
    assert again.messages == []
    assert await system.storage.get(keys.cancelled("default", "mine")) is None


async def test_a_bad_item_does_not_cancel_a_job_that_is_sealed(system):
    await system.client.submit(lines(1000), job_id="mine")
    with pytest.raises(InvalidInput):
        await system.client.submit([*lines(600), "x"], job_id="mine")
    assert await system.storage.get(keys.cancelled("default", "mine")) is None


async def test_a_bad_item_of_another_input_does_not_cancel_a_job(system, half_sent):
    taken = asyncio.Event()

    async def others():
        yield {**next(iter(lines(1))), "custom_id": "not-of-that-job"}
        await taken.wait()
        yield {"custom_id": "bad"}

    with pytest.raises(InvalidInput):
        await system.client.submit(others(), job_id=half_sent.id, on_progress=lambda _: taken.set())
    assert await system.storage.modified(keys.cancelled("default", half_sent.id)) is None


async def test_two_submits_of_one_job_notice_each_other(system):
    other = client_of(system, Breaker())

    class Rival(Breaker):
        began = False

        async def publish(self, messages):
            if not self.began:
                self.began = True
                with pytest.raises(QueueError):
                    await client_of(system, Breaker(limit=2000)).submit(lines(6000), job_id="mine")
            await super().publish(messages)

    rival = Rival()
    with pytest.raises(JobConflict, match="is being submitted by"):
        await client_of(system, rival).submit(lines(6000), job_id="mine")
    assert await system.storage.get(keys.sealed("default", "mine")) is None
    await other.submit(lines(6000), job_id="mine")
    assert (await read(system, keys.sealed("default", "mine"), Sealed)).total == 6000


async def test_a_submit_that_lost_its_job_leaves_the_winner_alone(system):
    # A pod that was replaced and lives on beside its successor, which is in the middle of the same job.
    lost, won = asyncio.Event(), asyncio.Event()

    class Winner(Breaker):
        async def publish(self, messages):
            if not won.is_set():
                won.set()
                await lost.wait()
            await super().publish(messages)

    class Loser(Breaker):
        async def publish(self, messages):
            nonlocal winning
            if winning is None:
                winning = asyncio.create_task(client_of(system, Winner()).submit(lines(6000), job_id="mine"))
            await won.wait()
            await super().publish(messages)

    winning = None
    with pytest.raises(JobConflict, match="is being submitted by"):
        await client_of(system, Loser()).submit(lines(6000), job_id="mine")
    lost.set()
    await winning
    assert (await read(system, keys.sealed("default", "mine"), Sealed)).total == 6000


async def test_a_cursor_that_was_written_though_the_answer_was_lost_is_still_ours(system, monkeypatch):
    real, lost = Storage.replace, []

    async def replace(self, key, data, etag):
        written = await real(self, key, data, etag)
        if key == keys.cursor("default", "mine") and not lost:
            lost.append(key)
            raise StoreError
        return written

    cursor = JobCursor(system.storage, "default", "mine", "me")
    await cursor.begin(Prefix(1, "a"), None)
    await cursor.claim()
    monkeypatch.setattr(Storage, "replace", replace)
    with pytest.raises(StoreError):
        await cursor.advance(5, "b")
    await cursor.advance(7, "c")
    assert (await read(system, keys.cursor("default", "mine"), Cursor)).count == 7


async def test_a_cursor_never_goes_back(system):
    cursor = JobCursor(system.storage, "default", "mine", "me")
    await cursor.begin(Prefix(1, "a"), None)
    await cursor.claim()
    await cursor.advance(7, "c")
    # As a heartbeat does that waited while the one above was written.
    await cursor.advance(5, "b")
    found = await read(system, keys.cursor("default", "mine"), Cursor)
    assert (found.count, found.sha256) == (7, "c")


@pytest.mark.parametrize("failure", [QueueError, StoreError, RuntimeError])
async def test_what_breaks_a_submit_off_tells_the_id_that_nobody_chose(system, failure):
    class Broken(Breaker):
        async def publish(self, messages):
            raise failure

    seen = []
    with pytest.raises(failure) as caught:
        await client_of(system, Broken()).submit(lines(10), on_progress=seen.append)
    job = seen[0].job_id
    told = "".join(getattr(caught.value, "__notes__", [str(caught.value)]))
    assert f"job_id={job!r} (--job-id {job})" in told
    if failure is not RuntimeError:
        assert caught.value.job_id == job


async def test_a_submit_that_is_cancelled_tells_the_id_that_nobody_chose(system):
    sending = asyncio.Event()

    class Silent(Breaker):
        async def publish(self, messages):
            sending.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(client_of(system, Silent()).submit(lines(10)))
    await sending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert "--job-id batch_" in caught.value.__notes__[0]


@pytest.mark.parametrize("stored", [False, True])
async def test_a_progress_that_fails_behind_the_end_tells_the_id_that_nobody_chose(system, stored):
    async def progress(one):
        if one.sent:
            raise RuntimeError("the dashboard is away")

    with pytest.raises(RuntimeError) as caught:
        await system.client.submit(lines(10), on_progress=progress, stored=stored)
    assert "client.job('batch_" in caught.value.__notes__[0]


async def test_an_enqueue_that_is_cancelled_tells_the_id_of_its_request(system):
    sending = asyncio.Event()

    class Silent(Breaker):
        async def publish(self, messages):
            sending.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(client_of(system, Silent()).enqueue("hello", model="fake"))
    await sending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert "client.handle('single-" in caught.value.__notes__[0]


async def test_a_stored_job_that_could_not_be_stored_tells_its_id(system, monkeypatch):
    async def put(self, key, data):
        raise StoreError

    monkeypatch.setattr(Storage, "put", put)
    with pytest.raises(StoreError, match=r"stored=True \(--job-id batch_\S+ --stored\)") as caught:
        await system.client.submit(lines(3), stored=True)
    assert caught.value.job_id in caught.value.message


async def test_submitting_a_sealed_job_again_ends_it_where_nobody_else_did(system):
    system.hold()
    await system.client.submit(lines(3), job_id="mine")
    await store(system, [answered(index) for index in range(3)])
    assert await system.storage.modified(keys.summary("default", "mine")) is None
    await system.client.submit(lines(3), job_id="mine")
    assert await system.storage.modified(keys.summary("default", "mine")) is not None


async def test_a_cancelled_job_takes_no_more_requests(system):
    await broken_off(system)
    await system.client.job("mine").cancel()
    with pytest.raises(JobConflict, match="cancelled"):
        await client_of(system, Breaker()).submit(lines(6000), job_id="mine")


async def test_a_job_that_nobody_sealed_ends_as_abandoned(system):
    system.hold()

    def items():
        yield from lines(1000)
        raise KeyError

    with pytest.raises(KeyError):
        await system.client.submit(items(), job_id="mine")
    assert await system.expire("mine") is JobState.EXPIRED
    records = [record async for record in system.client.job("mine").results()]
    assert {record.error.code for record in records} <= {"producer_abandoned"}
    with pytest.raises(JobConflict, match="expired"):
        await client_of(system, Breaker()).submit(lines(1000), job_id="mine")


async def test_what_a_broker_did_not_acknowledge_is_not_behind_the_cursor(system, monkeypatch):
    monkeypatch.setattr("backburner.submission.sender._FIRST_PAUSE_SECONDS", 0.0)

    class Hole(Breaker):
        """Takes every batch but the second, again and again."""

        async def publish(self, messages):
            if messages[0].envelope.index == 512:
                raise PublishFailed(range(len(messages)), "told to")
            await super().publish(messages)

    with pytest.raises(QueueError):
        await client_of(system, Hole()).submit(lines(6000), job_id="mine")
    assert (await read(system, keys.cursor("default", "mine"), Cursor)).count <= 512


async def test_a_job_that_was_frozen_while_it_was_sent_is_an_error_and_not_a_success(system, monkeypatch):
    monkeypatch.setattr("backburner.submission.submission._CURSOR_SECONDS", 0.0)

    async def slowly():
        for number, item in enumerate(lines(2000)):
            yield item
            if number == 1000:
                # Nothing tells when a store has an object; the test's time-out bounds this.
                while await system.storage.get(keys.cursor(system.settings.tenant, "mine")) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                await system.expire("mine")

    with pytest.raises(Expired, match="ended, expired, while it was submitted"):
        async with asyncio.timeout(20):
            await system.client.submit(slowly(), job_id="mine")


async def test_a_job_id_of_a_single_request_or_a_stream_is_refused(system):
    for job_id in ("single-mine", "stream-mine"):
        with pytest.raises(JobError, match="cannot begin"):
            await system.client.submit(lines(1), job_id=job_id)


def others(count):
    for number in range(count):
        yield {
            "custom_id": f"other{number}",
            "url": "/v1/chat/completions",
            "body": {"model": "fake", "messages": [{"role": "user", "content": f"something else {number}"}]},
        }


async def test_a_submit_that_breaks_off_at_once_still_knows_its_input(system):
    def breaking():
        yield from lines(1536)
        raise OSError("the source broke")

    publisher = Breaker()
    client = client_of(system, publisher)
    with pytest.raises(OSError, match="broke"):
        await client.submit(breaking(), job_id="mine")
    cursor = await read(system, keys.cursor(system.settings.tenant, "mine"), Cursor)
    assert cursor.count == len(publisher.indexes) > 0
    with pytest.raises(JobConflict):
        await client.submit(others(1536), job_id="mine")
    assert len(publisher.messages) == cursor.count


async def test_another_input_is_noticed_before_anything_of_it_is_sent_even_when_nothing_was_written_down(system):
    publisher = Breaker(limit=0)
    with pytest.raises(QueueError):
        await client_of(system, publisher).submit(lines(600), job_id="mine")
    publisher = Breaker()
    with pytest.raises(JobConflict):
        await client_of(system, publisher).submit(others(600), job_id="mine")
    assert publisher.messages == []


async def test_another_file_is_noticed_even_when_it_begins_alike(system, tmp_path):
    whole, other = tmp_path / "whole.jsonl", tmp_path / "other.jsonl"
    whole.write_text("".join(json.dumps(line) + "\n" for line in lines(600)))
    other.write_text("".join(json.dumps(line) + "\n" for line in [*lines(599), *others(1)]))
    with pytest.raises(QueueError):
        await client_of(system, Breaker(limit=0)).submit(whole, job_id="mine")
    with pytest.raises(JobConflict):
        await client_of(system, Breaker()).submit(other, job_id="mine")


async def test_what_the_broker_has_is_in_the_books_of_a_job_that_its_producer_cancelled(system):
    def with_a_bad_one():
        yield from lines(2000)
        yield {"custom_id": "bad"}

    publisher = Breaker()
    client = client_of(system, publisher)
    with pytest.raises(InvalidInput):
        await client.submit(with_a_bad_one(), job_id="mine")
    assert await system.expire("mine") == JobState.CANCELLED
    status = await client.job("mine").status()
    assert status.request_counts.total == len(publisher.messages) > 0


async def test_a_resume_goes_to_the_pool_of_the_first_submit(monkeypatch):
    async with FakeSystem(models=("a", "b")) as system:
        await system.client.add_aliases("b", ["fake"])
        publisher = Breaker(limit=0)
        with pytest.raises(QueueError):
            await client_of(system, publisher).submit(lines(10), job_id="mine", pool="b")
        publisher = Breaker()
        await client_of(system, publisher).submit(lines(10), job_id="mine")
        assert {message.pool for message in publisher.messages} == {"b"}


class Counting(Breaker):
    """Takes batches, after an event where one is given, but for the one that fails."""

    def __init__(self, *, failing=0, failure=None, after=None):
        super().__init__()
        self.calls, self.failing, self.failure, self.after = 0, failing, failure, after

    async def publish(self, messages):
        self.calls += 1
        if self.calls == self.failing:
            raise self.failure("it failed")
        if self.after is not None:
            await self.after.wait()
        self.messages += messages


async def test_a_submit_that_is_cancelled_records_what_the_broker_takes_all_the_same(system, monkeypatch):
    after, waiting, settle_first = asyncio.Event(), asyncio.Event(), Sender._settle_first

    async def noted(self):
        waiting.set()
        await settle_first(self)

    monkeypatch.setattr(Sender, "_settle_first", noted)
    publisher = Counting(after=after)
    submitting = asyncio.create_task(client_of(system, publisher).submit(lines(20_000), job_id="mine"))
    await until(lambda: publisher.calls == 4 and waiting.is_set(), "four batches under way")
    submitting.cancel()
    after.set()
    with pytest.raises(asyncio.CancelledError):
        await submitting
    cursor = await read(system, keys.cursor("default", "mine"), Cursor)
    assert cursor.count == len(publisher.messages) > 0


@pytest.mark.parametrize("failure", [StoreError, ValueError])
async def test_a_submit_that_fails_records_what_the_broker_has(system, failure, monkeypatch):
    monkeypatch.setattr("backburner.submission.submission._CURSOR_LINES", 20_000)
    publisher = Counting(failing=3, failure=failure)
    with pytest.raises(failure):
        await client_of(system, publisher).submit(lines(3_000), job_id="mine")
    cursor = await read(system, keys.cursor("default", "mine"), Cursor)
    sent = {message.envelope.index for message in publisher.messages}
    assert cursor.count == next(index for index in range(3_001) if index not in sent) > 0


async def test_a_resume_takes_the_job_over_as_soon_as_its_input_is_proven(system):
    ended = asyncio.Event()
    second = Breaker()

    async def slow_source():
        for number, line in enumerate(lines(6000)):
            if number == 1000:
                await ended.wait()
            yield line

    async def owner():
        return (await read(system, keys.cursor("default", "mine"), Cursor)).owner

    class Living(Breaker):
        """Of a producer that lives on beside the one that follows it."""

        resume = followed = None

        async def publish(self, messages):
            if len(self.messages) >= 2000 and not self.followed:
                self.followed = True
                before = await owner()

                async def taken():
                    return await owner() != before

                self.resume = asyncio.create_task(client_of(system, second).submit(slow_source(), job_id="mine"))
                await until(taken, "a job that is taken over")
            await super().publish(messages)

    living = Living()
    with pytest.raises(JobConflict):
        await client_of(system, living).submit(lines(6000), job_id="mine")
    ended.set()
    await living.resume
    assert len({one.envelope.index for one in [*living.messages, *second.messages]}) == 6000


@pytest.mark.parametrize("at", [3, 290])
async def test_a_file_notes_its_models_without_a_pool_before_anything_is_sent(system, tmp_path, monkeypatch, at):
    monkeypatch.setattr("backburner.inputs.line_blocks.BLOCK_BYTES", 2000)
    requests = [*lines(300)]
    requests[at]["body"]["model"] = "late"
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in requests))
    with pytest.raises(QueueError):
        await client_of(system, Breaker(100)).submit(path, job_id="mine", skip_invalid=True)
    await system.client.register_pool("late")
    await client_of(system, Breaker()).submit(path, job_id="mine", skip_invalid=True)
    assert (await read(system, keys.sealed("default", "mine"), Sealed)).total == 299


async def test_a_resume_shows_that_it_lives_while_it_reads_again_what_the_broker_has(system, monkeypatch):
    monkeypatch.setattr("backburner.submission.submission._HEARTBEAT_SECONDS", 0.01)
    _, cursor = await broken_off(system)

    async def shown():
        return (await read(system, keys.cursor("default", "mine"), Cursor)).updated_at > cursor.updated_at

    async def slow_source():
        for number, line in enumerate(lines(6000)):
            if number == cursor.count - 100:
                await until(shown, "a cursor that moves")
            yield line

    await client_of(system, Breaker()).submit(slow_source(), job_id="mine")
