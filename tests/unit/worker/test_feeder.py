"""The feeder: lanes share the engine by weight, its window is bounded, and a take can be undone."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from works import new_feeder, taken, work

from backburner_schemas.names import Lane
from backburner_worker.scheduling.feeder import Feeder


def test_full_lanes_share_by_weight() -> None:
    feeder = new_feeder(1000)
    for lane in Lane:
        for position in range(100):
            feeder.add(work(position, lane))
    lanes = Counter(one.lane for _ in range(60) if (one := feeder.take()))
    assert lanes[Lane.HIGH] == 32
    assert lanes[Lane.NORMAL] == 16
    assert lanes[Lane.RETRY] == 8
    assert lanes[Lane.LOW] == 4


def test_a_lane_is_first_come_first_served() -> None:
    feeder = new_feeder(10)
    for position in range(5):
        feeder.add(work(position, Lane.LOW))
    assert taken(feeder, 5) == [0, 1, 2, 3, 4]
    assert feeder.take() is None


def test_a_lane_that_slept_does_not_catch_up() -> None:
    feeder = new_feeder(1000)
    for position in range(200):
        feeder.add(work(position, Lane.NORMAL))
    for _ in range(100):
        feeder.take()
    for position in range(100):
        feeder.add(work(position, Lane.LOW))
    lanes = Counter(one.lane for _ in range(50) if (one := feeder.take()))
    assert lanes[Lane.LOW] == 10


def test_a_lane_that_falls_asleep_again_and_again_takes_its_share_and_no_more() -> None:
    feeder = new_feeder(1000)
    for position in range(200):
        feeder.add(work(position, Lane.NORMAL))
    for _ in range(100):
        feeder.take()
    lanes: list[Lane] = []
    for position in range(50):
        if len(lanes) == lanes.count(Lane.NORMAL) or lanes[-1] is Lane.LOW:
            feeder.add(work(position, Lane.LOW))
        taken_now = feeder.take()
        assert taken_now is not None
        lanes.append(taken_now.lane)
    assert lanes.count(Lane.LOW) <= 11


def test_the_budget_is_the_room_in_each_lane() -> None:
    feeder = new_feeder(2)
    feeder.add(work(0, Lane.HIGH))
    feeder.add(work(0, Lane.HIGH))
    feeder.add(work(0, Lane.LOW))
    assert feeder.budget() == {Lane.NORMAL: 2, Lane.LOW: 1, Lane.RETRY: 2}


def test_a_lane_is_full_by_bytes_too() -> None:
    feeder = new_feeder(100, window_bytes=10)
    feeder.add(work(0, Lane.LOW, size=10))
    assert Lane.LOW not in feeder.budget()
    feeder.take()
    assert Lane.LOW in feeder.budget()


def test_giving_up_empties_every_lane() -> None:
    feeder = new_feeder(5)
    for lane in Lane:
        feeder.add(work(0, lane))
    assert len(feeder.drop(lambda _: True)) == 4
    assert len(feeder) == 0


def test_suspects_come_before_all_others() -> None:
    feeder = new_feeder(10)
    for position in range(3):
        feeder.add(work(position, Lane.HIGH))
    assert not feeder.suspects
    for position in range(3, 5):
        feeder.add(work(position, Lane.RETRY, suspect=True))
    assert feeder.suspects
    assert len(feeder) == 5
    assert taken(feeder, 5) == [3, 4, 0, 1, 2]
    assert not feeder.suspects


def test_suspects_of_the_fewest_come_first_and_are_put_back_in_front_of_their_own() -> None:
    feeder = new_feeder(10)
    for position, among in enumerate((256, 16, 256, 16, 64)):
        feeder.add(work(position, Lane.RETRY, suspect=True, among=among))
    assert taken(feeder, 1) == [1]
    second = feeder.take()
    assert second is not None
    assert second.delivery.token == 3
    feeder.put_back(second)
    feeder.add(work(5, Lane.RETRY, suspect=True, among=16))
    assert taken(feeder) == [3, 5, 4, 0, 2]


def test_suspects_take_room_in_the_window_of_their_lane() -> None:
    feeder = new_feeder(2)
    feeder.add(work(0, Lane.RETRY, suspect=True))
    assert feeder.budget()[Lane.RETRY] == 1
    feeder.add(work(0, Lane.RETRY))
    assert Lane.RETRY not in feeder.budget()
    feeder.take()
    assert feeder.budget()[Lane.RETRY] == 1


def test_only_what_was_taken_last_can_be_put_back() -> None:
    feeder = new_feeder()
    for position in range(2):
        feeder.add(work(position))
    first = feeder.take()
    assert first is not None
    feeder.take()
    with pytest.raises(RuntimeError, match=r"^only what was taken last can be put back, and at once$"):
        feeder.put_back(first)


def test_nothing_can_be_put_back_twice_or_before_it_was_taken() -> None:
    feeder = new_feeder()
    for position in range(2):
        feeder.add(work(position))
    untaken = work(2)
    with pytest.raises(RuntimeError, match="taken last"):
        feeder.put_back(untaken)
    first = feeder.take()
    assert first is not None
    feeder.put_back(first)
    with pytest.raises(RuntimeError, match="taken last"):
        feeder.put_back(first)


@pytest.mark.parametrize(
    ("count", "size", "reopened"),
    [(2, 0, True), (3, 0, False), (1, 5, True), (1, 6, False), (0, 0, True), (3, 6, False)],
)
def test_a_lane_is_worth_another_pull_once_half_its_window_is_free(count: int, size: int, reopened: bool) -> None:
    feeder = new_feeder(4, window_bytes=10)
    for position in range(count):
        feeder.add(work(position, Lane.LOW, size=size if position == 0 else 0))
    others = {lane: 4 for lane in Lane if lane is not Lane.LOW}
    assert feeder.reopened(others) is reopened
    # A lane that the last pull had room for is in it already.
    assert feeder.reopened({**others, Lane.LOW: 1}) is False


def test_what_is_dropped_makes_room_in_its_lane() -> None:
    feeder = new_feeder(2, window_bytes=10)
    feeder.add(work(0, Lane.RETRY, suspect=True, size=5))
    feeder.add(work(1, Lane.RETRY, size=5))
    assert Lane.RETRY not in feeder.budget()
    assert len(feeder.drop(lambda one: one.suspect)) == 1
    assert (feeder.budget()[Lane.RETRY], len(feeder), feeder.suspects) == (1, 1, 0)
    feeder.drop(lambda _: True)
    assert (feeder.budget()[Lane.RETRY], len(feeder)) == (2, 0)
    feeder.add(work(2, Lane.RETRY, size=9))
    assert feeder.budget()[Lane.RETRY] == 1


def test_a_suspect_that_is_put_back_takes_its_room_again() -> None:
    feeder = new_feeder(2, window_bytes=10)
    feeder.add(work(0, Lane.RETRY, suspect=True, size=10))
    feeder.add(work(1, Lane.RETRY, suspect=True))
    first = feeder.take()
    assert first is not None
    assert feeder.budget()[Lane.RETRY] == 1
    feeder.put_back(first)
    assert Lane.RETRY not in feeder.budget()
    assert taken(feeder) == [0, 1]


def test_works_without_a_models_name_are_held_like_others() -> None:
    feeder = new_feeder()
    for position, model in enumerate([None, 7, "fake"]):
        feeder.add(work(position, model=model))
    assert sorted(taken(feeder)) == [0, 1, 2]


@given(st.lists(st.tuples(st.sampled_from(Lane), st.booleans()), min_size=1, max_size=30), st.integers(0, 30))
def test_a_delivery_that_is_put_back_is_the_next_one_again_and_costs_its_lane_no_turn(
    held: list[tuple[Lane, bool]], disturbance: int
) -> None:
    def fed() -> Feeder:
        feeder = new_feeder(100)
        for position, (lane, suspect) in enumerate(held):
            feeder.add(work(position, lane, suspect=suspect))
        return feeder

    plain, disturbed, order, after = fed(), fed(), [], []
    for number in range(len(held)):
        order += taken(plain, 1)
        assert disturbed.peek() is not None
        if number == disturbance:
            first = disturbed.take()
            assert first is not None
            disturbed.put_back(first)
            assert disturbed.peek() is first
            assert len(disturbed) == len(held) - number
        after += taken(disturbed, 1)
    assert order == after
    assert plain.budget() == disturbed.budget() == dict.fromkeys(Lane, 100)


@given(st.lists(st.tuples(st.sampled_from(Lane), st.booleans(), st.booleans()), max_size=30))
def test_what_is_dropped_is_gone_and_the_others_keep_their_order(held: list[tuple[Lane, bool, bool]]) -> None:
    feeder, control = new_feeder(100), new_feeder(100)
    unwanted = {position for position, (_, _, dropped) in enumerate(held) if dropped}
    for position, (lane, suspect, _) in enumerate(held):
        feeder.add(work(position, lane, suspect=suspect))
        if position not in unwanted:
            control.add(work(position, lane, suspect=suspect))
    assert {one.delivery.token for one in feeder.drop(lambda one: one.delivery.token in unwanted)} == unwanted
    assert len(feeder) == len(control)
    assert taken(feeder, len(control) + 1) == taken(control, len(control) + 1)
