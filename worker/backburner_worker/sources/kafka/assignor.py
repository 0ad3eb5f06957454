"""How a group's partitions are shared out: evenly in each lane, and moved as little as possible.

aiokafka's own sticky assignor counts the partitions of all topics together: a second worker could get the whole of one
lane, and the lane with the work would stay with the first. Here each topic is shared out by itself.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


class LaneStickyAssignor(StickyPartitionAssignor):  # type: ignore[misc]  # aiokafka has no types
    """Sticky within each topic. Every member of a group must use it; it keeps its state on the class."""

    name = "backburner-lane-sticky"

    @classmethod
    def assign(
        cls, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Each member's share; the leader of the group calls it."""
        claims: dict[str, dict[str, list[int]]] = defaultdict(dict)
        for member, metadata in members.items():
            parsed = cls.parse_member_metadata(metadata)
            for topic in parsed.subscription:
                claims[topic][member] = [held.partition for held in parsed.partitions if held.topic == topic]
        shares: dict[str, list[tuple[str, list[int]]]] = {member: [] for member in members}
        for topic, claimed in sorted(claims.items()):
            # Ties go by names that differ in each topic, so that no member gets the odd partition of all of them.
            ranked = {member: claimed[member] for member in sorted(claimed, key=lambda one: _rank(topic, one))}
            for member, share in share_out(sorted(cluster.partitions_for_topic(topic) or ()), ranked).items():
                shares[member].append((topic, share))
        return {member: ConsumerProtocolMemberAssignment(cls.version, shares[member], b"") for member in members}


def share_out(partitions: Sequence[int], claims: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
    """Share partitions among members, given what each had before: sizes differ by one at most, and few move.

    Of equal members the earlier in `claims` come first.
    """
    free = set(partitions)
    kept: dict[str, list[int]] = {}
    for member, claimed in claims.items():
        kept[member] = sorted(free.intersection(claimed))  # of two that claim the same, the first has it
        free.difference_update(kept[member])
    size, odd = divmod(len(partitions), len(claims))
    for rank, member in enumerate(sorted(kept, key=lambda one: -len(kept[one]))):
        quota = size + (rank < odd)
        free.update(kept[member][quota:])
        kept[member] = kept[member][:quota]
    for share in kept.values():
        while free and len(share) < size:
            share.append(free.pop())
    for share in kept.values():
        if free and len(share) == size:
            share.append(free.pop())
    return {member: sorted(share) for member, share in kept.items()}


def _rank(topic: str, member: str) -> str:
    return hashlib.sha256(f"{topic}/{member}".encode()).hexdigest()
