"""The scenario `order`: what is measured is what it says."""

import random
from itertools import pairwise

import pytest

from measuring.shared_beginnings import SharedJob, found_in_cache


@pytest.fixture(scope="module")
def job():
    return SharedJob.shuffled(20, 5)


def test_each_order_has_each_request_once(job):
    groups, _ = job.planned()
    assert sorted(at for group in groups for at in group) == [*range(100)]
    for window in (1, 7, 1000):
        assert sorted(job.windowed(window)) == [*range(100)]


def test_a_window_of_one_is_the_order_of_the_file_and_a_huge_one_knows_all(job):
    assert [*job.windowed(1)] == [*range(100)]
    order = [job.beginnings[at] for at in job.windowed(1000)]
    assert sum(one != other for one, other in pairwise(order)) == 19


def test_a_cache_finds_all_but_the_first_of_each_beginning_where_they_are_together(job):
    together = sorted(job.modelled, key=lambda one: one.prefix)
    found = found_in_cache([together], job.cache_tokens(9))
    assert found.beginnings == pytest.approx(0.8, abs=0.005)
    assert found.prompts < found.beginnings


def test_a_cache_with_room_for_none_of_what_comes_back_finds_nothing(job):
    turns = sorted(range(100), key=lambda at: (job.beginnings[:at].count(job.beginnings[at]), job.beginnings[at]))
    assert found_in_cache([[job.modelled[at] for at in turns]], job.cache_tokens(9)).beginnings == pytest.approx(
        0, abs=0.001
    )
    assert found_in_cache([[job.modelled[at] for at in turns]], job.cache_tokens(40)).beginnings > 0.7


def test_every_request_is_asked_of_its_own_engine_alone(job):
    shuffled = random.Random(1).sample(job.modelled, 100)
    halves = found_in_cache([shuffled[:50], shuffled[50:]], job.cache_tokens(40))
    assert halves.beginnings < found_in_cache([shuffled], job.cache_tokens(40)).beginnings
