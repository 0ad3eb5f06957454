"""Making a pool's topics and looking for them, on a cluster whose brokers follow its controller late."""

import pytest
from aiokafka.errors import NodeNotReadyError
from aiokafka.structs import BrokerMetadata

from backburner.publishers.kafka import metadata
from backburner.publishers.kafka import topics as kafka_topics
from backburner.publishers.kafka.metadata import missing_topics
from backburner.publishers.kafka.publisher import KafkaPublisher, ensure_topics
from backburner.settings import Settings
from backburner_schemas import routing
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane
from backburner_worker.sources.kafka import consumer

LANES = routing.topics("p", "fake")
NAMES = list(LANES)
GROUP = routing.group("p", "fake")
ALL_RIGHTS = 0b1_1111_1111_1000
OK, UNKNOWN_TOPIC, NOT_AUTHORISED, EXISTS = 0, 3, 29, 36
PARTITIONS = 2


class Answer:
    def __init__(self, **content):
        self._content = content

    def to_object(self):
        return self._content


class Broker:
    """Shows what the controller had some looks ago."""

    def __init__(self, lag):
        self.lag = lag
        self.shown = {}
        self.coming = []
        self.looks = 0

    def follow(self, topics):
        """That is what the controller has from now on. A topic first has no leader."""
        leaderless = {name: (made, -1) for name, made in topics.items()}
        led = {name: (made, 1) for name, made in topics.items()}
        now = self.looks
        self.coming += [(now + self.lag, leaderless), (now + 2 * self.lag, led)]

    def look(self):
        self.looks += 1
        while self.coming and self.coming[0][0] < self.looks:
            self.shown = self.coming.pop(0)[1]
        return self.shown


class Cluster:
    """A controller and its brokers; it stands in for aiokafka's client, for its admin client and for a consumer."""

    def __init__(self, *lags, topics=()):
        self.brokers_by_id = {number: Broker(lag) for number, lag in enumerate(lags, 1)}
        self.silent = set()
        self.named = []
        self.may_make = True
        self.making = 0
        self.topics = {}
        self.cluster = self._client = self
        if topics:
            self.make(topics)
            for broker in self.brokers_by_id.values():
                broker.shown, broker.coming = broker.coming[-1][1], []

    def make(self, names):
        self.making += 1
        self.topics |= dict.fromkeys(names, self.making)
        self._tell()

    def delete(self, names):
        self.topics = {name: made for name, made in self.topics.items() if name not in names}
        self._tell()

    def shown(self, broker):
        """What that broker would answer now: which making of each topic, and its leader."""
        return self.brokers_by_id[broker].shown

    def _tell(self):
        for broker in self.brokers_by_id.values():
            broker.follow(self.topics)

    # --- aiokafka's ---

    def brokers(self):
        return {BrokerMetadata(number, "host", 9092, None) for number in self.brokers_by_id}

    async def send(self, broker, request):
        if broker in self.silent:
            raise NodeNotReadyError(broker)
        assert getattr(request, "_allow_auto_topic_creation", False) is False
        self.named.append(request._topics)
        shown = self.brokers_by_id[broker].look()
        topics = []
        for name in shown if request._topics is None else request._topics:
            leader = shown.get(name, (0, None))[1]
            partitions = [{"partition": number, "leader": leader} for number in range(PARTITIONS)]
            found = {"error_code": OK, "partitions": partitions, "authorized_operations": ALL_RIGHTS}
            missing = {"error_code": UNKNOWN_TOPIC, "partitions": []}
            topics.append({"topic": name, **(missing if leader is None else found)})
        return Answer(topics=topics)

    def get_random_node(self):
        return min(self.brokers_by_id.keys() - self.silent)

    async def coordinator_lookup(self, *_):
        raise NodeNotReadyError

    async def start(self):
        pass

    async def close(self):
        pass

    async def describe_cluster(self):
        return {"brokers": list(self.brokers_by_id)}

    async def create_topics(self, new, *, validate_only=False):
        codes = {one.name: self._code(one.name) for one in new}
        if not validate_only:
            self.make([name for name, code in codes.items() if code == OK])
        return Answer(topic_errors=[{"topic": name, "error_code": code} for name, code in codes.items()])

    def _code(self, name):
        if not self.may_make:
            return NOT_AUTHORISED
        return EXISTS if name in self.topics else OK


@pytest.fixture
def ensure(monkeypatch):
    """Ensures the pool's topics on a cluster."""
    monkeypatch.setattr(kafka_topics, "_POLL_SECONDS", 0.0)

    async def run(cluster):
        monkeypatch.setattr(kafka_topics, "AIOKafkaAdminClient", lambda **_: cluster)
        settings = Settings.load(queue_url="kafka://h:1", store_url="memory:///", prefix="p", topic_replication=1)
        return await ensure_topics(settings, "fake")

    return run


