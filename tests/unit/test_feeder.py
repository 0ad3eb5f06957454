"""The feeder: lanes share the engine by weight, and no lane starves."""

from collections import Counter

from backburner_schemas.codec import Origin, Unaddressed
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import Undeliverable
from backburner_schemas.names import Lane
from backburner_worker.feeder import Feeder
from backburner_worker.sources.base import Delivery

WEIGHTS = {Lane.HIGH: 8, Lane.NORMAL: 4, Lane.RETRY: 2, Lane.LOW: 1}


def delivery(lane: Lane, position: int = 0) -> Delivery:
    return Delivery(
        message=Unaddressed(Undeliverable()),
        raw=b"",
        origin=Origin("q", f"0-{position}", 0.0),
        lane=lane,
        facts=DeliveryFacts(),
        token=position,
    )


def test_full_lanes_share_by_weight() -> None:
    feeder = Feeder(WEIGHTS, window=1000)
    for lane in Lane:
        for position in range(100):
            feeder.add(delivery(lane, position))
    taken = Counter(feeder.take().lane for _ in range(60))  # type: ignore[union-attr]
    assert taken[Lane.HIGH] == 32
    assert taken[Lane.NORMAL] == 16
    assert taken[Lane.RETRY] == 8
    assert taken[Lane.LOW] == 4


def test_a_lane_is_first_come_first_served() -> None:
    feeder = Feeder(WEIGHTS, window=10)
    for position in range(5):
        feeder.add(delivery(Lane.LOW, position))
    assert [feeder.take().token for _ in range(5)] == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
    assert feeder.take() is None


def test_a_lane_that_slept_does_not_catch_up() -> None:
    feeder = Feeder(WEIGHTS, window=1000)
    for position in range(200):
        feeder.add(delivery(Lane.NORMAL, position))
    for _ in range(100):
        feeder.take()
    for position in range(100):
        feeder.add(delivery(Lane.LOW, position))
    taken = Counter(feeder.take().lane for _ in range(50))  # type: ignore[union-attr]
    assert taken[Lane.LOW] == 10


def test_the_budget_is_the_room_in_each_lane() -> None:
    feeder = Feeder(WEIGHTS, window=2)
    feeder.add(delivery(Lane.HIGH))
    feeder.add(delivery(Lane.HIGH))
    feeder.add(delivery(Lane.LOW))
    assert feeder.budget() == {Lane.NORMAL: 2, Lane.LOW: 1, Lane.RETRY: 2}


def test_a_lane_is_full_by_bytes_too() -> None:
    feeder = Feeder(WEIGHTS, window=100, window_bytes=10)
    large = delivery(Lane.LOW)
    large.raw = b"x" * 10
    feeder.add(large)
    assert Lane.LOW not in feeder.budget()
    feeder.take()
    assert Lane.LOW in feeder.budget()


def test_giving_up_empties_every_lane() -> None:
    feeder = Feeder(WEIGHTS, window=5)
    for lane in Lane:
        feeder.add(delivery(lane))
    assert len(feeder.drop(lambda _: True)) == 4
    assert len(feeder) == 0
