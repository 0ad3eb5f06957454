"""Admission: sequences and tokens bound what is in the engine, and nothing is too large to ever run."""

from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.request import Endpoint
from backburner_worker.admission import Admission, token_cost
from backburner_worker.engine.base import EngineInfo

INFO = EngineInfo(models=("m",), endpoints=frozenset(Endpoint), version="fake-1", kv_tokens=1000, max_sequences=4)


def test_sequences_are_oversubscribed_by_half() -> None:
    assert Admission(INFO).sequences == 6


def test_a_setting_overrides_the_number_of_requests() -> None:
    assert Admission(INFO, concurrency=2).sequences == 2


def test_a_request_larger_than_the_cache_runs_alone() -> None:
    admission = Admission(INFO)
    assert admission.fits(1_000_000)
    admission.enter(1_000_000)
    assert not admission.fits(1)
    admission.leave(1_000_000)
    assert admission.fits(1)


@given(st.lists(st.integers(1, 800), max_size=40))
def test_never_more_in_flight_than_the_budget(costs: list[int]) -> None:
    admission = Admission(INFO)
    entered = 0
    for cost in costs:
        if admission.fits(cost):
            admission.enter(cost)
            entered += cost
    assert admission.in_flight <= admission.sequences
    assert entered <= max(admission.tokens, max(costs, default=0))


def test_a_request_that_asks_for_the_moon_counts_as_half_of_the_budget() -> None:
    admission = Admission(INFO)
    assert admission.cost(400, {"max_tokens": 10**9}) == admission.tokens // 2


def test_the_cost_counts_the_answer_that_the_body_asks_for() -> None:
    assert token_cost(400, {"max_tokens": 32}) == 132
    assert token_cost(400, {"max_completion_tokens": 8, "max_tokens": 32}) == 108
    assert token_cost(400, {"max_tokens": "many"}) == 356
    assert token_cost(400, None) == 356
