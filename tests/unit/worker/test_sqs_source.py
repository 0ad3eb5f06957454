"""The source on SQS against AWS's answers and faults, which no emulator gives."""

import asyncio
import json
import threading
import time
from dataclasses import replace

import pytest
import sqs_stub as stubs
from waiting import PATIENCE, until

from backburner.settings import Settings
from backburner_schemas import routing
from backburner_schemas.codec import MAX_RETRY_DELAY_SECONDS, Rules
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane
from backburner_worker.sources.sqs import availability, calls
from backburner_worker.sources.sqs import source as sqs_source
from backburner_worker.sources.sqs.message import Received
from backburner_worker.sources.sqs.source import SqsSource
from backburner_worker.sources.sqs.times import SqsTimes

QUEUES = routing.queues("p", "fake")
NORMAL = routing.queue("p", "fake", Lane.NORMAL)
RETRY = routing.queue("p", "fake", Lane.RETRY)
ALL = dict.fromkeys(Lane, 100)


async def nothing():
    pass


def envelope(index, text="hello"):
    body = {"model": "fake", "messages": [{"role": "user", "content": text}]}
    return json.dumps(
        {"v": 1, "tenant": "t", "job": "j", "index": index, "custom_id": "c", "url": "/v1/chat/completions"}
        | {"body": body, "answer": "segment"}
    )


@pytest.fixture
def sqs(monkeypatch):
    stub = stubs.StubSqs(*QUEUES)
    monkeypatch.setattr(calls, "sqs_session", lambda _settings: None)
    monkeypatch.setattr(calls, "sqs_client", lambda *_args, **_kind: stub)
    return stub


@pytest.fixture
async def source_of(sqs):
    made = []

    async def make(*, visibility_seconds=120, wait_seconds=1, **kind):
        settings = Settings.load(queue_url="sqs://us-east-1", store_url="memory:///", prefix="p")
        times = SqsTimes(visibility_seconds, wait_seconds)
        source = SqsSource(settings, queues=QUEUES, times=times, **{"rules": Rules(), **kind})
        await source.start(nothing)
        made.append(source)
        return source

    yield make
    sqs.ending = True
    for gate in sqs.gates.values():
        gate.set()
    for source in made:
        await source.close()


async def pull(source, count, budget=ALL):
    found = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            found += await source.pull(budget)
    return found


def ids(deliveries):
    return [delivery.message.index for delivery in deliveries]


# --- leases ---


async def test_a_message_that_is_not_in_flight_any_more_is_lost_to_its_worker(sqs, source_of):
    message = sqs.put(envelope(0), NORMAL)
    source = await source_of(visibility_seconds=3600)
    (delivery,) = await pull(source, 1)
    # Hidden from our own polls, as if another worker had it.
    sqs.queues[NORMAL].remove(message)
    aborted = asyncio.Event()
    delivery.lease.on_lost(aborted.set)
    delivery.token.heartbeat_at = 0.0
    async with asyncio.timeout(PATIENCE):
        await aborted.wait()
    await source.settle(delivery)
    assert source.uncommitted() == 0
    assert sqs.calls["delete_message_batch"] == 0


async def test_what_is_held_is_extended_while_every_poll_waits(sqs, source_of, monkeypatch):
    monkeypatch.setattr(calls, "MAX_POLLS", 1)
    message = sqs.put(envelope(0), NORMAL)
    source = await source_of(visibility_seconds=2, wait_seconds=1)
    (delivery,) = await pull(source, 1)
    gate = sqs.gates["receive_message"] = threading.Event()
    await source.pull(ALL)
    ends = message.visible_at
    await until(lambda: message.visible_at > ends + 2)
    assert not delivery.lease.lost
    gate.set()
    assert message.count == 1


async def test_what_is_read_ahead_is_extended_too(sqs, source_of):
    messages = [sqs.put(envelope(index), NORMAL) for index in range(5)]
    source = await source_of(visibility_seconds=2)
    source._intake.want({Lane.NORMAL: 100})
    (first,) = await pull(source, 1, {Lane.NORMAL: 1})
    assert [one.count for one in messages] == [1] * 5
    source._intake.want({})
    ends = [one.visible_at + 2 for one in messages]
    await until(lambda: all(one.visible_at > end for one, end in zip(messages, ends, strict=True)))
    assert not first.lease.lost
    assert len(await pull(source, 4)) == 4


