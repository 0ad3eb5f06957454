"""The order of a whole job: neighbours share as much as they can, and nothing is lost or made up."""

import random
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.ordering.index import OrderIndex
from backburner.ordering.plan import MAX_POOLS, InputDigest
from backburner_schemas.errors import PoolError

PROMPTS = st.builds(
    lambda parts, end: "".join(letter * 64 for letter in parts) + end,
    st.lists(st.sampled_from("abc"), max_size=4),
    st.sampled_from(["", "x", "y"]),
)
NOWHERE = InputDigest(0, bytes(32), bytes(32))


def plan_of(prompts, *, models=None, pools=None, **options):
    index = OrderIndex(**options)
    for number, prompt in enumerate(prompts):
        body = {"model": models[number] if models else "m", "prompt": prompt}
        pool = pools[number] if pools else "fake"
        index.add(100 * number, 60, "/v1/completions", body, pool=pool, verbatim=number % 2 == 0)
    plan = index.plan(NOWHERE)
    index.close()
    return plan


def groups_of(plan):
    groups = []
    for entry in plan.entries():
        groups += [[]] if entry.opens_group else []
        groups[-1].append(entry.index)
    return groups


def shared(one, other):
    return (
        next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))) // 64
    )


def total_shared(prompts, order):
    return sum(shared(prompts[one], prompts[other]) for one, other in pairwise(order))


@given(st.lists(PROMPTS, max_size=60))
def test_a_plan_has_each_request_once_with_its_own_line(prompts):
    with plan_of(prompts) as plan:
        entries = [*plan.entries()]
        assert sorted(entry.index for entry in entries) == [*range(len(prompts))]
        assert all(
            (entry.offset, entry.length, entry.verbatim) == (100 * entry.index, 60, entry.index % 2 == 0)
            for entry in entries
        )


@given(st.lists(PROMPTS, max_size=60))
def test_requests_that_share_a_beginning_of_any_depth_are_next_to_each_other(prompts):
    with plan_of(prompts) as plan:
        order = [entry.index for entry in plan.entries()]
    for blocks in range(1, 5):
        beginnings = [prompts[index][: 64 * blocks] for index in order if len(prompts[index]) >= 64 * blocks]
        changes = sum(one != other for one, other in pairwise(beginnings))
        assert changes == max(len(set(beginnings)) - 1, 0)


@given(st.lists(PROMPTS, min_size=1, max_size=6))
def test_no_other_order_has_neighbours_that_share_more(prompts):
    with plan_of(prompts) as plan:
        found = total_shared(prompts, [entry.index for entry in plan.entries()])
    assert found == max(total_shared(prompts, order) for order in permutations(range(len(prompts))))


@given(st.lists(PROMPTS, max_size=60), st.integers(1, 3000))
def test_the_order_is_the_same_whatever_was_written_to_disk(prompts, memory):
    with plan_of(prompts) as one, plan_of(prompts, memory_bytes=memory) as other:
        assert b"".join(one.pieces()) == b"".join(other.pieces())


@given(st.lists(st.tuples(PROMPTS, st.sampled_from(["m", "n"]), st.sampled_from(["pool-1", "pool-2"])), max_size=60))
def test_a_group_is_for_one_pool_and_one_model(requests):
    prompts, models, pools = zip(*requests, strict=True) if requests else ((), (), ())
    with plan_of(prompts, models=models, pools=pools) as plan:
        groups = groups_of(plan)
        order = [index for group in groups for index in group]
        assert all(len({(models[index], pools[index]) for index in group}) == 1 for group in groups)
        assert [pools[index] for index in order] == [name for name, count in plan.pools for _ in range(count)]
        changes = sum((models[one], pools[one]) != (models[other], pools[other]) for one, other in pairwise(order))
        assert changes == max(len({*zip(models, pools, strict=True)}) - 1, 0)
        assert plan.forecast.groups == len(groups)


def test_a_prefix_that_few_share_is_one_group():
    prompts = [f"{number % 64:064}" * 3 + str(number) for number in range(1280)]
    random.Random(1).shuffle(prompts)
    with plan_of(prompts) as plan:
        groups = groups_of(plan)
        assert len(groups) == 64
        assert all(len({prompts[index][:64] for index in group}) == 1 for group in groups)


def test_requests_that_share_nothing_keep_the_order_of_the_input():
    with plan_of([f"{number}" for number in range(50)]) as plan:
        assert [entry.index for entry in plan.entries()] == [*range(50)]


def test_a_job_for_too_many_pools_is_refused():
    with pytest.raises(PoolError, match="split the input"):
        plan_of([""] * (MAX_POOLS + 1), pools=[f"pool-{number}" for number in range(MAX_POOLS + 1)])


def test_nothing_is_left_in_the_folder(tmp_path):
    with plan_of(["a" * 200] * 100, memory_bytes=100, folder=tmp_path) as plan:
        assert plan.count == 100
        assert not [*tmp_path.iterdir()]
