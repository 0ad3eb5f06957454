"""Sending again later, and giving up: what is not due waits, what failed for good ends in order. On every queue."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from queues.harness import JOB, SPREAD, TENANT
from waiting import until

from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import AnswerMode, DeliveryFacts, Envelope
from backburner_schemas.letter import StoredDeadLetter
from backburner_schemas.names import Lane
from backburner_schemas.result import ResultRecord
from backburner_worker.app import Worker
from backburner_worker.engine.fake.engine import FakeEngine
from backburner_worker.parts import Parts
from backburner_worker.telemetry.telemetry import Telemetry

pytestmark = pytest.mark.broker

ALL = dict.fromkeys(Lane, 50)


async def joined(harness):
    """A member that has been given something: from here on, nothing that it does takes long."""
    source = await harness.member()
    await harness.publish(1, first=1_000_000)
    await harness.settle(source, await harness.pull(source, 1))
    return source


async def test_a_retry_that_is_not_due_holds_up_nobody(harness):
    source = await joined(harness)
    publisher = await harness.started_publisher()
    later = DeliveryFacts(attempt=2, not_before=time.time() + 50.0)
    await publisher.publish([harness.message(0, lane=Lane.RETRY, facts=later)])
    await publisher.publish([harness.message(SPREAD * number) for number in range(1, 6)])
    assert {one.lane for one in await harness.pull(source, 5)} == {Lane.NORMAL}
    assert await source.pull(ALL) == []


async def test_a_retry_is_given_when_it_is_due_and_not_before(harness):
    source = await joined(harness)
    publisher = await harness.started_publisher()
    due = time.time() + 2.0
    later = DeliveryFacts(attempt=2, not_before=due)
    await publisher.publish([harness.message(0, lane=Lane.RETRY, facts=later)])
    (retry,) = await harness.pull(source, 1)
    # A queue's own delay counts whole seconds of its own clock; a worker's clock decides, to the millisecond.
    assert time.time() >= due - 0.001
    assert retry.facts == later


async def test_a_retry_that_is_due_is_given_at_once_whoever_asks(harness):
    publisher = await harness.started_publisher()
    due = time.time() + 1.0
    await publisher.publish([harness.message(0, lane=Lane.RETRY, facts=DeliveryFacts(attempt=2, not_before=due))])
    first = await harness.member()
    await first.pull(ALL)
    await first.close()
    second = await harness.member()
    (found,) = await harness.pull(second, 1)
    assert time.time() >= due - 0.001
    assert found.facts.attempt == 2
    await second.settle(found)
    await harness.owes(0)


# --- through the real pipeline, with the fake engine and a store in memory ---


class Order:
    """A source that notes, at each settle, what the store held before."""

    def __init__(self, source, storage):
        self._source = source
        self._storage = storage
        self.seen = []

    def __getattr__(self, name):
        return getattr(self._source, name)

    async def settle(self, delivery):
        self.seen.append((delivery, sorted([each.key async for each in self._storage.scan("tenants/")])))
        await self._source.settle(delivery)


class Writes:
    """A store that notes what is written, in order."""

    def __init__(self, storage):
        self._storage = storage
        self.keys = []

    def __getattr__(self, name):
        return getattr(self._storage, name)

    async def put(self, key, data):
        await self._storage.put(key, data)
        self.keys.append(key)

    async def create(self, key, data):
        created = await self._storage.create(key, data)
        self.keys.append(key)
        return created


@asynccontextmanager
async def working(harness, **settings):
    """A worker on the queue: its store, and the order of what it did."""
    told = harness.settings.model_copy(
        update={"retry_base_seconds": 0.2, "retry_max_seconds": 1.0, "segment_min_age_seconds": 0.1, **settings}
    )
    engine = FakeEngine()
    writes = Writes(Storage.open(told.model_copy(update={"store_url": f"memory:///{harness.settings.prefix}"})))
    order = Order(harness.source(**settings), writes)
    worker = Worker(
        Parts(
            told,
            storage=writes,
            telemetry=Telemetry(CollectorRegistry()),
            engine=engine,
            info=await engine.start(),
            source=order,
            publisher=harness.publisher(),
        )
    )
    joined = asyncio.Event()
    task = asyncio.create_task(worker.run(on_joined=joined.set))
    waiting = asyncio.create_task(joined.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield writes, order
    finally:
        worker.pipeline.stop()
        waiting.cancel()
        await task


async def records(storage):
    found = {}
    async for each in storage.scan(keys.segments(TENANT, JOB)):
        stored = await storage.get(each.key)
        found.update(
            (one.backburner.index, one) for one in map(ResultRecord.model_validate_json, stored.data.splitlines())
        )
    return found


async def test_what_fails_for_good_ends_as_a_letter_then_a_record_then_is_settled(harness):
    await harness.publish(3)
    await harness.publish(1, first=SPREAD, prompt="[[retry]]")
    async with working(harness, max_attempts=2) as (storage, order):
        await harness.owes(0)
        found = await records(storage)
        assert sorted(found) == [0, 1, 2, SPREAD]
        assert found[SPREAD].backburner.attempt == 2
        letter_key = keys.dead_letter(TENANT, JOB, SPREAD)
        letter = StoredDeadLetter.model_validate_json((await storage.get(letter_key)).data)
        assert letter.attempts == 2
        assert letter.envelope.index == SPREAD
        segment_after = [key for key in storage.keys[storage.keys.index(letter_key) + 1 :] if "/segments/" in key]
        assert segment_after, "the record was written before the letter"
        at_the_end = [held for delivery, held in order.seen if delivery.facts.attempt == 2]
        assert letter_key in at_the_end[0], "it was settled before the letter was there"
        assert any(key in at_the_end[0] for key in segment_after), "it was settled before the record was there"


async def test_a_message_without_an_address_ends_as_one_letter(harness):
    await harness.send(b"{ junk")
    async with working(harness) as (storage, _):
        await harness.owes(0)
        (letter,) = [key async for key in _keys(storage, keys.DEAD)]
        assert letter.startswith(keys.DEAD)
        assert StoredDeadLetter.model_validate_json((await storage.get(letter)).data).code == "unaddressable"


async def test_a_stored_body_is_fetched_where_the_envelope_names_it(harness):
    claim = Envelope(
        tenant=TENANT,
        job=JOB,
        index=0,
        custom_id="large",
        url="/v1/chat/completions",
        body_ref=keys.body(TENANT, JOB, 0),
        answer=AnswerMode.OBJECT,
    )
    message = harness.message(0, prompt="x" * 3_000_000)
    async with working(harness, max_body_bytes=8 * 1024 * 1024) as (storage, _):
        await storage.put(claim.body_ref, _json(message.envelope.body))
        publisher = await harness.started_publisher()
        await publisher.publish([type(message)(harness.name, Lane.NORMAL, claim)])
        await harness.owes(0)
        stored = await storage.get(keys.answer(TENANT, JOB, "large"))
        assert ResultRecord.model_validate_json(stored.data).ok


async def test_a_worker_that_stops_gives_back_what_it_did_not_finish(harness):
    await harness.publish(5, step=SPREAD, prompt="[[hang]]")
    await harness.publish(5, first=1, step=SPREAD)

    async with working(harness, drain_seconds=0.1) as (storage, _):

        async def answered():
            return len(await records(storage)) == 5

        await until(answered, "the five that do not hang")
    second = await harness.member()
    found = []

    async def given():
        found.extend(await second.pull(ALL))
        return {one.message.index for one in found} >= {number * SPREAD for number in range(5)}

    await until(given, "the five that hang, given to the next")


async def _keys(storage, prefix):
    async for each in storage.scan(prefix):
        yield each.key


def _json(value):
    return json.dumps(value).encode()
