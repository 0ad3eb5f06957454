"""How partitions are shared out among workers that come and go."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import TopicPartition
from hypothesis import given

from backburner_worker.sources.kafka.assignor import LaneStickyAssignor, share_out

TOPICS = ["p.fake.high", "p.fake.normal", "p.fake.low", "p.fake.retry"]

Shares = dict[str, list[TopicPartition]]


class Cluster:
    """What an assignor asks of the cluster's metadata."""

    def __init__(self, partitions: int) -> None:
        self._partitions = set(range(partitions))

    def topics(self) -> set[str]:
        return {*TOPICS, "unrelated"}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return self._partitions


def assign(partitions: int, before: Shares) -> Shares:
    members = {member: StickyPartitionAssignor._metadata(TOPICS, held or None) for member, held in before.items()}
    after = LaneStickyAssignor.assign(Cluster(partitions), members)
    return {member: sorted(share.partitions()) for member, share in after.items()}


def lanes(shares: Shares) -> dict[str, Counter[str]]:
    return {member: Counter(partition.topic for partition in share) for member, share in shares.items()}


@pytest.mark.parametrize(("partitions", "workers"), [(8, 1), (8, 2), (8, 3), (64, 5), (4, 4)])
def test_every_partition_has_one_owner_and_each_lane_is_shared_evenly(partitions, workers):
    shares: Shares = {}
    for number in range(workers):
        shares = assign(partitions, {**shares, f"w{number}": []})
    owned = Counter(partition for share in shares.values() for partition in share)
    assert owned == Counter(TopicPartition(topic, number) for topic in TOPICS for number in range(partitions))
    for topic in TOPICS:
        counts = [counter[topic] for counter in lanes(shares).values()]
        assert max(counts) - min(counts) <= 1


def test_a_worker_that_joins_takes_only_what_it_needs():
    two = assign(8, assign(8, {"a": []}) | {"b": []})
    three = assign(8, two | {"c": []})
    for member in two:
        assert set(three[member]) <= set(two[member])


def test_a_worker_that_leaves_moves_nothing_of_the_others():
    three = assign(9, {"a": [], "b": [], "c": []})
    del three["b"]
    two = assign(9, three)
    for member, before in three.items():
        assert set(before) <= set(two[member])


def test_with_fewer_partitions_than_workers_the_lanes_go_to_different_ones():
    shares = assign(1, {f"w{number}": [] for number in range(40)})
    assert len([share for share in shares.values() if share]) > 1


@given(
    partitions=st.integers(0, 40),
    claims=st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.sets(st.integers(0, 45)), min_size=1),
)
def test_any_claims_give_an_even_share_and_no_needless_move(partitions, claims):
    shares = share_out(range(partitions), claims)
    assert sorted(number for share in shares.values() for number in share) == list(range(partitions))
    sizes = [len(share) for share in shares.values()]
    assert max(sizes) - min(sizes) <= 1
    for member, share in shares.items():
        others = set().union(*(claimed for other, claimed in claims.items() if other != member))
        sole = {number for number in claims[member] if number < partitions} - others
        given_away = sole - set(share)
        gained = set(share) - set(claims[member])
        assert not (given_away and gained), "a member gave a partition away and took another"
