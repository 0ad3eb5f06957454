"""The publisher on SQS and the making of queues, against AWS's answers and faults."""

import asyncio
import os
import threading
import time

import pytest
import sqs_stub as stubs
from botocore.utils import InstanceMetadataFetcher

from backburner.publishers import check_queue, ensure_topics, open_publisher
from backburner.publishers.base import Message, PublishFailed
from backburner.publishers.sqs import publisher as sqs
from backburner.publishers.sqs import queues
from backburner.publishers.sqs.connection import sqs_session
from backburner.settings import QueueKind, Settings
from backburner_schemas.envelope import DeliveryFacts, Envelope
from backburner_schemas.errors import QueueError, SettingsError
from backburner_schemas.names import Lane

NORMAL = "p-fake-normal"


def settings(url="sqs://us-east-1", **more):
    return Settings.load(queue_url=url, store_url="memory:///", **{"prefix": "p", **more})


@pytest.fixture
def region(monkeypatch):
    stub = stubs.StubSqs(NORMAL, "p-fake-retry")
    for module in (sqs, queues):
        monkeypatch.setattr(module, "sqs_session", lambda _settings: None)
        monkeypatch.setattr(module, "sqs_client", lambda *_args, **_kind: stub)
    return stub


@pytest.fixture
async def publisher(region):
    one = open_publisher(settings())
    await one.start()
    yield one
    await one.close()


def message(index, *, text="hello", lane=Lane.NORMAL, pool="fake", tenant="t", facts=None):
    body = {"model": "fake", "messages": [{"role": "user", "content": text}]}
    envelope = Envelope(tenant=tenant, job="j", index=index, custom_id="c", url="/v1/chat/completions", body=body)
    return Message(pool, lane, envelope, facts or DeliveryFacts())


async def test_messages_go_in_batches_with_their_tenant_as_group(region, publisher):
    await publisher.publish([message(index, tenant=f"t{index % 2}") for index in range(25)])
    assert region.calls["send_message_batch"] == 3
    assert {one.group for one in region.left()} == {"t0", "t1"}
    assert len(region.left()) == 25


async def test_each_lane_has_its_queue_and_a_retry_its_delay(region, publisher):
    await publisher.publish([message(0), message(1, lane=Lane.RETRY, facts=DeliveryFacts(attempt=2, not_before=9e9))])
    assert [len(region.queues[name]) for name in (NORMAL, "p-fake-retry")] == [1, 1]
    (call,) = [asked for name, asked in region.asked if asked.get("Entries", [{}])[0].get("DelaySeconds")]
    assert call["Entries"][0]["DelaySeconds"] == 60
    assert call["Entries"][0]["MessageAttributes"]["attempt"]["StringValue"] == "2"


async def test_what_sqs_did_not_take_of_a_batch_is_named(region, publisher):
    messages = [message(index) for index in range(12)]
    bodies = {sqs.entry_of(0, messages[position], 0.0).body: "InternalError" for position in (3, 11)}
    region.refusing["send_message_batch"] = bodies
    with pytest.raises(PublishFailed, match="InternalError") as caught:
        await publisher.publish(messages)
    assert caught.value.failed == (3, 11)
    await publisher.publish([messages[position] for position in caught.value.failed])
    assert len(region.left()) == 12


@pytest.mark.parametrize("fault", [stubs.refusal("RequestThrottled"), stubs.AWAY], ids=["throttled", "away"])
async def test_a_batch_that_fails_whole_is_named_whole(region, publisher, fault):
    region.faults["send_message_batch"] = [fault]
    with pytest.raises(PublishFailed) as caught:
        await publisher.publish([message(index) for index in range(5)])
    assert caught.value.failed == (0, 1, 2, 3, 4)


async def test_a_message_that_is_too_large_fails_alone(region, publisher):
    with pytest.raises(PublishFailed, match="over SQS's 1048576 bytes") as caught:
        await publisher.publish([message(0), message(1, text="a" * 1_100_000), message(2)])
    assert caught.value.failed == (1,)
    assert caught.value.too_large == {1}
    assert len(region.left()) == 2


async def test_a_missing_queue_is_told_with_its_remedy_and_never_made(region, publisher):
    with pytest.raises(QueueError, match=r"p-nobody-normal does not exist.*topics ensure --pool"):
        await publisher.publish([message(0, pool="nobody")])
    assert region.calls["create_queue"] == 0
    region.faults["send_message_batch"] = [stubs.refusal("AWS.SimpleQueueService.NonExistentQueue")]
    with pytest.raises(QueueError, match="topics ensure"):
        await publisher.publish([message(0)])
    await publisher.publish([message(0)])


async def test_a_queue_that_is_gone_while_another_is_looked_for_is_told_too(region, publisher):
    await publisher.publish([message(0)])
    gate = region.gates["get_queue_url"] = threading.Event()
    looked = region.calls["get_queue_url"]
    both = asyncio.ensure_future(publisher.publish([message(0), message(1, lane=Lane.RETRY)]))
    until = time.monotonic() + 60
    while region.calls["get_queue_url"] == looked:
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
    gone = stubs.refusal("AWS.SimpleQueueService.NonExistentQueue")
    region.failing["send_message_batch"] = gone
    for sending in (publisher.publish([message(2)]), both):
        with pytest.raises(QueueError, match="topics ensure"):
            await sending
        gate.set()


@pytest.mark.parametrize(
    ("code", "told"),
    [("AccessDenied", "docs/sqs.md"), ("InvalidClientTokenId", "refused the credentials"), ("KMS.Disabled", "denied")],
)
async def test_a_refusal_that_lasts_is_not_worth_another_try(region, publisher, code, told):
    region.failing["send_message_batch"] = stubs.refusal(code)
    with pytest.raises(QueueError, match=told) as caught:
        await publisher.publish([message(0)])
    assert not isinstance(caught.value, PublishFailed)