async def test_throttled_extensions_are_tried_again_in_time(sqs, source_of):
    message = sqs.put(envelope(0), NORMAL)
    source = await source_of(visibility_seconds=4)
    (delivery,) = await pull(source, 1)
    sqs.faults["change_message_visibility_batch"] += [stubs.refusal("RequestThrottled"), stubs.AWAY]
    ends = message.visible_at
    await until(lambda: message.visible_at > ends)
    assert not delivery.lease.lost
    await until(lambda: source.unavailable_reason() is None)


async def test_a_lease_that_cannot_be_extended_is_lost_by_our_own_clock(sqs, source_of):
    sqs.put(envelope(0), NORMAL)
    source = await source_of(visibility_seconds=2)
    (delivery,) = await pull(source, 1)
    sqs.failing["change_message_visibility_batch"] = sqs.failing["receive_message"] = stubs.AWAY
    await until(lambda: delivery.lease.lost)
    assert "SQS does not answer" in source.unavailable_reason()
    assert source.uncommitted() == 0


async def test_a_lease_is_lost_in_time_while_the_extension_hangs(sqs, source_of):
    sqs.put(envelope(0), NORMAL)
    source = await source_of(visibility_seconds=2)
    (delivery,) = await pull(source, 1)
    sqs.gates["change_message_visibility_batch"] = threading.Event()
    # Nobody has it yet, so that our own next poll would bring it back.
    sqs.failing["receive_message"] = stubs.AWAY
    await until(lambda: delivery.lease.lost)
    assert sqs.calls["change_message_visibility_batch"] > 0


# --- deletes ---


async def test_settled_messages_are_deleted_in_batches(sqs, source_of):
    for index in range(25):
        sqs.put(envelope(index), NORMAL)
    source = await source_of()
    for delivery in await pull(source, 25):
        await source.settle(delivery)
    assert source.uncommitted() > 0
    await until(lambda: source.uncommitted() == 0)
    assert sqs.left() == []
    assert sqs.calls["delete_message_batch"] <= 5


async def test_what_a_batch_of_deletes_left_over_is_deleted_again(sqs, source_of):
    messages = [sqs.put(envelope(index), NORMAL) for index in range(3)]
    sqs.refusing["delete_message_batch"] = {messages[1].id: "InternalError"}
    source = await source_of()
    for delivery in await pull(source, 3):
        await source.settle(delivery)
    await until(lambda: len(sqs.left()) == 1)
    assert source.uncommitted() == 1
    await until(lambda: source.uncommitted() == 0)
    assert sqs.left() == []


async def test_deletes_wait_for_sqs_to_come_back(sqs, source_of):
    sqs.put(envelope(0), NORMAL)
    source = await source_of()
    (delivery,) = await pull(source, 1)
    sqs.failing["delete_message_batch"] = stubs.AWAY
    await source.settle(delivery)
    await until(lambda: source.unavailable_reason() is not None)
    assert source.uncommitted() == 1
    del sqs.failing["delete_message_batch"]
    await until(lambda: source.uncommitted() == 0)
    assert source.unavailable_reason() is None
    assert sqs.left() == []


async def test_no_more_is_taken_in_while_too_much_waits_to_be_deleted(sqs, source_of, monkeypatch):
    monkeypatch.setattr(sqs_source, "MAX_UNDELETED_MESSAGES", 20)
    for number in range(200):
        sqs.put(envelope(number), NORMAL)
    source = await source_of()
    sqs.failing["delete_message_batch"] = stubs.AWAY

    async def settled(count):
        for delivery in await pull(source, count):
            await source.settle(delivery)

    await settled(20)
    async with asyncio.timeout(PATIENCE):
        # What was read ahead, or asked for by then.
        while deliveries := await source.pull(ALL):
            for delivery in deliveries:
                await source.settle(delivery)
    taken = source.uncommitted()
    assert taken < 200
    del sqs.failing["delete_message_batch"]
    await settled(200 - taken)
    await until(lambda: sqs.left() == [])


