"""Two workers of one name take the membership from each other: noticed, and told apart from what sessions do."""

import pytest
from aiokafka.errors import KafkaError, for_code

from backburner_worker.sources.kafka.consumer import is_fenced
from backburner_worker.sources.kafka.membership import Membership, NameWatch

NAMED = Membership(session_seconds=30.0, instance_id="gpu-0")


def lost_after(watch: NameWatch, *lives: float) -> list[bool]:
    """Whether each loss is the work of a namesake, of memberships that lived that long."""
    found, now = [], 0.0
    for seconds in lives:
        watch.joined(now)
        now += seconds
        found.append(watch.lost(now))
    return found


def test_a_membership_that_is_gone_thrice_before_a_session_could_end_is_taken():
    assert lost_after(NameWatch(NAMED), 5.0, 3.0, 3.0) == [False, False, True]


def test_a_session_that_ran_out_is_no_theft():
    assert lost_after(NameWatch(NAMED), 31.0, 40.0, 31.0, 31.0) == [False] * 4


def test_thefts_count_in_a_row():
    assert lost_after(NameWatch(NAMED), 3.0, 3.0, 3_600.0, 3.0, 3.0) == [False] * 5


def test_an_ordinary_rebalance_makes_no_membership_young():
    watch = NameWatch(NAMED)
    watch.joined(0.0)
    watch.joined(59.0)
    assert [watch.lost(60.0), *lost_after(watch, 1.0, 1.0)] == [False] * 3


@pytest.mark.parametrize("watch", [NameWatch(Membership()), NameWatch(NAMED)], ids=["no name", "not joined"])
def test_who_has_no_name_or_never_was_a_member_loses_nothing(watch):
    if watch._membership.instance_id is None:
        watch.joined(0.0)
    assert [watch.lost(1.0) for _ in range(5)] == [False] * 5


@pytest.mark.parametrize(
    ("error", "fenced"),
    [
        (for_code(82)(), True),
        (KafkaError(repr(for_code(82)())), True),  # as the client library raises what a join was refused for
        (KafkaError(repr(for_code(16)())), False),
        (TimeoutError(), False),
    ],
)
def test_a_name_that_another_has_joined_under_is_told_from_other_refusals(error, fenced):
    assert is_fenced(error) is fenced
