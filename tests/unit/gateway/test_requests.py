"""Single requests at the gateway: put onto the queue once, and answered under an id that nobody can guess."""

import asyncio
import json

import pytest
from gateway import gateway_over
from waiting import until

from backburner.gateway.requests.enqueuer import Enqueuer
from backburner.gateway.requests.request_ids import RequestIds, made_at
from backburner.publishers.base import FIRST_DELIVERY, Message, PublishFailed
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import ContextLengthExceeded, QueueError
from backburner_schemas.names import Lane

CHAT = "/v1/async/chat/completions"
BODY = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def gateway():
    async with FakeSystem() as system, gateway_over(system) as made:
        yield made


async def test_a_request_is_pending_until_its_answer_is_there(gateway):
    client = await gateway.client()
    gateway.system.hold()
    made = await client.post(CHAT, json=BODY)
    assert made.status_code == 202
    assert made.headers["location"] == f"/v1/async/{made.json()['id']}"
    assert made.json().keys() == {"id", "object", "status", "created_at"}
    for _ in range(2):
        waiting = await client.get(made.headers["location"])
        assert (waiting.status_code, waiting.json()) == (202, made.json())
    await gateway.system.release()
    answer = await client.get(made.headers["location"])
    assert (answer.status_code, answer.json()["object"]) == (200, "chat.completion")


async def test_who_asks_for_an_answer_at_once_is_told_where_to_ask(gateway):
    answer = await (await gateway.client()).post("/v1/chat/completions", json=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
    assert CHAT in answer.json()["error"]["message"]


async def test_the_same_answer_is_not_sent_twice_to_who_has_it(gateway):
    client = await gateway.client()
    gateway.system.hold()
    place = (await client.post(CHAT, json=BODY)).headers["location"]
    pending = await client.get(place)
    assert (await client.get(place, headers={"if-none-match": pending.headers["etag"]})).status_code == 304
    await gateway.system.release()
    answer = await client.get(place, headers={"if-none-match": pending.headers["etag"]})
    assert answer.status_code == 200
    assert (await client.get(place, headers={"if-none-match": f"W/{answer.headers['etag']}"})).status_code == 304


async def test_a_call_that_may_wait_is_answered_when_the_answer_comes(gateway):
    client = await gateway.client()
    gateway.system.hold()
    place = (await client.post(CHAT, json=BODY)).headers["location"]
    waiting = asyncio.create_task(client.get(place, headers={"prefer": "respond-async, wait=60"}))
    await until(lambda: gateway.parts.telemetry._in_flight._value.get() == 1)
    await gateway.system.release()
    answer = await waiting
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=60")


async def test_calls_that_wait_leave_places_for_those_that_do_not():
    async with FakeSystem() as system, gateway_over(system, gateway_max_calls=2) as gateway:
        client = await gateway.client()
        system.hold()
        place = (await client.post(CHAT, json=BODY)).headers["location"]
        waiting = asyncio.create_task(client.get(place, headers={"prefer": "wait=60"}))
        await until(gateway.parts.waits.locked)
        at_once = await client.get(place, headers={"prefer": "wait=60"})
        assert (at_once.status_code, "preference-applied" in at_once.headers) == (202, False)
        await system.release()
        assert (await waiting).status_code == 200


async def test_an_error_is_given_with_its_own_status_and_is_final(gateway):
    client = await gateway.client()
    gateway.system.fail(lambda _: True, ContextLengthExceeded("too long", param="messages"))
    place = (await client.post(CHAT, json=BODY)).headers["location"]
    answer = await client.get(place)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (400, "false")
    assert answer.json()["error"] == {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }


async def test_an_id_that_was_never_given_out_is_not_found_without_a_look_at_the_store(gateway):
    client, other = await gateway.client(), await gateway.client("other")
    made = (await client.post(CHAT, json=BODY)).json()["id"]
    guesses = [keys.new_single_job_id(), made[:-1] + ("0" if made[-1] != "0" else "1"), "single-", "x", made.upper()]
    for guess in guesses:
        assert (await client.get(f"/v1/async/{guess}")).status_code == 404
    assert (await other.get(f"/v1/async/{made}")).status_code == 404


async def test_replicas_share_the_key_that_signs_ids(gateway):
    made = (await (await gateway.client()).post(CHAT, json=BODY)).json()["id"]
    async with gateway_over(gateway.system) as replica:
        assert (await (await replica.client()).get(f"/v1/async/{made}")).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        (b'{"model":"fake","messages":[],"temperature":1e999}', 400, None),
        (b'{"model":"fake","messages":[]},"tenant":"other"', 400, None),
        (b'{"model":"fake","messages":' + b"[" * 197 + b"]" * 197 + b"}", 202, None),
        (b'{"model":"fake","messages":' + b"[" * 199 + b"]" * 199 + b"}", 400, None),
        (b'{"messages":[]}', 400, "model"),
        (b'{"model":"fake"}', 400, "messages"),
        (b'{"model":"fake","messages":[],"stream":true}', 400, "stream"),
        (b'{"model":"nobody","messages":[]}', 404, "model"),
    ],
)
async def test_a_body_that_no_worker_could_read_is_refused(gateway, body, status, param):
    gateway.system.hold()
    answer = await (await gateway.client()).post(CHAT, content=body)
    assert answer.status_code == status, answer.text
    if status != 202:
        assert answer.json()["error"]["param"] == param
    assert gateway.system.waiting == (status == 202)