async def test_a_start_without_sqs_is_an_error_and_may_be_closed(region):
    region.failing["get_queue_url"] = stubs.AWAY
    one = open_publisher(settings())
    with pytest.raises(QueueError, match="SQS does not answer at sqs://us-east-1"):
        await one.start()
    await one.close()
    with pytest.raises(QueueError, match="not connected"):
        await one.publish([message(0)])


# --- queues ---


async def test_ensuring_makes_what_is_missing_and_leaves_the_rest(region):
    del region.queues["p-fake-retry"]
    names = await ensure_topics(settings(topic_retention_seconds=3600), "fake")
    assert names == ["p-fake-high", NORMAL, "p-fake-low", "p-fake-retry"]
    made = [asked["QueueName"] for call, asked in region.asked if call == "create_queue"]
    assert made == ["p-fake-high", "p-fake-low", "p-fake-retry"]
    attributes = region.attributes["p-fake-low"]
    assert (attributes["MessageRetentionPeriod"], attributes["MaximumMessageSize"]) == ("3600", "1048576")
    assert await ensure_topics(settings(), "fake") == names
    assert region.calls["create_queue"] == 3


async def test_a_redrive_policy_is_refused_with_the_reason(region):
    region.attributes[NORMAL] = {**region.attributes[NORMAL], "RedrivePolicy": '{"deadLetterTargetArn":"a:b:dead"}'}
    with pytest.raises(QueueError, match=r"p-fake-normal has a redrive policy \(to dead\).*without a record"):
        await ensure_topics(settings(), "fake")
    assert region.calls["create_queue"] == 0


async def test_another_process_may_make_a_queue_at_the_same_time(region, monkeypatch):
    def made_elsewhere(**asked):
        region.queues[asked["QueueName"]] = []
        raise stubs.refusal("QueueAlreadyExists")

    monkeypatch.setattr(region, "create_queue", made_elsewhere)
    await ensure_topics(settings(), "fake")


async def test_ensuring_returns_when_the_queues_are_seen(region, monkeypatch):
    monkeypatch.setattr(queues, "_POLL_SECONDS", 0.0)
    unseen = stubs.refusal("AWS.SimpleQueueService.NonExistentQueue")
    seen_before = region.get_queue_url

    def seen_late(**asked):
        if asked["QueueName"] == "p-fake-low" and region.calls["get_queue_url"] < 20:
            region.calls["get_queue_url"] += 1
            raise unseen
        return seen_before(**asked)

    monkeypatch.setattr(region, "get_queue_url", seen_late)
    await ensure_topics(settings(), "fake")
    assert region.calls["get_queue_url"] >= 20
    region.calls["get_queue_url"] = -1_000_000
    monkeypatch.setattr(queues, "_CREATION_SECONDS", 0.05)
    with pytest.raises(QueueError, match=r"does not list them.*: p-fake-low;"):
        await ensure_topics(settings(), "fake")


@pytest.mark.parametrize("seconds", [59, 14 * 24 * 3600 + 1])
async def test_a_retention_that_sqs_cannot_give_is_refused(region, seconds):
    with pytest.raises(SettingsError, match="60 to 1209600 seconds"):
        await ensure_topics(settings(topic_retention_seconds=seconds), "fake")


@pytest.mark.parametrize(
    ("prefix", "pool", "told"), [("a.b", "fake", "no dots"), ("p" * 40, "m" * 40, "at most 32 for this pool")]
)
async def test_a_prefix_that_no_queue_can_carry_is_refused(region, prefix, pool, told):
    with pytest.raises(SettingsError, match=told):
        await ensure_topics(settings(prefix=prefix), pool)


# --- settings ---


@pytest.mark.parametrize(
    ("url", "region", "endpoint"),
    [
        ("sqs://eu-west-1", "eu-west-1", None),
        ("sqs://us-east-1?endpoint=http://127.0.0.1:4566", "us-east-1", "http://127.0.0.1:4566"),
    ],
)
def test_a_queue_url_names_region_and_endpoint(url, region, endpoint):
    queue = settings(url).queue
    assert (queue.kind, queue.region, queue.endpoint) == (QueueKind.SQS, region, endpoint)


@pytest.mark.parametrize(
    "url", ["sqs://", "sqs://a b", "sqs://x/queue", "sqs://x?end=http://y", "sqs://x?endpoint=y", "sqs://X.y"]
)
def test_a_queue_url_that_is_not_understood_is_refused(url):
    with pytest.raises(SettingsError, match="sqs://region"):
        settings(url).queue  # noqa: B018 - it is the property that raises


@pytest.fixture
def no_credentials(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def test_an_endpoint_without_credentials_is_refused_at_once(no_credentials, monkeypatch):
    asked = []
    monkeypatch.setattr(InstanceMetadataFetcher, "retrieve_iam_role_credentials", lambda *_: asked.append(1) or {})
    for refused in (check_queue, open_publisher):
        with pytest.raises(SettingsError, match=r"no credentials for SQS at http://127\.0\.0\.1:9; set AWS_ACCESS"):
            refused(settings("sqs://us-east-1?endpoint=http://127.0.0.1:9"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")
    with pytest.raises(SettingsError, match="no credentials"):
        check_queue(settings())
    assert not asked, "the metadata service"


def test_credentials_may_come_from_anywhere_in_the_chain(no_credentials, tmp_path):
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    found = sqs_session(settings("sqs://us-east-1?endpoint=http://127.0.0.1:9")).get_credentials()
    assert found.access_key == "a"
