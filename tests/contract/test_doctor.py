"""The doctor on real brokers and queues: healthy ones, and ones with each of the usual faults."""

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from waiting import until

from backburner.doctor.examination import examine
from backburner.doctor.finding import Level
from backburner.pools import PoolDirectory
from backburner.storage import Storage

pytestmark = pytest.mark.broker


@pytest.fixture
async def examined():
    """Examines the deployment of a harness, with a store in memory; its findings by subject."""

    async def look(harness):
        storage = Storage.open(harness.settings)
        await PoolDirectory(storage).register(harness.name)
        return {finding.subject: finding async for finding in examine(harness.settings, storage)}

    return look


async def test_nothing_is_wrong_with_a_healthy_broker(pool, examined):
    found = await examined(pool)
    assert [one for one in found.values() if one.level is Level.WRONG] == []
    assert found["brokers"].level is Level.OK
    assert found["rights in fake"].message == "this user may work and publish"
    assert all(found[name].level is Level.OK for name in pool.topics)
    kept = Level.WARNING if pool.kind == "kafka-tansu" else Level.OK
    assert found["commit metadata"].level is kept


async def _is_gone(admin, topic):
    return topic not in await admin.list_topics()


async def test_a_topic_of_1_mb_and_one_that_is_missing_are_told(whole_pool, examined):
    topics = {lane: name for name, lane in whole_pool.topics.items()}
    small, gone = sorted(topics.values())[:2]
    admin = AIOKafkaAdminClient(**whole_pool.connection)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, small, {"max.message.bytes": "1048588"})])
        await admin.delete_topics([gone])
        await until(lambda: _is_gone(admin, gone), "the topic to be deleted")
    finally:
        await admin.close()
    found = await examined(whole_pool)
    assert found[small].level is Level.WARNING
    assert "max.message.bytes is 1,048,588" in found[small].message
    assert found[gone].level is Level.WRONG
    assert "topics ensure --pool fake" in found[gone].message


async def test_a_queue_with_a_redrive_policy_is_wrong_and_the_others_are_fine(make_harness, examined):
    harness = await make_harness("sqs")
    (bad, url), (_, other), *_ = sorted(harness.urls.items())
    asked = await harness.call(harness.client.get_queue_attributes, QueueUrl=other, AttributeNames=["QueueArn"])
    arn = asked["Attributes"]["QueueArn"]
    policy = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"3"}}'
    await harness.call(harness.client.set_queue_attributes, QueueUrl=url, Attributes={"RedrivePolicy": policy})
    found = await examined(harness)
    assert found[bad].level is Level.WRONG
    assert "redrive policy" in found[bad].message
    assert {found[name].level for name in harness.urls if name != bad} == {Level.OK}