async def test_a_body_over_the_limit_is_refused():
    async with FakeSystem() as system, gateway_over(system, max_body_bytes=2000) as gateway:
        answer = await (await gateway.client()).post(CHAT, content=b"x" * 3000)
        assert answer.status_code == 413


@pytest.mark.parametrize("options", [{"priority": "urgent"}, {"completion_window": "8d"}, {"colour": "red"}])
async def test_options_that_cannot_be_are_refused(gateway, options):
    answer = await (await gateway.client()).post(CHAT, json=BODY, params=options)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(options)))


async def test_priority_and_window_travel_with_the_request(gateway):
    gateway.system.hold()
    made = await (await gateway.client()).post(CHAT, json=BODY, params={"priority": "low", "completion_window": "90m"})
    (message,) = gateway.system._waiting
    assert message.lane == "low"
    assert message.envelope.deadline - made.json()["created_at"] == pytest.approx(5400, abs=2)
    assert (message.envelope.tenant, message.envelope.job) == ("default", made.json()["id"])


async def test_the_same_key_sends_one_request(gateway):
    client = await gateway.client(**{"idempotency-key": "k"})
    made = [(await client.post(CHAT, json=BODY)).json() for _ in range(3)]
    assert made[0] == made[1] == made[2]
    assert gateway.system.published == 1
    assert (await client.post(CHAT, json={**BODY, "seed": 1})).status_code == 409


async def test_a_key_that_is_forgotten_sends_again_whatever_is_left_of_its_first_request(gateway, monkeypatch):
    client = await gateway.client(**{"idempotency-key": "nightly"})
    first = (await client.post(CHAT, json=BODY)).json()["id"]
    monkeypatch.setattr("backburner.gateway.idempotency.KEPT_SECONDS", -1.0)
    assert (await client.post(CHAT, json=BODY)).json()["id"] != first
    assert gateway.system.published == 2


async def test_a_queue_that_does_not_take_it_is_told_and_nothing_is_acknowledged(gateway, monkeypatch):
    async def publish(_):
        raise PublishFailed([0], "no broker at 10.0.0.1")

    monkeypatch.setattr(await gateway.parts.connections.publisher(), "publish", publish)
    answer = await (await gateway.client()).post(CHAT, json=BODY)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    assert int(answer.headers["retry-after"]) > 0
    assert "10.0.0.1" not in answer.text


@pytest.mark.parametrize(("limit", "status"), [(2_000, 202), (100, 413)])
async def test_what_is_too_large_for_its_topic_goes_with_its_body_stored_or_is_told_so(
    gateway, monkeypatch, limit, status
):
    publisher = await gateway.parts.connections.publisher()
    take = publisher.publish
    sent = []

    async def publish(messages):
        if large := [place for place, one in enumerate(messages) if len(one.value) > limit]:
            raise PublishFailed(large, "too large", large)
        sent.extend(one.envelope.body_ref for one in messages)
        await take(messages)

    monkeypatch.setattr(publisher, "publish", publish)
    body = {**BODY, "messages": [{"role": "user", "content": "x" * 5_000}]}
    answer = await (await gateway.client()).post(CHAT, json=body)
    assert answer.status_code == status, answer.text
    assert len(sent) == (status == 202)
    assert None not in sent