@pytest.mark.parametrize("code", ["ReceiptHandleIsInvalid", "InvalidParameterValue"])
async def test_a_stale_receipt_at_the_delete_is_the_end_of_it(sqs, source_of, code):
    message = sqs.put(envelope(0), NORMAL)
    sqs.refusing["delete_message_batch"] = {message.id: code}
    source = await source_of()
    (delivery,) = await pull(source, 1)
    await source.settle(delivery)
    await until(lambda: source.uncommitted() == 0)
    assert sqs.calls["delete_message_batch"] == 1


# --- copies ---


async def test_a_copy_of_what_runs_here_is_adopted(sqs, source_of):
    message = sqs.put(envelope(0), NORMAL)
    source = await source_of()
    (delivery,) = await pull(source, 1)
    sqs.expire(message)
    await until(lambda: message.count == 2 or source._poll_on())
    await until(lambda: delivery.token.handle == message.handle)
    assert await source.pull(ALL) == []
    assert not delivery.lease.lost
    await source.settle(delivery)
    await until(lambda: sqs.left() == [])


async def test_a_copy_of_what_was_deleted_is_deleted_and_not_given(sqs, source_of):
    message = sqs.put(envelope(0), NORMAL)
    source = await source_of()
    (delivery,) = await pull(source, 1)
    await source.settle(delivery)
    await until(lambda: source.uncommitted() == 0)
    copy = sqs.put(envelope(0), NORMAL)
    copy.id = message.id
    await until_pulled_nothing(source, lambda: sqs.left() == [])


