"""HillClimb: they go to where more comes of it, whatever noise each try has, and turn when that moves."""

import random
import statistics

import pytest

from backburner_worker.engine.hill_climb import HillClimb


def follow(climb, tried, gives, times):
    seen = []
    for _ in range(times):
        tried *= climb.next(tried, gives(tried))
        seen.append(tried)
    return seen


@pytest.mark.parametrize("begin", [1.0, 100.0])
def test_they_come_to_the_best_and_stay_about_it(begin):
    chance = random.Random(1)

    def gives(tried):
        return (tried if tried < 10 else 100 / tried) * chance.uniform(0.97, 1.03)

    seen = follow(HillClimb(1.2), begin, gives, 60)
    assert all(2 < tried < 50 for tried in seen[30:])
    assert 5 < statistics.geometric_mean(seen[30:]) < 20


def test_they_follow_a_best_that_moves():
    climb = HillClimb(1.2)
    tried = follow(climb, 10.0, lambda tried: min(tried, 400 / tried), 40)[-1]
    assert 8 < tried < 50
    assert follow(climb, tried, lambda tried: min(tried, 40_000 / tried), 60)[-1] > 80


def test_where_no_try_ever_differed_both_ways_are_tried():
    climb = HillClimb(1.2)
    assert {climb.next(5.0, 1.0) for _ in range(4)} == {1.2, 1 / 1.2}