# --- what is sent together ------------------------------------------------------------------------------------------


class Broker:
    """A publisher that waits until it is told to go on, and refuses what it is told to refuse."""

    def __init__(self):
        self.published = []
        self.go_on = asyncio.Event()
        self.refused = ()
        self.keys = []

    async def publisher(self):
        return self

    async def publish(self, messages):
        values = [message.value.decode() for message in messages]
        self.published.append(values)
        self.keys.append([message.key for message in messages])
        await self.go_on.wait()
        if failed := [place for place, one in enumerate(values) if one in self.refused]:
            raise PublishFailed(failed, "refused")


def text(value, *, lane=Lane.NORMAL):
    """A message of which only the bytes matter."""
    return Message("fake", lane, None, FIRST_DELIVERY, (b"k", str(value).encode()))


async def test_what_comes_during_a_publish_goes_with_the_next():
    broker = Broker()
    enqueuer = Enqueuer(broker)
    first = [asyncio.create_task(enqueuer.enqueue(text(number))) for number in range(3)]
    await until(lambda: broker.published)
    assert broker.published == [["0", "1", "2"]]
    first.append(asyncio.create_task(enqueuer.enqueue(text(3))))
    await until(lambda: len(broker.published) == 2)
    later = [asyncio.create_task(enqueuer.enqueue(text(number))) for number in range(4, 50)]
    await asyncio.sleep(0)
    assert len(broker.published) == 2
    broker.go_on.set()
    await asyncio.gather(*first, *later)
    assert sorted(int(one) for batch in broker.published for one in batch) == list(range(50))
    assert len(broker.published) < 6


async def test_what_is_sent_together_shares_partitions_in_runs_and_keeps_its_lane():
    broker = Broker()
    broker.go_on.set()
    enqueuer = Enqueuer(broker)
    lanes = [Lane.HIGH if number % 2 else Lane.LOW for number in range(200)]
    await asyncio.gather(*(enqueuer.enqueue(text(number, lane=lane)) for number, lane in enumerate(lanes)))
    low, high = sorted(broker.published, key=lambda batch: int(batch[0]))
    assert {int(one) % 2 for one in low} == {0}
    assert {int(one) % 2 for one in high} == {1}
    for batch in broker.keys:
        assert [batch.count(key) for key in dict.fromkeys(batch)] == [64, 36]


async def test_only_those_that_the_broker_refused_are_told_so():
    broker = Broker()
    broker.refused = ("1",)
    broker.go_on.set()
    enqueuer = Enqueuer(broker)
    outcomes = await asyncio.gather(*(enqueuer.enqueue(text(number)) for number in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), QueueError, type(None)]


async def test_a_caller_that_gave_up_before_its_turn_sends_nothing():
    broker = Broker()
    enqueuer = Enqueuer(broker)
    first = [asyncio.create_task(enqueuer.enqueue(text(0)))]
    await until(lambda: len(broker.published) == 1)
    first.append(asyncio.create_task(enqueuer.enqueue(text(1))))
    await until(lambda: len(broker.published) == 2)
    given_up, last = (asyncio.create_task(enqueuer.enqueue(text(name))) for name in ("no", "yes"))
    await asyncio.sleep(0)
    given_up.cancel()
    broker.go_on.set()
    await asyncio.gather(*first, last)
    assert broker.published[2:] == [["yes"]]


def test_an_id_is_signed_for_its_tenant_and_tells_when_it_was_made():
    ids = RequestIds(b"k" * 32)
    made = ids.new("acme", 1_700_000_000.5)
    assert made_at(made) == 1_700_000_000
    assert ids.gave_out("acme", made)
    assert not ids.gave_out("other", made)
    assert not RequestIds(b"x" * 32).gave_out("acme", made)
    assert json.loads(json.dumps(made)) == made