async def until_pulled_nothing(source, condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            assert await source.pull(ALL) == []


# --- what a message tells ---


async def test_the_receive_count_makes_redelivered_and_suspects(sqs, source_of):
    for index, count in enumerate((0, 1, 2)):
        sqs.put(envelope(index), NORMAL).count = count
    source = await source_of(visibility_seconds=3600)
    found = {one.message.index: one for one in await pull(source, 3)}
    assert [found[index].redelivered for index in range(3)] == [False, True, True]
    assert [found[index].facts.suspect for index in range(3)] == [False, False, True]
    assert found[0].handed_over_at is None
    # Whoever had it was silent for half of its visibility at least.
    assert found[1].handed_over_at <= time.monotonic() - 1800
    assert found[2].handed_over_at is not None


async def test_facts_come_from_the_attributes_within_their_bounds(sqs, source_of):
    sqs.put(envelope(0), RETRY, attempt="3", traceparent="00-a-b-01")
    sqs.put(envelope(1), RETRY, attempt="99999", not_before="nan", suspect="maybe")
    sqs.put(envelope(2), RETRY, suspect="1", among="64")
    source = await source_of()
    one, two, three = sorted(await pull(source, 3), key=lambda each: each.message.index)
    assert (one.facts.attempt, one.facts.traceparent) == (3, "00-a-b-01")
    assert (two.facts.attempt, two.facts.not_before, two.facts.suspect) == (100, None, False)
    assert (three.facts.suspect, three.facts.among) == (True, 64)


async def test_a_message_that_is_not_due_is_made_invisible_until_then(sqs, source_of):
    sqs.put(envelope(0), RETRY, not_before=str(time.time() + 1000))
    source = await source_of()
    await until_pulled_nothing(source, sqs.delays)
    # Cut to a minute after the message was sent.
    assert all(55 <= seconds <= 61 for seconds in sqs.delays())
    assert len(source._held) == 0


async def test_what_a_sender_claims_of_its_own_message_makes_it_neither_a_suspect_nor_late(sqs, source_of):
    claims = {"suspect": "1", "attempt": "99", "failed_at": "a/1", "not_before": str(time.time() + 50)}
    sqs.put(envelope(0), NORMAL, traceparent="00-a-b-01", **claims)
    source = await source_of()
    (delivery,) = await pull(source, 1)
    assert delivery.facts == DeliveryFacts(traceparent="00-a-b-01")
    assert sqs.delays() == []


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_wrong_clock_here_makes_no_message_wait_for_over_a_minute_nor_a_second_time(hours):
    sent = 1_000_000.0
    first = Received(Lane.RETRY, RETRY, "id", "handle", b"", sent, 1, (("not_before", b"1000030"),))
    assert first.wait_seconds(sent) == 30.0
    assert 0.0 <= first.wait_seconds(sent + hours * 3600.0) <= MAX_RETRY_DELAY_SECONDS
    assert replace(first, count=2).wait_seconds(sent) == 0.0


async def test_a_suspect_by_its_receive_count_is_sent_anew_onto_the_lane_where_that_is_believed(sqs, source_of):
    sqs.put(envelope(3), NORMAL, attempt="7").count = 2
    source = await source_of()
    deliveries = await pull(source, 1)
    assert [one.facts.suspect for one in deliveries] == [True]
    await stopped(sqs, source)
    await source.give_back(deliveries)
    await until(lambda: len(sqs.visible()) == 1)
    (anew,) = sqs.queues[RETRY]
    assert (anew.count, anew.attributes["suspect"]["StringValue"]) == (0, "1")
    assert "attempt" not in anew.attributes
    assert sqs.queues[NORMAL] == []


async def test_a_suspect_that_is_given_back_in_order_shows_that_nobody_died_of_it(sqs, source_of):
    sqs.put(envelope(0), RETRY, suspect="1")
    source = await source_of()
    deliveries = await pull(source, 1)
    assert [one.left_cleanly for one in deliveries] == [True]
    await stopped(sqs, source)
    await source.give_back(deliveries)
    await until(lambda: [one.count for one in sqs.visible()] == [0])
    # One that its owner never gave back: that may have died of it.
    sqs.visible()[0].count = 1
    assert [one.left_cleanly for one in await pull(await source_of(), 1)] == [False]


async def test_a_suspect_that_ran_here_and_harmed_nobody_is_sent_anew_whoever_had_it_before(sqs, source_of):
    sqs.put(envelope(0), RETRY, suspect="1").count = 1
    source = await source_of()
    [delivery] = await pull(source, 1)
    await source.begin(delivery)
    await stopped(sqs, source)
    await source.close()
    assert [one.count for one in sqs.visible()] == [0]
    assert [one.left_cleanly for one in await pull(await source_of(), 1)] == [True]


@pytest.mark.parametrize(("lane", "facts", "received_count"), [(RETRY, {"suspect": "1"}, 1), (NORMAL, {}, 3)])
async def test_one_that_never_ran_a_suspect_does_not_say_for_the_one_before_that_nobody_died_of_it(
    sqs, source_of, lane, facts, received_count
):
    sqs.put(envelope(0), lane, **facts).count = received_count  # Whoever received it last ran it alone, and was killed.
    source = await source_of()
    deliveries = await pull(source, 1)
    await stopped(sqs, source)
    await source.give_back(deliveries)
    assert [one.left_cleanly for one in await pull(await source_of(), 1)] == [False]


async def test_facts_that_are_longer_than_any_can_be_are_not_kept(sqs, source_of):
    sqs.put(envelope(0), NORMAL, traceparent="x" * 100_000)
    sqs.put(envelope(1), NORMAL, traceparent="00-a-b-01")
    source = await source_of()
    deliveries = await pull(source, 2)
    assert {one.facts.traceparent for one in deliveries} == {None, "00-a-b-01"}
    assert sum(len(value) for one in source._held._held.values() for _, value in one.received.headers) < 100


async def test_a_message_that_is_nearly_due_is_held_until_then(sqs, source_of):
    due = time.time() + 0.8
    sqs.put(envelope(0), RETRY, not_before=str(due))
    source = await source_of()
    await pull(source, 1)
    assert time.time() >= due
    assert sqs.delays() == []


@pytest.mark.parametrize("body", ["", "junk", "\ud800", "[]", '{"v":1}', "{" * 1000])
async def test_junk_is_a_letter_and_not_an_error(sqs, source_of, body):
    sqs.put(body, NORMAL)
    source = await source_of()
    (delivery,) = await pull(source, 1)
    assert type(delivery.message).__name__ == "Unaddressed"
    await source.settle(delivery)
    await until(lambda: sqs.left() == [])


# --- twelve hours ---


async def test_what_was_held_for_too_long_is_sent_anew(sqs, source_of):
    sqs.put(envelope(7, "é"), RETRY, attempt="2")
    source = await source_of(send_again_after=0.5)
    (delivery,) = await pull(source, 1)
    await until(lambda: delivery.lease.lost)
    await until(lambda: sqs.calls["send_message_batch"] and sqs.calls["delete_message_batch"])
    sent = next(asked["Entries"][0] for call, asked in sqs.asked if call == "send_message_batch")
    assert json.loads(sent["MessageBody"])["index"] == 7
    assert sent["MessageBody"].isascii()
    assert sent["MessageAttributes"]["attempt"]["StringValue"] == "2"
    assert sent["MessageGroupId"] == "t"


async def test_a_raw_line_that_is_sent_anew_keeps_its_address(sqs, source_of):
    line = {"custom_id": "x", "method": "POST", "url": "/v1/embeddings", "body": {"model": "fake", "input": "a"}}
    sqs.put(json.dumps(line), NORMAL)
    source = await source_of(send_again_after=0.5)
    (first,) = await pull(source, 1)
    await until(lambda: first.lease.lost)
    (second,) = await pull(source, 1)
    assert second.message.address == first.message.address
    assert second.origin != first.origin


# --- the end ---


async def test_a_poll_that_brings_something_after_the_stop_gives_it_back(sqs, source_of):
    source = await source_of(wait_seconds=3)
    assert await source.pull(ALL) == []
    await source.stop()
    # Everything but these calls has come to its end.
    last_polls, reached = source._last_polls, asyncio.Event()
    source._last_polls = lambda: reached.set() or last_polls()
    closing = asyncio.create_task(source.close())
    async with asyncio.timeout(PATIENCE):
        await reached.wait()
    message = sqs.put(envelope(0), NORMAL)
    await until(lambda: message.count > 0)
    await closing
    assert sqs.visible() == [message]


async def test_the_end_gives_back_what_is_not_settled_and_deletes_what_is(sqs, source_of):
    for index in range(30):
        sqs.put(envelope(index), NORMAL)
    source = await source_of()
    deliveries = await pull(source, 20, {Lane.NORMAL: 20})
    for delivery in deliveries[:7]:
        await source.settle(delivery)
    await source.stop()
    await source.close()
    assert len(sqs.visible()) == len(sqs.left()) == 23
    assert [delivery.lease.lost for delivery in deliveries[7:]] == [True] * (len(deliveries) - 7)


async def test_an_end_while_sqs_is_away_is_bounded(sqs, source_of, monkeypatch):
    monkeypatch.setattr(sqs_source, "_CLOSE_SECONDS", 0.5)
    for index in range(3):
        sqs.put(envelope(index), NORMAL)
    source = await source_of()
    one, *_ = await pull(source, 3)
    for call in ("delete_message_batch", "change_message_visibility_batch", "receive_message"):
        sqs.failing[call] = stubs.AWAY
    await source.settle(one)
    async with asyncio.timeout(PATIENCE):
        await source.close()
    assert len(sqs.left()) == 3


async def test_given_back_means_that_others_have_it_at_once(sqs, source_of):
    message = sqs.put(envelope(0), NORMAL)
    source = await source_of()
    (delivery,) = await pull(source, 1)
    await stopped(sqs, source)
    await source.give_back([delivery])
    assert delivery.lease.lost
    await until(lambda: sqs.visible() == [message])


async def stopped(sqs, source):
    """Stopped, and with no call under way that could take what is given back."""
    await source.stop()
    sqs.ending = True
    await until(lambda: not source._polls)


async def test_what_harmed_nobody_here_is_not_made_a_suspect_by_being_given_back(sqs, source_of):
    bodies = [envelope(0), envelope(1), "junk", "more junk"]
    for body, count in zip(bodies, (0, 1, 0, 1), strict=True):
        sqs.put(body, RETRY, attempt="2").count = count
    source = await source_of()
    deliveries = await pull(source, 4)
    await stopped(sqs, source)
    await source.give_back(deliveries)
    await until(lambda: len(sqs.visible()) == 4)
    # The second one is a new message; junk has no envelope to send, and comes back as it is.
    assert sorted((one.body[:4], one.count) for one in sqs.left()) == sorted(
        [(bodies[0][:4], 1), (bodies[1][:4], 0), ("junk", 1), ("more", 2)]
    )
    assert {one.attributes["attempt"]["StringValue"] for one in sqs.left()} == {"2"}


async def test_what_cannot_be_sent_anew_is_given_back(sqs, source_of):
    sqs.put(envelope(0), NORMAL).count = 1
    source = await source_of()
    deliveries = await pull(source, 1)
    sqs.failing["send_message_batch"] = stubs.AWAY
    await stopped(sqs, source)
    await source.give_back(deliveries)
    await until(lambda: [one.count for one in sqs.visible()] == [2])


async def test_what_began_when_the_workers_own_code_broke_becomes_a_suspect_and_nobody_left_it_cleanly(sqs, source_of):
    sqs.put(envelope(0), NORMAL)
    sqs.put(envelope(1), NORMAL)
    seen = []
    for _ in range(3):
        source = await source_of()
        [crashing] = [one for one in await pull(source, 2) if one.message.index == 0]
        seen.append((crashing.facts.suspect, crashing.left_cleanly))
        await source.begin(crashing)
        await source.close(clean=False)
        # What had not begun is others' at once; the rest comes when its visibility ends, as after a kill.
        assert [json.loads(one.body)["index"] for one in sqs.visible()] == [1]
        for one in sqs.left():
            sqs.expire(one)
    assert seen == [(False, True), (False, False), (True, False)]


async def test_of_what_is_sent_anew_in_parts_nothing_is_there_twice(sqs, source_of, monkeypatch):
    sqs.put(envelope(0), NORMAL).count = 1
    sqs.put(envelope(1), NORMAL).count = 2
    source = await source_of()
    await pull(source, 2)
    send, calls = sqs.send_message_batch, []

    def first_alone(**asked):
        calls.append(asked)
        if len(calls) > 1:
            raise stubs.AWAY
        return send(**asked)

    monkeypatch.setattr(sqs, "send_message_batch", first_alone)
    await source.close()
    assert sorted(json.loads(one.body)["index"] for one in sqs.left()) == [0, 1]


async def test_a_pull_after_the_end_is_refused(sqs, source_of):
    source = await source_of()
    await source.close()
    with pytest.raises(QueueError, match="closed"):
        await source.pull(ALL)


# --- pressure and trouble ---


async def test_a_lane_without_budget_is_not_asked(sqs, source_of):
    source = await source_of()
    sqs.put(envelope(0), routing.queue("p", "fake", Lane.LOW))
    await source.pull({Lane.HIGH: 5})
    assert {asked["queue"] for call, asked in sqs.asked if call == "receive_message"} == {"p-fake-high"}


async def test_an_outage_is_ridden_out_and_told(sqs, source_of):
    source = await source_of()
    sqs.failing["receive_message"] = stubs.AWAY
    assert await source.pull(ALL) == []
    assert source.unavailable_reason().startswith("SQS does not answer at sqs://us-east-1")
    sqs.put(envelope(0), NORMAL)
    del sqs.failing["receive_message"]
    await pull(source, 1)
    await until(lambda: source.unavailable_reason() is None)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [("AccessDenied", "docs/sqs.md"), ("AWS.SimpleQueueService.NonExistentQueue", "topics ensure")],
)
async def test_what_only_a_human_can_end_ends_the_source(sqs, source_of, monkeypatch, code, remedy):
    monkeypatch.setattr(availability, "_PATIENCE_SECONDS", 0.3)
    source = await source_of()
    sqs.failing["receive_message"] = stubs.refusal(code)
    with pytest.raises(QueueError, match=remedy):
        await pull(source, 1)


async def test_the_start_names_what_is_missing(sqs, source_of):
    del sqs.queues["p-fake-retry"]
    with pytest.raises(QueueError, match=r"p-fake-retry does not exist.*topics ensure --pool"):
        await source_of()


async def test_lag_counts_what_is_on_the_queues(sqs, source_of):
    for index in range(4):
        sqs.put(envelope(index), NORMAL)
    source = await source_of()
    await until(lambda: source.lag()[Lane.NORMAL] == 4)
    for delivery in await pull(source, 4):
        await source.settle(delivery)
    await until(lambda: source.lag()[Lane.NORMAL] == 0)