@pytest.mark.parametrize("lags", [(3,), (0, 5), (2, 4, 8)])
async def test_ensure_returns_when_every_broker_knows_a_leader_of_every_topic(ensure, lags):
    cluster = Cluster(*lags)
    assert await ensure(cluster) == NAMES
    for broker in cluster.brokers_by_id:
        assert cluster.shown(broker) == dict.fromkeys(NAMES, (1, 1))


@pytest.mark.parametrize("lags", [(4,), (0, 4), (4, 0), (3, 6)])
async def test_what_was_deleted_and_is_still_shown_is_made_anew(ensure, lags):
    cluster = Cluster(*lags, topics=NAMES)
    cluster.delete(NAMES[1:])
    await ensure(cluster)
    wanted = {name: (1 if name == NAMES[0] else 2, 1) for name in NAMES}
    for broker in cluster.brokers_by_id:
        assert cluster.shown(broker) == wanted


async def test_what_another_process_makes_meanwhile_is_waited_for_and_left_as_it_is(ensure):
    cluster = Cluster(5, 1)
    cluster.make(NAMES)
    await ensure(cluster)
    for broker in cluster.brokers_by_id:
        assert cluster.shown(broker) == dict.fromkeys(NAMES, (1, 1))


async def test_a_user_who_may_not_make_topics_need_not_where_they_exist(ensure):
    cluster = Cluster(0, topics=NAMES)
    cluster.may_make = False
    assert await ensure(cluster) == NAMES


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda cluster: cluster.brokers_by_id[2].coming.clear(), "p.fake.high is unknown to broker 2"),
        (lambda cluster: cluster.brokers_by_id[2].coming.pop(), r"high has no leader for the partitions \[0, 1\]"),
        (lambda cluster: cluster.silent.add(2), "broker 2 does not answer"),
    ],
)
async def test_what_does_not_come_in_time_is_named(ensure, monkeypatch, wrong, told):
    monkeypatch.setattr(kafka_topics, "_AGREE_SECONDS", 0.1)
    cluster = Cluster(0, 0)
    cluster.make(NAMES)
    wrong(cluster)
    with pytest.raises(QueueError, match=told):
        await ensure(cluster)


# --- those who use them ---


@pytest.fixture
def patience(monkeypatch):
    """Sets how long a missing topic is looked for."""
    monkeypatch.setattr(metadata, "_POLL_SECONDS", 0.0)

    def set_seconds(seconds):
        monkeypatch.setattr(metadata, "TOPIC_SECONDS", seconds)

    return set_seconds


@pytest.mark.parametrize("lags", [(4,), (50, 3), (2, 2)])
async def test_a_topic_that_one_broker_shows_late_is_not_missing(patience, lags):
    patience(30.0)
    cluster = Cluster(*lags)
    cluster.make(NAMES)
    assert await missing_topics(cluster, NAMES) == []


async def test_a_topic_that_exists_nowhere_is_told_after_a_while_and_never_named_to_a_broker(patience):
    patience(0.05)
    cluster = Cluster(0, 0, topics=NAMES)
    assert await missing_topics(cluster, [*NAMES, "p.other.low", "p.other.high"]) == ["p.other.high", "p.other.low"]
    assert set(cluster.named) == {None}
    assert len(cluster.named) > 2


async def test_a_broker_that_does_not_answer_hides_nothing_that_another_shows(patience):
    patience(0.0)
    cluster = Cluster(0, 0, topics=NAMES)
    cluster.silent = {1}
    assert await missing_topics(cluster, NAMES) == []
    cluster.silent = {1, 2}
    with pytest.raises(NodeNotReadyError):
        await missing_topics(cluster, NAMES)


class Producer:
    """A producer on a cluster."""

    def __init__(self, cluster):
        self.client = cluster

    async def partitions_for(self, _topic):
        return set(range(PARTITIONS))


async def test_a_publisher_and_a_worker_wait_for_topics_that_are_on_their_way(patience):
    patience(30.0)
    settings = Settings.load(queue_url="kafka://h:1", store_url="memory:///", prefix="p")
    cluster = Cluster(9, 9)
    cluster.make(NAMES)
    found = await KafkaPublisher(settings)._partitions(Producer(cluster), dict.fromkeys(NAMES, "fake"))
    assert found == dict.fromkeys(NAMES, PARTITIONS)
    cluster = Cluster(9, 9)
    cluster.make(NAMES)
    await consumer.connect(cluster, LANES, GROUP, seconds=60.0)


async def test_a_publisher_and_a_worker_tell_of_topics_that_do_not_come(patience):
    patience(0.0)
    settings = Settings.load(queue_url="kafka://h:1", store_url="memory:///", prefix="p")
    cluster = Cluster(0, topics=NAMES)
    with pytest.raises(QueueError, match=r"p\.other\.low does not exist.*topics ensure.*the pool is other"):
        await KafkaPublisher(settings)._partitions(Producer(cluster), {"p.other.low": "other"})
    with pytest.raises(QueueError, match=r"p\.other\.low; create them with .*topics ensure"):
        await consumer.connect(cluster, {**LANES, "p.other.low": Lane.LOW}, GROUP, seconds=60.0)
