"""Each right of docs/kafka.md, left out alone: who misses it is told so, and what to grant."""

import asyncio
from dataclasses import dataclass

import pytest
from kafka_page import PageTable
from secure_kafka import PATIENCE, POOL, line, nothing, request, rules, source_of

from apache_kafka.security import Kind, Operation, Rule, Way
from backburner.publishers import ensure_topics
from backburner.publishers.kafka.publisher import KafkaPublisher
from backburner_schemas import routing
from backburner_schemas.errors import BackburnerError, QueueError
from backburner_schemas.names import Lane
from backburner_worker.sources.factory import check_source

pytestmark = pytest.mark.broker
PREFIX = "PREFIX"


@dataclass(frozen=True)
class Case:
    """One line of the page: a right that is not there, of the rules for the prefix PREFIX."""

    missing: Rule
    words: str

    def rule(self, prefix):
        return Rule(
            self.missing.user,
            self.missing.operation,
            self.missing.kind,
            self.missing.name.replace(PREFIX, prefix),
            self.missing.prefix,
        )


def lane_of(lane):
    return routing.topic(PREFIX, POOL, lane)


CASES = [
    Case(Rule("producer", Operation.WRITE, Kind.TOPIC, lane_of(Lane.NORMAL)), "Write on a lane"),
    Case(Rule("worker", Operation.READ, Kind.TOPIC, lane_of(Lane.LOW)), "Read on a lane"),
    Case(Rule("worker", Operation.WRITE, Kind.TOPIC, lane_of(Lane.RETRY)), "Write on `retry`"),
    Case(Rule("worker", Operation.READ, Kind.GROUP, routing.group(PREFIX, POOL)), "Read on the group"),
    Case(Rule("bootstrap", Operation.CREATE, Kind.TOPIC, f"{PREFIX}.", prefix=True), "Create on the topics"),
]
EXTRA_ROWS = 2


@pytest.fixture(scope="module")
def page():
    with PageTable("rights", ("user", "without", "is told"), len(CASES) + EXTRA_ROWS) as page:
        yield page


def told(error: BackburnerError, prefix: str) -> str:
    return error.message.replace(f"{prefix}.", f"{PREFIX}.")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.words)
async def test_a_right_that_is_missing_is_named(stage, page, case):
    prefix = stage.settings(None).prefix
    if case.missing.user != "bootstrap":
        await ensure_topics(stage.settings(None, prefix=prefix), POOL)
    await stage.allow(prefix, but=case.rule(prefix))
    settings = stage.settings(Way.SCRAM, user=case.missing.user, prefix=prefix)
    starting = {"producer": published, "worker": joined, "bootstrap": made}[case.missing.user]
    with pytest.raises(QueueError) as caught:
        async with asyncio.timeout(PATIENCE):
            await starting(settings)
    page.add(case.missing.user, case.words, told(caught.value, prefix))
    if case.missing.user == "worker":
        with pytest.raises(QueueError, match="grant") as early:
            await check_source(settings, POOL)
        assert early.value.message == caught.value.message


@pytest.mark.parametrize(("user", "starting"), [("producer", "published"), ("worker", "joined")])
async def test_topics_that_a_user_may_not_see_are_named(stage, page, user, starting):
    prefix = stage.settings(None).prefix
    await ensure_topics(stage.settings(None, prefix=prefix), POOL)
    with pytest.raises(QueueError) as caught:
        async with asyncio.timeout(PATIENCE):
            await globals()[starting](stage.settings(Way.SCRAM, user=user, prefix=prefix))
    page.add(user, "any right", told(caught.value, prefix))


async def test_the_rights_of_the_page_are_enough(stage):
    prefix = stage.settings(None).prefix
    await stage.allow(prefix)
    await ensure_topics(stage.settings(Way.MUTUAL, user="bootstrap", prefix=prefix), POOL)
    worker = stage.settings(Way.MUTUAL, prefix=prefix)
    async with line(stage.settings(Way.MUTUAL, user="producer", prefix=prefix), worker) as queue:
        await queue.carry()
        retries = KafkaPublisher(worker)
        await retries.start()
        await retries.publish([request(9, Lane.RETRY)])
        await retries.close()


TAKEN = {
    "Read on a lane": (Rule("worker", Operation.READ, Kind.TOPIC, lane_of(Lane.NORMAL)), "Read on {}.fake.normal"),
    "Read on the group": (
        Rule("worker", Operation.READ, Kind.GROUP, routing.group(PREFIX, POOL)),
        "Read on the group {}.fake",
    ),
}


@pytest.mark.parametrize(("missing", "said"), TAKEN.values(), ids=TAKEN)
async def test_a_right_that_is_taken_from_a_running_worker_is_an_outage_that_names_it(stage, missing, said):
    prefix = stage.settings(None).prefix
    rule = Case(missing, "").rule(prefix)
    await ensure_topics(stage.settings(None, prefix=prefix), POOL)
    await stage.allow(prefix)
    producer, worker = (stage.settings(Way.SCRAM, user=user, prefix=prefix) for user in ("producer", "worker"))
    async with line(producer, worker) as queue:
        await queue.carry()
        await stage.kafka.forbid(rule)
        async with asyncio.timeout(PATIENCE):
            while said.format(prefix) not in (queue.source.unavailable_reason() or ""):
                assert await queue.source.pull(dict.fromkeys(Lane, 1)) == []
        await stage.kafka.allow(rule)
        await queue.carry(2)
        async with asyncio.timeout(PATIENCE):
            while queue.source.unavailable_reason() is not None:
                assert await queue.source.pull(dict.fromkeys(Lane, 1)) == []


async def test_a_producer_may_not_write_retry(stage):
    prefix = stage.settings(None).prefix
    await ensure_topics(stage.settings(None, prefix=prefix), POOL)
    await stage.allow(prefix)
    publisher = KafkaPublisher(stage.settings(Way.SCRAM, user="producer", prefix=prefix))
    await publisher.start()
    with pytest.raises(QueueError, match="retry"):
        await publisher.publish([request(1, Lane.RETRY)])
    await publisher.close()
    assert not any(rule.user == "producer" and rule.name.endswith(".retry") for rule in rules(prefix))


async def published(settings):
    publisher = KafkaPublisher(settings)
    try:
        await publisher.start()
        await publisher.publish([request(1)])
    finally:
        await publisher.close()


async def joined(settings):
    source = source_of(settings)
    try:
        await source.start(nothing)
    finally:
        await source.close()


async def made(settings):
    await ensure_topics(settings, POOL)
