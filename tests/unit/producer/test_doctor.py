"""What the doctor says of facts: each thing that can be wrong, and its remedy."""

import asyncio
import time

import pytest

from backburner.doctor import kafka, sqs
from backburner.doctor.examination import examine
from backburner.doctor.finding import Level
from backburner.doctor.store import examine_store
from backburner.publishers.kafka.survey import TopicFacts
from backburner.settings import Settings
from backburner.settings.topics import TopicLayout
from backburner.storage import Storage
from backburner.storage.clock import StoreClock
from backburner_schemas.errors import StoreDenied, StoreError
from backburner_schemas.names import Lane

DAY = 24 * 3600
LAYOUT = TopicLayout(partitions=8, replication=3, retention_seconds=7 * DAY)
EXPECTED = kafka.Expected(LAYOUT, message_bytes=8_000_000)
GOOD = {
    "cleanup.policy": "delete",
    "retention.ms": str(7 * DAY * 1000),
    "retention.bytes": "-1",
    "max.message.bytes": "8100000",
    "message.timestamp.type": "LogAppendTime",
    "min.insync.replicas": "2",
}


def topic(lane=Lane.NORMAL, *, partitions=8, replicas=3, in_sync=3, leaderless=0, settings=GOOD, **changed):
    settings = None if settings is None else {**settings, **changed}
    state = TopicFacts(partitions, replicas, in_sync, leaderless, settings)
    return list(kafka.judge_topic("t", lane, state, EXPECTED, "model"))


def levels(findings):
    return [finding.level for finding in findings]


def test_a_good_topic_is_one_line():
    (found,) = topic()
    assert (found.level, found.message) == (Level.OK, "8 partitions, 3 replica(s)")


@pytest.mark.parametrize(
    ("changed", "level", "says"),
    [
        ({"cleanup.policy": "compact"}, Level.WRONG, "set it to delete"),
        ({"cleanup.policy": "compact,delete"}, Level.WRONG, "share a key"),
        ({"retention.ms": str(3600 * 1000)}, Level.WRONG, "kept for 3,600 s"),
        ({"retention.ms": str(2 * DAY * 1000)}, Level.WARNING, "BACKBURNER_TOPIC_RETENTION_SECONDS"),
        ({"retention.bytes": "1000000"}, Level.WRONG, "deleted unread"),
        ({"max.message.bytes": "1048588"}, Level.WARNING, "raise it to 8,000,000"),
        ({"min.insync.replicas": "4"}, Level.WRONG, "nothing can be published"),
        ({"min.insync.replicas": "3"}, Level.WARNING, "no broker may restart"),
    ],
)
def test_a_setting_of_a_topic_that_hurts_has_its_remedy(changed, level, says):
    (found,) = topic(**changed)
    assert found.level is level
    assert says in found.message


@pytest.mark.parametrize(
    ("state", "level", "says"),
    [
        ({"leaderless": 2}, Level.WRONG, "2 partition(s) have no leader"),
        ({"in_sync": 1}, Level.WRONG, "2 have to be to publish"),
        ({"in_sync": 2}, Level.WARNING, "2 of 3 replicas are in sync"),
        ({"settings": None}, Level.WARNING, "grant DescribeConfigs"),
    ],
)
def test_a_state_of_a_topic_that_hurts_has_its_remedy(state, level, says):
    (found,) = topic(**state)
    assert found.level is level
    assert says in found.message


def test_retention_without_an_end_is_fine_and_the_clock_of_workers_counts_on_retry_alone():
    assert levels(topic(**{"retention.ms": "-1"})) == [Level.OK]
    assert levels(topic(**{"message.timestamp.type": "CreateTime"})) == [Level.OK]
    assert levels(topic(Lane.RETRY, **{"message.timestamp.type": "CreateTime"})) == [Level.WARNING]


def test_a_topic_that_is_missing_is_made_by_a_command():
    (found,) = kafka.judge_topic("t", Lane.LOW, None, EXPECTED, "model")
    assert found.level is Level.WRONG
    assert "backburner topics ensure --pool model" in found.message


@pytest.mark.parametrize(
    ("brokers", "settings", "expected"),
    [
        (3, {"auto.create.topics.enable": "false", "offset.metadata.max.bytes": "4096"}, [Level.OK]),
        (1, {}, [Level.WARNING]),
        (3, None, [Level.OK, Level.WARNING]),
        (3, {"auto.create.topics.enable": "true"}, [Level.OK, Level.WARNING]),
        (3, {"offset.metadata.max.bytes": "512"}, [Level.OK, Level.WARNING]),
        (3, {"offset.metadata.max.bytes": "junk"}, [Level.OK]),
    ],
)
def test_a_cluster_is_judged_by_its_brokers_and_their_settings(brokers, settings, expected):
    assert levels(kafka.judge_cluster(brokers, settings, LAYOUT)) == expected


LANES = [f"p.m.{lane}" for lane in ("high", "normal", "low")]
ALL_READS = {f"Read on {name}" for name in (*LANES, "p.m.retry")}


@pytest.mark.parametrize(
    ("lacking", "level", "says"),
    [
        (set(), Level.OK, "work and publish"),
        ({f"Write on {name}" for name in LANES}, Level.OK, "this user may work"),
        (ALL_READS | {"Write on p.m.retry"}, Level.OK, "this user may publish"),
        (ALL_READS, Level.WARNING, "may write p.m.retry"),
        ({"Write on p.m.retry"}, Level.WRONG, "it lacks Write on p.m.retry"),
        ({"Read on the group p.m"}, Level.WRONG, "Read on the group p.m"),
        (ALL_READS | {f"Write on {name}" for name in LANES}, Level.WRONG, "neither publish nor work"),
    ],
)
def test_rights_are_those_of_a_worker_or_of_a_producer(lacking, level, says):
    (found,) = kafka.judge_rights("p", "m", frozenset(lacking))
    assert found.level is level
    assert says in found.message


