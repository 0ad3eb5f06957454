"""The feeder: lanes share the engine by weight, and no lane starves."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.codec import Origin
from backburner_schemas.envelope import AnswerMode, DeliveryFacts, Envelope
from backburner_schemas.names import Lane
from backburner_schemas.request import Endpoint
from backburner_worker.feeder import Feeder
from backburner_worker.policy import Run
from backburner_worker.sources.base import Delivery
from backburner_worker.work import Work

WEIGHTS = {Lane.HIGH: 8, Lane.NORMAL: 4, Lane.RETRY: 2, Lane.LOW: 1}


ENVELOPE = Envelope(
    tenant="default", job="stream-q", index="0-0", custom_id="c", url=Endpoint.CHAT, body={"model": "fake"}
)


def work(lane: Lane, position: int = 0, *, suspect: bool = False) -> Work:
    delivery = Delivery(
        message=ENVELOPE,
        raw=b"",
        origin=Origin("q", f"0-{position}", 0.0),
        lane=lane,
        facts=DeliveryFacts(suspect=suspect),
        token=position,
    )
    return Work(delivery, Run(ENVELOPE, AnswerMode.SEGMENT), tokens=1)


def taken(feeder: Feeder, count: int = 1) -> list[object]:
    """The tokens of the next so many."""
    found = [feeder.take() for _ in range(count)]
    return [one.delivery.token if one else None for one in found]


def test_full_lanes_share_by_weight() -> None:
    feeder = Feeder(WEIGHTS, window=1000)
    for lane in Lane:
        for position in range(100):
            feeder.add(work(lane, position))
    lanes = Counter(one.lane for _ in range(60) if (one := feeder.take()))
    assert lanes[Lane.HIGH] == 32
    assert lanes[Lane.NORMAL] == 16
    assert lanes[Lane.RETRY] == 8
    assert lanes[Lane.LOW] == 4


def test_a_lane_is_first_come_first_served() -> None:
    feeder = Feeder(WEIGHTS, window=10)
    for position in range(5):
        feeder.add(work(Lane.LOW, position))
    assert taken(feeder, 5) == [0, 1, 2, 3, 4]
    assert feeder.take() is None


def test_a_lane_that_slept_does_not_catch_up() -> None:
    feeder = Feeder(WEIGHTS, window=1000)
    for position in range(200):
        feeder.add(work(Lane.NORMAL, position))
    for _ in range(100):
        feeder.take()
    for position in range(100):
        feeder.add(work(Lane.LOW, position))
    lanes = Counter(one.lane for _ in range(50) if (one := feeder.take()))
    assert lanes[Lane.LOW] == 10


def test_the_budget_is_the_room_in_each_lane() -> None:
    feeder = Feeder(WEIGHTS, window=2)
    feeder.add(work(Lane.HIGH))
    feeder.add(work(Lane.HIGH))
    feeder.add(work(Lane.LOW))
    assert feeder.budget() == {Lane.NORMAL: 2, Lane.LOW: 1, Lane.RETRY: 2}


def test_a_lane_is_full_by_bytes_too() -> None:
    feeder = Feeder(WEIGHTS, window=100, window_bytes=10)
    large = work(Lane.LOW)
    large.delivery.raw = b"x" * 10
    feeder.add(large)
    assert Lane.LOW not in feeder.budget()
    feeder.take()
    assert Lane.LOW in feeder.budget()


def test_giving_up_empties_every_lane() -> None:
    feeder = Feeder(WEIGHTS, window=5)
    for lane in Lane:
        feeder.add(work(lane))
    assert len(feeder.drop(lambda _: True)) == 4
    assert len(feeder) == 0


def test_suspects_come_before_all_others() -> None:
    feeder = Feeder(WEIGHTS, window=10)
    for position in range(3):
        feeder.add(work(Lane.HIGH, position))
    assert not feeder.suspects
    for position in range(3, 5):
        feeder.add(work(Lane.RETRY, position, suspect=True))
    assert feeder.suspects
    assert len(feeder) == 5
    assert taken(feeder, 5) == [3, 4, 0, 1, 2]
    assert not feeder.suspects


def test_suspects_take_room_in_the_window_of_their_lane() -> None:
    feeder = Feeder(WEIGHTS, window=2)
    feeder.add(work(Lane.RETRY, suspect=True))
    assert feeder.budget()[Lane.RETRY] == 1
    feeder.add(work(Lane.RETRY))
    assert Lane.RETRY not in feeder.budget()
    feeder.take()
    assert feeder.budget()[Lane.RETRY] == 1


@given(st.lists(st.tuples(st.sampled_from(Lane), st.booleans()), min_size=1, max_size=30), st.integers(0, 30))
def test_a_delivery_that_is_put_back_is_the_next_one_again_and_costs_its_lane_no_turn(
    held: list[tuple[Lane, bool]], disturbance: int
) -> None:
    def fed() -> Feeder:
        feeder = Feeder(WEIGHTS, window=100)
        for position, (lane, suspect) in enumerate(held):
            feeder.add(work(lane, position, suspect=suspect))
        return feeder

    plain, disturbed, order, after = fed(), fed(), [], []
    for number in range(len(held)):
        order += taken(plain)
        assert disturbed.peek() is not None
        if number == disturbance:
            first = disturbed.take()
            assert first is not None
            disturbed.put_back(first)
            assert disturbed.peek() is first
            assert len(disturbed) == len(held) - number
        after += taken(disturbed)
    assert order == after
    assert plain.budget() == disturbed.budget() == dict.fromkeys(Lane, 100)


@given(st.lists(st.tuples(st.sampled_from(Lane), st.booleans(), st.booleans()), max_size=30))
def test_what_is_dropped_is_gone_and_the_others_keep_their_order(held: list[tuple[Lane, bool, bool]]) -> None:
    feeder, control = Feeder(WEIGHTS, window=100), Feeder(WEIGHTS, window=100)
    unwanted = {position for position, (_, _, dropped) in enumerate(held) if dropped}
    for position, (lane, suspect, _) in enumerate(held):
        feeder.add(work(lane, position, suspect=suspect))
        if position not in unwanted:
            control.add(work(lane, position, suspect=suspect))
    assert {one.delivery.token for one in feeder.drop(lambda one: one.delivery.token in unwanted)} == unwanted
    assert len(feeder) == len(control)
    assert taken(feeder, len(control) + 1) == taken(control, len(control) + 1)
