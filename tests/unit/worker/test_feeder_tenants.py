"""Tenants of a lane share it by expected tokens, and nothing that is held waits for ever."""

from collections import Counter
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from works import new_feeder, taken, work

from backburner_worker.scheduling.fair_queue import QUANTUM_TOKENS
from backburner_worker.scheduling.tenant_queue import MAX_RUN_WORKS, RUNS_PER_FIRST_COME

TOKENS = st.integers(1, 3 * QUANTUM_TOKENS)


def test_one_with_a_hundred_times_the_work_takes_no_more_than_its_share() -> None:
    feeder = new_feeder(100_000)
    position = 0
    for tenant, count in (("large", 10_000), ("a", 100), ("b", 100), ("c", 100)):
        for _ in range(count):
            feeder.add(work(position := position + 1, tenant=tenant, tokens=300))
    got: Counter[str] = Counter()
    while min(got[tenant] for tenant in "abc") < 100:
        one = feeder.take()
        assert one is not None
        got[one.run.envelope.tenant] += 1
    ideal = 100
    assert got["large"] <= 1.2 * ideal
    assert all(got[tenant] * 1.2 >= ideal for tenant in "abc")


def test_a_tenant_that_comes_waits_for_one_turn_of_each_other() -> None:
    feeder = new_feeder()
    for position in range(30):
        feeder.add(work(position, tenant="ab"[position % 2], tokens=QUANTUM_TOKENS))
    assert taken(feeder, 4) == [0, 1, 2, 3]
    feeder.add(work(100, tenant="c"))
    feeder.add(work(101, tenant="d"))
    assert taken(feeder, 6) == [4, 5, 100, 101, 6, 7]


def test_who_took_more_than_a_turn_sits_turns_out_even_if_it_was_gone_meanwhile() -> None:
    feeder = new_feeder()
    feeder.add(work(0, tenant="a", tokens=3 * QUANTUM_TOKENS))
    for position in range(1, 9):
        feeder.add(work(position, tenant="b", tokens=QUANTUM_TOKENS))
    assert taken(feeder, 1) == [0]
    feeder.add(work(100, tenant="a", tokens=3 * QUANTUM_TOKENS))
    assert taken(feeder, 6) == [1, 2, 100, 3, 4, 5]


def test_alone_nobody_runs_into_debt() -> None:
    feeder = new_feeder()
    for position in range(5):
        feeder.add(work(position, tenant="a", tokens=100 * QUANTUM_TOKENS))
    assert taken(feeder, 4) == [0, 1, 2, 3]
    for position in range(10, 13):
        feeder.add(work(position, tenant="b", tokens=QUANTUM_TOKENS))
    assert taken(feeder, 4) == [4, 10, 11, 12]


def test_a_tenant_whose_work_is_dropped_passes_its_turn_on() -> None:
    feeder = new_feeder()
    for position in range(6):
        feeder.add(work(position, tenant="ab"[position % 2]))
    feeder.take()
    assert len(feeder.drop(lambda one: one.run.envelope.tenant == "a")) == 2
    assert taken(feeder) == [1, 3, 5]
    assert feeder.take() is None


@given(st.lists(st.lists(TOKENS, min_size=1, max_size=20), min_size=2, max_size=6))
def test_tenants_that_wait_get_the_same_but_for_two_turns(tenants: list[list[int]]) -> None:
    feeder = new_feeder()
    for tenant, held in enumerate(tenants):
        for tokens in held:
            feeder.add(work(tokens, tenant=f"t{tenant}", tokens=tokens))
    most = max(map(max, tenants))
    got: Counter[str] = Counter()
    left = Counter({f"t{tenant}": len(held) for tenant, held in enumerate(tenants)})
    while (one := feeder.take()) and min(left.values()) > 0:
        tenant = one.run.envelope.tenant
        for other in got:
            # One turn since it joined behind the other, and one since the other may be before it in a round.
            assert got[other] <= got[tenant] + 2 * QUANTUM_TOKENS + most
        got[tenant] += one.tokens
        left[tenant] -= 1
    for one_tenant, other in combinations(got, 2):
        assert abs(got[one_tenant] - got[other]) <= 2 * QUANTUM_TOKENS + most


@given(
    st.lists(st.tuples(st.sampled_from("abc"), TOKENS), min_size=1, max_size=40),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), TOKENS), min_size=1, max_size=60),
)
def test_a_tenants_work_waits_for_a_bounded_share_of_the_others(
    before: list[tuple[str, int]], meanwhile: list[tuple[str, int]]
) -> None:
    feeder = new_feeder()
    for tenant, tokens in before:
        feeder.add(work(0, tenant=tenant, tokens=tokens))
    feeder.add(work(1, tenant="z", tokens=1))
    most = max(tokens for _, tokens in before + meanwhile)
    got: Counter[str] = Counter()
    turns = 0
    while (one := feeder.take()) and one.delivery.token != 1:
        got[one.run.envelope.tenant] += one.tokens
        tenant, tokens = meanwhile[turns % len(meanwhile)]
        feeder.add(work(0, tenant=tenant, tokens=tokens))
        turns += 1
    assert one is not None
    assert all(tokens <= QUANTUM_TOKENS + most for tokens in got.values())


@given(
    st.lists(st.integers(0, 3), max_size=5),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=30),
    st.integers(1, 200),
)
@settings(max_examples=min(40, settings.default.max_examples))
def test_the_least_urgent_work_of_a_tenant_waits_for_a_bounded_number_of_its_works(
    older: list[int], meanwhile: list[tuple[int, int, int]], window: int
) -> None:
    feeder = new_feeder(window)
    for number, prefix in enumerate(older):
        feeder.add(work(number, prefix=(prefix,), deadline=60))
    feeder.add(work(-1, prefix=(9,)))
    count = 0
    while (one := feeder.take()) and one.delivery.token != -1:
        deadline, prefix, tokens = meanwhile[count % len(meanwhile)]
        count += 1
        for twin in range(2):
            feeder.add(work(100 + 2 * count + twin, prefix=(prefix,), deadline=60 * deadline, tokens=tokens))
        assert count <= RUNS_PER_FIRST_COME * MAX_RUN_WORKS * (len(older) + 1)
    assert one is not None