QUEUE = {
    "MessageRetentionPeriod": str(7 * DAY),
    "MaximumMessageSize": "1048576",
    "VisibilityTimeout": "120",
    "DelaySeconds": "0",
}


@pytest.mark.parametrize(
    ("changed", "level", "says"),
    [
        ({}, Level.OK, "no redrive policy"),
        ({"RedrivePolicy": "{}"}, Level.WRONG, "remove it"),
        ({"MessageRetentionPeriod": "3600"}, Level.WRONG, "set MessageRetentionPeriod to 604800"),
        ({"MessageRetentionPeriod": str(2 * DAY)}, Level.WARNING, "no job a longer deadline"),
        ({"MaximumMessageSize": "262144"}, Level.WRONG, "set MaximumMessageSize to 1048576"),
        ({"DelaySeconds": "5"}, Level.WARNING, "set DelaySeconds to 0"),
        ({"VisibilityTimeout": "0"}, Level.WARNING, "set VisibilityTimeout to 120"),
    ],
)
def test_an_sqs_queue_is_judged_by_its_attributes(changed, level, says):
    (found,) = sqs.judge_queue("q", {**QUEUE, **changed}, LAYOUT, "model")
    assert found.level is level
    assert says in found.message


def test_an_sqs_queue_that_is_missing_is_made_by_a_command():
    (found,) = sqs.judge_queue("q", None, LAYOUT, "model")
    assert "backburner topics ensure --pool model" in found.message


# --- the store, tried ---


def storage():
    return Storage.open(Settings.load(store_url="memory:///doctor"))


async def test_a_good_store_is_two_lines_and_nothing_is_left_in_it():
    store = storage()
    found = [finding async for finding in examine_store(store)]
    assert [(one.subject, one.level) for one in found] == [("store", Level.OK), ("clock", Level.OK)]
    assert [one.key async for one in store.scan("doctor/")] == []


class Careless(Storage):
    """Writes whatever was there."""

    async def create(self, key, data):
        await self.put(key, data)
        return True

    async def replace(self, key, data, etag):
        await self.put(key, data)
        return True


class Forgetful(Storage):
    """Shows in no listing what was written."""

    async def scan(self, prefix, *more):
        for _ in ():
            yield


@pytest.mark.parametrize(
    ("kind", "says"),
    [(Careless, ["If-None-Match does not hold", "If-Match does not hold"]), (Forgetful, ["not in the listing"])],
)
async def test_a_store_that_keeps_no_promise_is_wrong(kind, says):
    found = [finding async for finding in examine_store(kind(storage()._store))]
    bad = [finding.message for finding in found if finding.level is Level.WRONG]
    assert len(bad) == len(says)
    assert all(part in message for part, message in zip(says, bad, strict=True))


async def test_a_store_that_lets_nothing_be_removed_is_wrong():
    class Kept(Storage):
        async def delete(self, keys):
            raise StoreDenied("the object store refused the credentials; check them")

    found = [finding async for finding in examine_store(Kept(storage()._store)) if finding.level is Level.WRONG]
    (message,) = [finding.message for finding in found]
    assert message.startswith("an object that was written cannot be removed: the object store refused the credentials;")
    assert "grant deletes" in message


@pytest.mark.parametrize(("shift", "level"), [(0.0, Level.OK), (12.0, Level.WARNING), (-120.0, Level.WRONG)])
async def test_a_clock_that_is_off_is_told_with_its_direction(shift, level):
    store = storage()
    made = Storage(store._store, store_clock=StoreClock(wall=lambda: time.time() - shift))
    (found,) = [finding async for finding in examine_store(made) if finding.subject == "clock"]
    assert found.level is level
    if shift:
        assert ("behind" if shift > 0 else "ahead of") in found.message


# --- all of it ---


async def examined(store, **settings):
    made = Settings.load(**{"store_url": "memory:///doctor", "queue_url": "kafka://127.0.0.1:1", **settings})
    return {finding.subject: finding async for finding in examine(made, store)}


async def test_a_look_that_fails_keeps_none_of_the_others_from_its_turn(monkeypatch):
    class Away(Storage):
        async def create(self, key, data):
            raise StoreError("the store is away; bring it back")

        async def delete(self, keys):
            raise StoreError("nor can anything be removed; look again")

    found = await examined(Away(storage()._store))
    assert (found["store"].level, found["store"].message) == (Level.WRONG, "the store is away; bring it back")
    assert "topics ensure" in found["pools"].message
    assert found["queue"].level is Level.WRONG
    assert "check BACKBURNER_QUEUE_URL" in found["queue"].message


async def test_a_look_without_an_answer_ends(monkeypatch):
    class Hanging(Storage):
        async def create(self, key, data):
            await asyncio.Event().wait()

    monkeypatch.setattr("backburner.doctor.examination._STORE_SECONDS", 0.05)
    found = await examined(Hanging(storage()._store))
    assert "no answer within" in found["store"].message


async def test_the_engine_is_examined_where_a_worker_is_set_up(monkeypatch):
    monkeypatch.setenv("BACKBURNER_ENGINE", "fake")
    assert (await examined(storage()))["engine"].level is Level.OK
    monkeypatch.setenv("BACKBURNER_ENGINE", "openai-http")
    assert (await examined(storage()))["engine"].level is Level.WRONG
