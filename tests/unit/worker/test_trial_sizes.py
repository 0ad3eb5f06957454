"""How many suspects are tried at once, and what that costs: found by playing it, with a killer anywhere among them."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_worker.admission.trial_sizes import TrialSizes


def learned(restart: float, generation: float) -> TrialSizes:
    sizes = TrialSizes(restart)
    sizes.learn(generation)
    return sizes


def played(sizes: TrialSizes, among: int, killers: set[int], restart: float, generation: float) -> tuple[float, int]:
    """Seconds and engine deaths until all innocents are answered and all killers convicted, with the first death."""
    seconds, deaths = restart, 1
    groups = [list(range(among))]
    while groups:
        groups.sort(key=len)
        group = groups.pop(0)
        known = len(group)
        while group:
            trial, group = group[: sizes.size(known)], group[sizes.size(known) :]
            if not killers.intersection(trial):
                seconds += generation
                continue
            seconds, deaths = seconds + restart, deaths + 1
            if len(trial) > 1:
                groups.append(trial)
            # What was not tried yet waits, and those of the fewest come first.
            if group:
                groups.append(group)
                break
    return seconds, deaths


def test_one_killer_among_256_costs_four_engines_and_less_than_25_minutes() -> None:
    for place in range(0, 256, 5):
        seconds, deaths = played(learned(120, 30), 256, {place}, 120, 30)
        assert deaths <= 4
        assert seconds <= 25 * 60


def test_three_killers_among_256_cost_less_than_an_hour() -> None:
    dice = random.Random(1)
    for _ in range(50):
        seconds, _ = played(learned(120, 30), 256, set(dice.sample(range(256), 3)), 120, 30)
        assert seconds <= 60 * 60


@given(st.integers(2, 5000), st.floats(0.01, 1000), st.floats(0.001, 1000))
def test_a_trial_is_always_of_fewer_so_that_a_killer_is_alone_in_the_end(
    among: int, restart: float, generation: float
) -> None:
    size = learned(restart, generation).size(among)
    assert 1 <= size < among


@given(st.integers(2, 300), st.sampled_from([0.5, 4.0, 32.0]))
def test_no_other_size_for_all_is_quicker(among: int, ratio: float) -> None:
    """Against trials of one size, and then one by one."""
    sizes = learned(ratio, 1.0)

    def cost(known: int) -> float:
        size = sizes.size(known)
        return math.ceil(known / size) + ratio + (cost(size) if size > 1 else 0.0)

    plain = [
        math.ceil(among / size) + ratio + (size + ratio if size > 1 else 0.0)
        for size in (1, 2, 4, 16, 64)
        if size < among
    ]
    assert cost(among) <= min(plain) + 1e-9


@pytest.mark.parametrize("ratio", [0.5, 4.0, 32.0])
def test_hardly_any_other_sizes_are_quicker(ratio: float) -> None:
    sizes, least = learned(ratio, 1.0), [0.0, 0.0]
    for among in range(2, 200):
        least.append(min(math.ceil(among / size) + ratio + least[size] for size in range(1, among)))
        known, cost = among, 0.0
        while known > 1:
            size = sizes.size(known)
            cost, known = cost + math.ceil(known / size) + ratio, size
        assert cost <= 1.1 * least[among]


@pytest.mark.parametrize("among", [0, 1])
def test_a_suspect_of_which_nothing_is_known_is_tried_alone(among: int) -> None:
    assert learned(120, 30).size(among) == 1


def test_without_any_generation_a_restart_counts_as_four() -> None:
    assert TrialSizes(120.0).size(256) == learned(120, 30).size(256)
    assert TrialSizes().size(256) == learned(120, 30).size(256)


def test_where_restarts_cost_more_trials_are_smaller() -> None:
    assert learned(1200, 30).size(256) < learned(120, 30).size(256) < learned(3, 30).size(256)


def test_one_generation_of_another_length_changes_little() -> None:
    sizes = learned(120, 30)
    sizes.learn(60)
    assert sizes.size(256) == learned(120, 30).size(256) != learned(120, 60).size(256)
    for _ in range(50):
        sizes.learn(60)
    assert sizes.size(256) == learned(120, 60).size(256)
