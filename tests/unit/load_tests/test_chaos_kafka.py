"""What the fault harness does to Kafka and reads of it: leaders really move, and no lane is left out."""

from types import SimpleNamespace

import pytest

from chaos import kafka_state, leaders
from chaos.patience import NeverCame

TOPIC = "backburner.fake.normal"
HELD, NOT_IN_SYNC, NOT_NEEDED, NOT_AUTHORIZED = 0, 80, 84, 29


class Cluster:
    """An admin client of a cluster with a topic of two partitions; each election ends with the next of these codes."""

    def __init__(self, *elections, replicas=(1, 2, 3), leader=1):
        self.elections = list(elections)
        self.replicas, self.leader = list(replicas), leader
        self.orders = []

    async def start(self):
        pass

    close = start

    async def describe_topics(self, _topics):
        partitions = [{"partition": at, "replicas": self.replicas, "leader": self.leader} for at in (0, 1)]
        return [{"topic": TOPIC, "partitions": partitions}]

    async def _send_to_controller(self, request):
        if isinstance(request, leaders._ElectLeadersRequest):
            codes = self.elections.pop(0) if len(self.elections) > 1 else self.elections[0]
            return SimpleNamespace(error_code=0, results=[(TOPIC, [(at, code) for at, code in enumerate(codes)])])
        self.orders.append(request._topics)
        return SimpleNamespace(error_code=0, responses=[(TOPIC, [(0, 0), (1, 0)])])


async def move(monkeypatch, cluster, seconds=60.0):
    monkeypatch.setattr(leaders, "AIOKafkaAdminClient", lambda **_: cluster)
    monkeypatch.setattr(leaders, "_ELECTION_SECONDS", seconds)
    await leaders.move_leaders("b", [TOPIC])


async def test_each_partition_is_to_be_led_by_another_replica(monkeypatch):
    cluster = Cluster([HELD, HELD])
    await move(monkeypatch, cluster)
    assert cluster.orders == [[(TOPIC, [(0, [2, 3, 1], {}), (1, [2, 3, 1], {})], {})]]


@pytest.mark.parametrize("code", [NOT_IN_SYNC, NOT_NEEDED])
async def test_leaders_that_did_not_move_are_tried_again_until_one_did(monkeypatch, code):
    cluster = Cluster([code, code], [code, HELD])
    await move(monkeypatch, cluster)
    assert len(cluster.orders) == 2


async def test_a_fault_that_moves_no_leader_is_no_fault(monkeypatch):
    with pytest.raises(NeverCame, match="an election of other leaders"):
        await move(monkeypatch, Cluster([NOT_NEEDED, NOT_NEEDED]), seconds=0.0)


async def test_leaders_without_another_replica_cannot_move(monkeypatch):
    with pytest.raises(RuntimeError, match="has another replica"):
        await move(monkeypatch, Cluster([NOT_NEEDED, NOT_NEEDED], replicas=[1]))


async def test_a_partition_without_a_leader_is_given_no_order(monkeypatch):
    cluster = Cluster([HELD], leader=-1)
    await move(monkeypatch, cluster)
    assert cluster.orders == [[(TOPIC, [], {})]]


async def test_what_the_cluster_refuses_is_told_at_once(monkeypatch):
    with pytest.raises(RuntimeError, match="29"):
        await move(monkeypatch, Cluster([HELD, NOT_AUTHORIZED]))


class Consumer:
    """A consumer whose broker tells a topic's partitions with that update of its metadata."""

    def __init__(self, updates):
        self._client = self
        self._left = updates

    async def add_topic(self, _topic):
        self._left -= 1

    async def force_metadata_update(self):
        self._left -= 1

    def partitions_for_topic(self, _topic):
        return None if self._left > 0 else {0, 1}


@pytest.mark.parametrize("updates", [1, 2, 3])
async def test_a_lane_whose_partitions_are_told_late_is_waited_for(updates):
    assert await kafka_state._partitions_of(Consumer(updates), TOPIC) == {0, 1}


async def test_a_lane_whose_partitions_are_never_told_is_an_error(monkeypatch):
    monkeypatch.setattr(kafka_state, "_METADATA_SECONDS", 0.0)
    with pytest.raises(NeverCame, match=f"the partitions of {TOPIC}"):
        await kafka_state._partitions_of(Consumer(99), TOPIC)
