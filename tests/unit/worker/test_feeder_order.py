"""The order within a tenant: deadlines, then groups, and the longest near the end."""

import random
from itertools import groupby

import pytest
from works import new_feeder, taken, work

from backburner_schemas.prefix import prefix_chain
from backburner_worker.scheduling.feeder import Feeder
from backburner_worker.scheduling.tenant_queue import BUCKET_SECONDS, MAX_RUN_WORKS, RUNS_PER_FIRST_COME
from backburner_worker.scheduling.work import Work

SMALL = 4
"""A window so small that few of its works are the end: what is held in it is not put longest first."""


def filled(*works: Work, window: int = 1000) -> Feeder:
    feeder = new_feeder(window)
    for one in works:
        feeder.add(one)
    return feeder


def test_the_earliest_deadline_is_first() -> None:
    late, none, early = work(0, deadline=7200), work(1), work(2, deadline=3600)
    assert taken(filled(late, none, early)) == [2, 0, 1]


def test_deadlines_in_one_slot_are_equal() -> None:
    start = 100 * BUCKET_SECONDS
    works = [work(position, deadline=start + BUCKET_SECONDS - 1 - position) for position in range(5)]
    assert taken(filled(*works)) == [0, 1, 2, 3, 4]


def test_one_adapter_runs_out_before_the_next() -> None:
    works = [work(position, model=("a", "b", "c")[position % 3]) for position in range(9)]
    assert taken(filled(*works)) == [0, 3, 6, 1, 4, 7, 2, 5, 8]


def test_a_claim_check_and_a_body_without_a_usable_model_are_works_like_others() -> None:
    works = [work(0, model="a"), work(1, model=None), work(2, model=7), work(3, model="a"), work(4, model=None)]
    assert taken(filled(*works)) == [0, 3, 1, 2, 4]


def test_what_shares_the_most_comes_first() -> None:
    works = [
        work(0, prefix=(1, 2, 3)),
        work(1, prefix=(9,)),
        work(2, prefix=(1,)),
        work(3, prefix=(1, 2, 4)),
        work(4, prefix=(1, 2, 3)),
        work(5, prefix=(9, 8)),
    ]
    assert taken(filled(*works)) == [0, 4, 3, 2, 1, 5]


def test_the_same_prefix_of_two_adapters_is_not_one_group() -> None:
    works = [work(position, model="ab"[position % 2], prefix=(1, 2)) for position in range(6)]
    assert taken(filled(*works)) == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("common", [(), (7, 7)])
def test_prefixes_come_group_by_group_however_they_were_mixed(shuffled: bool, common: tuple[int, ...]) -> None:
    works = [
        work(number, prefix=(*common, *range(number % 16 * 100, number % 16 * 100 + 9), 5000 + number), tokens=900)
        for number in range(128)
    ]
    if shuffled:
        random.Random(1).shuffle(works)
    for window in (1024, 128):
        positions = taken(filled(*works, window=window))
        assert len([*groupby(int(str(position)) % 16 for position in positions)]) == 16


def test_prompts_with_one_text_before_them_are_grouped_by_what_follows() -> None:
    def chat(number: int) -> tuple[int, ...]:
        text = f"{'You are helpful. ' * 20}{'ABCD'[number % 4] * 600} {number}"
        return prefix_chain({"model": "fake", "messages": [{"role": "user", "content": text}]})

    positions = taken(filled(*(work(number, prefix=chat(number)) for number in range(20)), window=SMALL))
    assert [int(str(position)) % 4 for position in positions] == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5


def test_a_run_is_bounded() -> None:
    works = [work(0, prefix=(2,)), *(work(number, prefix=(1,)) for number in range(1, 100))]
    feeder = filled(*works, work(100, prefix=(2,), deadline=60), window=SMALL)
    assert taken(feeder, 3) == [100, 0, 1]
    feeder.add(work(101, prefix=(3,), deadline=60))
    assert taken(feeder, MAX_RUN_WORKS) == [*range(2, MAX_RUN_WORKS + 1), 101]


def test_every_so_many_runs_begin_with_what_came_first() -> None:
    feeder = filled(work(0), *(work(number, deadline=60 * number) for number in range(1, 20)), window=SMALL)
    assert taken(feeder, RUNS_PER_FIRST_COME) == [*range(1, RUNS_PER_FIRST_COME), 0]


def test_the_longest_is_first_near_the_end() -> None:
    tokens = [5, 9, 1, 9, 3, 7]
    works = [work(number, tokens=one) for number, one in enumerate(tokens)]
    assert taken(filled(*works, window=SMALL)) == [0, 1, 2, 3, 4, 5]
    assert taken(filled(*works)) == [1, 3, 5, 0, 4, 2]


def test_the_longest_is_first_between_groups_and_within_them_but_breaks_none() -> None:
    works = [work(number, prefix=(number % 3,), tokens=(5, 1, 2, 1, 9, 3, 7, 7, 4)[number]) for number in range(9)]
    assert taken(filled(*works)) == [4, 7, 1, 6, 0, 3, 8, 5, 2]


def test_an_earlier_deadline_comes_before_a_longer_work() -> None:
    assert taken(filled(work(0, tokens=900, deadline=7200), work(1, tokens=1, deadline=3600))) == [1, 0]
