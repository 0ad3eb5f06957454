"""The client's single requests, job list and pools, on the fake of the whole system."""

import asyncio
import math
from datetime import UTC, datetime, timedelta

import pytest
from waiting import until

from backburner import (
    ClientClosed,
    ClientError,
    Endpoint,
    JobConflict,
    JobError,
    JobNotFound,
    Lane,
    PoolConflict,
    PoolError,
    PoolNotFound,
    QueueError,
    RequestFailed,
    RequestRefused,
    ResultTimeout,
    SettingsError,
)
from backburner.client import Client
from backburner.connections import CallLimits, Connections
from backburner.jobs.deletion import forget_deleted
from backburner.publishers.base import Message, PublishFailed
from backburner.settings import Settings
from backburner.settings.arguments import SettingArguments
from backburner.storage import Storage
from backburner.storage.clock import StoreClock
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.envelope import AnswerMode
from backburner_schemas.errors import StoreFull
from backburner_schemas.pool import WorkerAnnouncement


class Recorder:
    """A publisher that keeps what it is given, and fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.messages: list[Message] = []
        self.failures = failures
        self.starts = 0
        self.closes = 0

    async def start(self) -> None:
        self.starts += 1

    async def publish(self, messages):
        if self.failures:
            self.failures -= 1
            raise PublishFailed(range(len(messages)), "told to")
        self.messages += messages

    async def close(self) -> None:
        self.closes += 1


def client_of(system, publisher):
    return Client.from_parts(system.settings, system.storage, publisher)


async def test_a_prompt_is_answered_by_one_object(system):
    handle = await system.client.enqueue("hello", max_tokens=4)
    record = await handle.result(timeout=5)
    assert record.ok
    assert record.text.startswith("fake answer")
    assert record.custom_id == handle.custom_id == handle.job == handle.id
    assert handle.key == keys.answer("default", handle.job, handle.custom_id)
    assert await system.storage.get(handle.key) is not None


async def test_the_message_of_a_single_request(system):
    publisher = Recorder()
    client = client_of(system, publisher)
    handle = await client.enqueue("hello", custom_id="mine/1", priority=Lane.HIGH, temperature=0.5, deadline=60)
    (message,) = publisher.messages
    assert (message.pool, message.lane) == ("fake", Lane.HIGH)
    envelope = message.envelope
    assert envelope.answer is AnswerMode.OBJECT
    assert (envelope.tenant, envelope.job, envelope.index, envelope.custom_id) == ("default", handle.job, 0, "mine/1")
    assert envelope.body == {
        "model": "fake",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.5,
    }
    assert envelope.deadline == pytest.approx(envelope.enqueued_at + 60)
    assert handle.id == f"{handle.job}/mine/1"


async def test_another_process_finds_the_answer_by_the_handles_id(system):
    handle = await system.client.enqueue("hello", custom_id="mine/1")
    found = client_of(system, Recorder()).handle(handle.id)
    assert (found.job, found.custom_id, found.key) == (handle.job, "mine/1", handle.key)
    assert (await found.result(timeout=5)).ok


@pytest.mark.parametrize("bad", ["", "../x", "a/", "a b"])
async def test_what_cannot_be_a_handle_is_refused(system, bad):
    with pytest.raises(JobError):
        system.client.handle(bad)


async def test_a_failed_request_raises_its_record(system):
    system.fail(["bad"])
    handle = await system.client.enqueue("hello", custom_id="bad")
    with pytest.raises(RequestFailed, match="told to fail") as caught:
        await handle.result(timeout=5)
    assert caught.value.record.error.code == "engine_error"
    assert (await handle.peek()).error.code == "engine_error"


async def test_waiting_for_an_answer_ends_at_the_time_out(system):
    system.hold()
    handle = await system.client.enqueue("hello")
    assert await handle.peek() is None
    with pytest.raises(ResultTimeout, match=handle.id):
        await handle.result(timeout=0.05)


async def test_a_request_past_its_deadline_expires(system):
    system.hold()
    handle = await system.client.enqueue("hello", deadline=timedelta(microseconds=1))
    await system.release()
    with pytest.raises(RequestFailed) as caught:
        await handle.result(timeout=5)
    assert caught.value.record.error.code == "expired"


@pytest.mark.parametrize("by_id", [False, True])
async def test_waiting_ends_after_the_deadline_where_no_worker_is(system, monkeypatch, by_id):
    system.hold()
    handle = await system.client.enqueue("hello", deadline=60)
    if by_id:
        # Its deadline is not known here: the queue has dropped it by this moment at the latest.
        handle = system.client.handle(handle.id)
    later = handle.deadline + 1
    monkeypatch.setattr("time.time", lambda: later)
    with pytest.raises(RequestFailed) as caught:
        await handle.result(timeout=30)
    assert caught.value.record.error.code == "expired"
    assert caught.value.job_id == handle.job


async def test_an_answer_is_read_from_a_store_that_has_no_room_left(monkeypatch):
    async with FakeSystem() as system:
        handle = await system.client.enqueue("hello")
        await until(lambda: system.waiting == 0)
        # Long after its deadline, by a clock that was never measured.
        handle.deadline, system.storage.clock = 1.0, StoreClock()

        async def put(self, key, data):
            raise StoreFull

        monkeypatch.setattr(Storage, "put", put)
        assert (await handle.result(timeout=5)).ok


async def test_a_wrong_clock_of_the_one_who_waits_expires_nothing(system, monkeypatch):
    system.hold()
    handle = await system.client.enqueue("hello", deadline=60)
    monkeypatch.setattr(type(system.storage.clock), "trusted_now", lambda self: -math.inf)
    later = handle.deadline + 86_400
    monkeypatch.setattr("time.time", lambda: later)
    with pytest.raises(ResultTimeout):
        await handle.result(timeout=0)


@pytest.mark.parametrize(
    "deadline",
    [0, -5, "12h", 400 * 86400, float("inf"), float("nan"), timedelta(seconds=-1), datetime(2020, 1, 1, tzinfo=UTC)],
)
async def test_a_deadline_that_has_passed_is_refused(system, deadline):
    with pytest.raises(JobError, match="deadline"):
        await system.client.enqueue("hello", deadline=deadline)


@pytest.mark.parametrize(
    "given", [{}, {"prompt": "a", "messages": []}, {"messages": [], "body": {}}, {"prompt": "a", "body": {}}]
)
async def test_exactly_one_input_is_needed(system, given):
    with pytest.raises(RequestRefused, match="exactly one"):
        await system.client.enqueue(**given)


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [(Endpoint.CHAT, "messages"), (Endpoint.COMPLETIONS, "prompt"), (Endpoint.EMBEDDINGS, "input")],
)
async def test_a_prompt_takes_its_endpoints_form(system, endpoint, field):
    publisher = Recorder()
    await client_of(system, publisher).enqueue("hello", endpoint=endpoint)
    assert publisher.messages[0].envelope.url is endpoint
    assert field in publisher.messages[0].envelope.body


async def test_a_score_needs_a_body(system):
    with pytest.raises(RequestRefused, match="body"):
        await system.client.enqueue("hello", endpoint=Endpoint.SCORE)
    handle = await system.client.enqueue(body={"text_1": "a", "text_2": "b"}, endpoint=Endpoint.SCORE)
    assert (await handle.result(timeout=5)).response.body["data"][0]["object"] == "score"


async def test_the_model_is_the_arguments_then_the_bodys_then_the_only_pools():
    async with FakeSystem(models=("one", "two")) as system:
        publisher = Recorder()
        client = client_of(system, publisher)
        await client.enqueue(body={"messages": [], "model": "one"})
        await client.enqueue(body={"messages": [], "model": "one"}, model="two")
        assert [message.pool for message in publisher.messages] == ["one", "two"]
        with pytest.raises(PoolError, match="one, two"):
            await client.enqueue("hello")


@pytest.mark.parametrize("named", ["argument", "setting"])
@pytest.mark.parametrize("by", ["slug", "model"])
async def test_without_a_model_it_is_that_of_the_pool_that_is_named(monkeypatch, named, by):
    async with FakeSystem(models=("one", "Two/x")) as system:
        pool = (await system.client.pools())[1].pool
        name = pool if by == "slug" else "Two/x"
        if named == "setting":
            monkeypatch.setenv("BACKBURNER_POOL", name)
        settings = system.settings.model_copy(update={"pool": Settings.load().pool})
        publisher = Recorder()
        client = Client.from_parts(settings, system.storage, publisher)
        await client.enqueue("hello", pool=name if named == "argument" else None)
    (message,) = publisher.messages
    assert (message.pool, message.envelope.body["model"]) == (pool, "Two/x")


async def test_without_a_model_it_is_that_of_the_only_pool_with_workers(system):
    await system.client.register_pool("no-worker")
    publisher = Recorder()
    await client_of(system, publisher).enqueue("hello")
    assert publisher.messages[0].envelope.body["model"] == "fake"


async def test_a_removed_pool_takes_no_requests_and_leaves_nothing_behind(monkeypatch):
    # What was written just now is old: a worker that does not renew it is gone.
    monkeypatch.setattr("backburner.pools.LIVE_SECONDS", -1.0)
    async with FakeSystem(models=("one", "two"), workers=False) as system:
        announcement = keys.worker("two", "gone")
        gone = WorkerAnnouncement(
            worker="gone", pool="two", models=("two",), group="two", version="fake-1", started_at=1.0, seen_at=1.0
        )
        await system.storage.put(announcement, gone.model_dump_json().encode())
        removed = await system.client.remove_pool("two")
        assert (removed.pool, removed.model) == ("two", "two")
        with pytest.raises(PoolNotFound):
            await client_of(system, Recorder()).enqueue("hello", model="two")
        assert [one.key async for one in system.storage.scan(keys.POOLS)] == [keys.pool("one")]


async def test_an_unknown_model_lists_those_that_there_are(system):
    with pytest.raises(PoolNotFound, match="there is fake"):
        await system.client.enqueue("hello", model="nope")


async def test_a_pool_that_is_named_has_to_serve_the_model(system):
    publisher = Recorder()
    with pytest.raises(RequestRefused, match=r"serves 'an-adapter'.*--model fake"):
        await client_of(system, publisher).enqueue("hello", model="an-adapter", pool="fake")
    assert not publisher.messages
    handle = await client_of(system, publisher).enqueue("hello", model="fake", pool="fake")
    assert (publisher.messages[0].pool, handle.warnings) == ("fake", ())
    with pytest.raises(PoolNotFound):
        await system.client.enqueue("hello", pool="nope")


async def test_a_body_too_large_for_the_broker_is_stored_first(system):
    publisher = Recorder()
    handle = await client_of(system, publisher).enqueue("x" * 1_000_000)
    envelope = publisher.messages[0].envelope
    assert envelope.body is None
    assert envelope.body_ref == keys.body("default", handle.job, 0)
    handle = await system.client.enqueue("x" * 1_000_000)
    assert (await handle.result(timeout=5)).ok


async def test_what_the_broker_did_not_take_is_sent_again(system):
    publisher = Recorder(failures=1)
    await client_of(system, publisher).enqueue("hello")
    assert len(publisher.messages) == 1


async def test_a_broker_that_never_takes_it_is_an_error(system, monkeypatch):
    monkeypatch.setattr("backburner.submission.sender._FIRST_PAUSE_SECONDS", 0.0)
    with pytest.raises(QueueError):
        await client_of(system, Recorder(failures=100)).enqueue("hello")


async def test_nothing_connects_before_it_is_needed_and_closing_twice_is_fine(system):
    publisher = Recorder()
    async with client_of(system, publisher) as client:
        await client.pools()
        assert publisher.starts == 0
        await client.enqueue("a")
        await client.enqueue("b")
        await client.close()
    assert (publisher.starts, publisher.closes) == (1, 1)


async def test_pools_tell_their_model_and_live_workers(system):
    (pool,) = await system.client.pools()
    assert (pool.pool, pool.model, pool.live) == ("fake", "fake", True)


async def test_a_pool_without_a_worker_is_a_warning():
    async with FakeSystem(workers=False) as system:
        (pool,) = await system.client.pools()
        assert not pool.live
        handle = await system.client.enqueue("hello")
        assert "no live worker" in handle.warnings[0]


async def test_registering_a_pool_again_changes_nothing(system):
    made = await system.client.register_pool("Org/Model-7B")
    again = await system.client.register_pool("Org/Model-7B")
    assert made == again
    assert made.model == "Org/Model-7B"
    assert {pool.model for pool in await system.client.pools()} == {"fake", "Org/Model-7B"}
    with pytest.raises(PoolConflict):
        await system.client.register_pool("Org/model-7b")


async def test_a_pool_that_is_registered_later_is_found(system, monkeypatch):
    monkeypatch.setattr("backburner.pools._REFRESH_SECONDS", 0.0)
    client = client_of(system, Recorder())
    await client.enqueue("hello")
    await system.client.register_pool("later")
    handle = await client.enqueue("hello", model="later")
    assert handle.warnings


async def test_jobs_are_listed_newest_first(system):
    ids = []
    for job_id in (None, "chosen", None):
        job = await system.client.submit([line("a")], job_id=job_id)
        ids.insert(0, job.id)
    await system.client.enqueue("a single request is no job")
    assert [status.id async for status in system.client.jobs()] == ids
    assert [status.id async for status in system.client.jobs(limit=1)] == ids[:1]
    assert [status.id async for status in system.client.jobs(after=ids[0])] == ids[1:]
    assert [status.id async for status in system.client.jobs(tenant="other")] == []


async def test_a_list_goes_on_behind_a_job_that_was_deleted_meanwhile(system):
    ids = [(await system.client.submit([line("a")])).id for _ in range(3)]
    newest = system.client.job(ids[-1])
    await newest.delete()
    for tidied in (False, True):
        if tidied:
            await forget_deleted(system.storage, before=math.inf)
        assert [status.id async for status in system.client.jobs(after=newest.id)] == ids[1::-1]
    with pytest.raises(JobNotFound, match="there is no chosen behind which"):
        _ = [status async for status in system.client.jobs(after="chosen")]


async def test_a_job_that_is_not_there_is_told_so(system):
    for ask in (system.client.job("nope").status(), system.client.job("nope").cancel()):
        with pytest.raises(JobNotFound, match="nope"):
            await ask
    with pytest.raises(JobNotFound, match="stream"):
        await system.client.job("stream-x-2026-01-01").wait()
    with pytest.raises(JobError):
        system.client.job("no/such")


def line(custom_id):
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "fake", "messages": [{"role": "user", "content": "hello"}]},
    }


async def test_a_closed_client_says_so(system):
    client = client_of(system, Recorder())
    job = client.job("mine")
    await client.close()
    for call in (client.enqueue("hello"), client.pools(), job.status(), client.handle("single-1").peek()):
        with pytest.raises(ClientClosed):
            await call


async def test_the_client_of_a_fake_system_is_closed_behind_its_block():
    async with FakeSystem() as system:
        pass
    with pytest.raises(ClientClosed):
        await system.client.enqueue("hello")


async def test_a_response_is_asked_for_by_a_prompt_or_messages_and_its_text_is_read(system):
    said = [{"role": "user", "content": "hello"}]
    publisher = Recorder()
    for given in ({"prompt": "hello"}, {"messages": said}):
        await client_of(system, publisher).enqueue(endpoint="/v1/responses", **given)
    assert [message.envelope.body["input"] for message in publisher.messages] == ["hello", said]
    handle = await system.client.enqueue("hello", endpoint="/v1/responses", instructions="Be brief.")
    record = await handle.result(timeout=5)
    assert record.text.startswith("fake answer")
    assert record.response.body["object"] == "response"
    line = {"custom_id": "a", "url": "/v1/responses", "body": {"model": "fake", "input": "hello"}}
    status = await (await system.client.submit([line])).wait(timeout=5)
    assert status.usage.output_tokens > 0


@pytest.mark.parametrize(
    ("name", "meant"),
    [("prioriti", "priority"), ("max_token", "max_tokens"), ("dead_line", "deadline"), ("xyzzy", "extra_body")],
)
async def test_an_argument_that_nobody_knows_is_refused_and_not_sent(system, name, meant):
    with pytest.raises(RequestRefused, match=meant) as caught:
        await system.client.enqueue("hello", **{name: "high"})
    assert (caught.value.code, caught.value.param, system.published) == ("unsupported_parameter", name, 0)


async def test_what_an_operator_allows_beside_is_sent_when_it_is_said_so(system):
    system.hold()
    publisher = Recorder()
    await client_of(system, publisher).enqueue("hello", top_k=4, user="me", extra_body={"own_field": 1})
    body = publisher.messages[0].envelope.body
    assert (body["top_k"], body["user"], body["own_field"]) == (4, "me", 1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt": [{"role": "user", "content": "hello"}]},
        {"messages": "hello"},
        {"messages": ["hello"]},
        {"messages": {"role": "user", "content": "hello"}},
    ],
)
async def test_messages_are_no_prompt_and_a_text_is_no_messages(system, arguments):
    with pytest.raises(RequestRefused, match=r"pass messages|is a list of dicts"):
        await system.client.enqueue(**arguments)
    assert system.published == 0


async def test_a_job_is_no_single_request_to_wait_for(system):
    job = await system.client.submit([line("a")])
    with pytest.raises(JobError, match=r"client\.job") as caught:
        system.client.handle(job.id)
    assert caught.value.job_id == job.id


def test_a_client_says_so_on_another_event_loop():
    async def use():
        await client.publisher()
        await client.close()

    class Bound(Recorder):
        closed = 0

        async def start(self):
            self.loop = asyncio.get_running_loop()

        async def close(self):
            assert asyncio.get_running_loop() is self.loop
            self.closed += 1

    publisher = Bound()
    settings = Settings(store_url="memory:///", queue_url="kafka://none:1")
    client = Connections(settings, None, publisher)
    asyncio.run(client.publisher())
    with pytest.raises(ClientError, match="another event loop"):
        asyncio.run(use())
    asyncio.run(client.close())
    assert publisher.closed == 0
    client = Connections(settings, None, publisher)
    asyncio.run(use())
    assert publisher.closed == 1


async def test_a_number_that_json_has_not_is_refused(system):
    with pytest.raises(RequestRefused):
        await system.client.enqueue("hello", temperature=math.nan)
    assert system.published == 0


async def test_a_call_that_takes_too_long_is_broken_off_and_says_which_request_it_was(system):
    class Silent(Recorder):
        async def publish(self, messages):
            await asyncio.Event().wait()

    with pytest.raises(ResultTimeout) as caught:
        await client_of(system, Silent()).enqueue("hello", timeout=0.05)
    assert caught.value.job_id in caught.value.message
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(ResultTimeout, match="--job-id batch_"):
        await client_of(system, Silent()).submit([line("a")], timeout=0.05)


async def test_a_client_has_a_time_out_and_retries_for_all_its_calls(system, monkeypatch):
    class Refusing(Recorder):
        attempts = 0

        async def publish(self, messages):
            self.attempts += 1
            raise PublishFailed([0], "told to")

    settings = {"store_url": "memory:///", "queue_url": "kafka://none:1"}
    client = Client(**settings, max_retries=0)
    publisher = Refusing()
    client._connections._storage, client._connections._publisher = system.storage, publisher
    with pytest.raises(QueueError, match="enqueue it again"):
        await client.enqueue("hello")
    assert publisher.attempts == 1
    with pytest.raises(QueueError):
        await client.submit([line("a")])
    assert publisher.attempts == 2

    async def get(self, key, **limits):
        await asyncio.Event().wait()

    client = Client(**settings, timeout=0.05)
    client._connections._storage = system.storage
    monkeypatch.setattr(type(system.storage), "get", get)
    job = client.job("x")
    for call in (job.status, job.cancel, job.pause, job.resume, client.handle("single-x").peek, client.default_model):
        with pytest.raises(TimeoutError):
            await call()
    for wrong in ({"timeout": 0}, {"timeout": math.nan}, {"max_retries": -1}):
        with pytest.raises(SettingsError):
            Client(store_url="memory:///", **wrong)


async def test_a_request_under_an_idempotency_key_is_sent_once(system):
    first = await system.client.enqueue("hello", idempotency_key="order 17")
    again = await system.new_client().enqueue("hello", idempotency_key="order 17")
    assert (again.id, again.deadline, system.published) == (first.id, first.deadline, 1)
    assert (await again.result(timeout=5)).ok
    with pytest.raises(JobConflict, match="another request"):
        await system.client.enqueue("good bye", idempotency_key="order 17")
    assert (await system.client.enqueue("hello", idempotency_key="order 18")).id != first.id


async def test_of_two_requests_under_one_key_at_once_one_is_refused(system):
    asked = {text: system.client.enqueue(text, idempotency_key="order 17") for text in ("one?", "two?")}
    found = await asyncio.gather(*asked.values(), return_exceptions=True)
    refused = [one for one in found if isinstance(one, JobConflict)]
    (handle,) = (one for one in found if one not in refused)
    assert len(refused) == system.published == 1
    # The key stays with the one that was sent.
    sent, other = (text for _, text in sorted(zip((one in refused for one in found), asked, strict=True)))
    assert (await system.client.enqueue(sent, idempotency_key="order 17")).id == handle.id
    with pytest.raises(JobConflict, match="another request"):
        await system.client.enqueue(other, idempotency_key="order 17")


async def test_a_request_under_a_key_that_the_broker_did_not_take_is_sent_again(system):
    broken = Recorder(failures=99)
    client = client_of(system, broken)
    client._connections.limits = CallLimits(max_retries=0)
    with pytest.raises(QueueError, match="the same idempotency_key"):
        await client.enqueue("hello", idempotency_key="order 17")
    handle = await system.client.enqueue("hello", idempotency_key="order 17")
    assert (await handle.result(timeout=5)).ok


async def test_a_single_request_can_be_cancelled(system):
    system.hold()
    handle = await system.client.enqueue("hello")
    assert await handle.cancel() is None
    await system.release()
    with pytest.raises(RequestFailed) as caught:
        await handle.result(timeout=5)
    assert caught.value.record.error.code == "cancelled"
    answered = await system.client.enqueue("hello")
    assert (await answered.cancel()).ok
    with pytest.raises(JobError, match="no single request"):
        await system.client.handle("stream-x/a").cancel()


def test_an_argument_that_is_no_setting_is_told_with_the_one_that_is_meant():
    with pytest.raises(SettingsError, match="did you mean store_url"):
        Client(store_ur="memory:///")


def test_every_setting_is_an_argument_that_editors_know():
    assert SettingArguments.__annotations__.keys() == Settings.model_fields.keys()


async def test_an_async_progress_is_awaited(system):
    seen, statuses = [], []

    async def told(progress):
        await asyncio.sleep(0)
        seen.append(progress)

    async def status(found):
        await asyncio.sleep(0)
        statuses.append(found)

    job = await system.client.submit([line(f"r{number}") for number in range(1500)], on_progress=told)
    await job.wait(timeout=5, progress=status)
    assert (seen[-1].sent, seen[-1].job_id) == (1500, job.id)
    assert statuses[-1].frozen


@pytest.mark.parametrize("stored", [True, False])
async def test_an_async_progress_that_fails_fails_the_submit(system, stored):
    async def told(progress):
        raise KeyError

    with pytest.raises(KeyError):
        await system.client.submit([line("a")], on_progress=told, stored=stored)


@pytest.mark.parametrize("stored", [True, False])
async def test_the_last_report_has_been_taken_when_a_submit_returns(system, stored):
    taken = []

    async def told(progress):
        for _ in range(20):
            await asyncio.sleep(0)
        taken.append(progress)

    await system.client.submit([line("a")], on_progress=told, stored=stored)
    assert taken[-1].sent == 1


async def test_a_record_has_its_index_and_usage(system):
    record = await (await system.client.enqueue("hello")).result(timeout=5)
    assert record.index == record.backburner.index == 0
    assert record.usage.total_tokens == record.usage.input_tokens + record.usage.output_tokens > 0
    response = await (await system.client.enqueue("hello", endpoint="/v1/responses")).result(timeout=5)
    assert response.usage.output_tokens > 0


async def test_a_deadline_without_a_time_zone_is_refused(system):
    with pytest.raises(JobError, match="no time zone"):
        await system.client.enqueue("hello", deadline=datetime(2999, 1, 1))  # noqa: DTZ001 - that is the point
