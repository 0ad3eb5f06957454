"""Admission: sequences and tokens bound what is in the engine, and nothing is too large to ever run."""

import pytest
from admission_simulation import Asked, work_of
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.request import Endpoint
from backburner_worker.admission.admission import Admission
from backburner_worker.engine.base import EngineInfo, EngineLoad, Usage

INFO = EngineInfo(models=("m",), endpoints=frozenset(Endpoint), version="fake-1", kv_tokens=1000, max_sequences=4)
ROOMY = EngineInfo(models=("m",), endpoints=frozenset(Endpoint), version="fake-1", kv_tokens=100_000, max_sequences=4)


def enter(admission, *asked, first=0):
    """Those that got in."""
    works = [work_of(admission, number, one) for number, one in enumerate(asked, first)]
    return [work for work in works if admission.enter(work)]


def test_at_first_half_as_many_again_as_there_are_places():
    admission = Admission(ROOMY)
    assert len(enter(admission, *[Asked(10, 10, 10)] * 20)) == 6
    assert not admission.open


def test_a_setting_is_the_number_of_requests_whatever_they_take_and_the_engine_tells():
    admission = Admission(INFO, concurrency=9)
    assert len(enter(admission, *[Asked(900, 900)] * 20)) == 9
    assert not admission.observe(EngineLoad(steps=100, vacant=400), 1.0)
    assert not admission.open


def test_tokens_bound_what_gets_in():
    admission = Admission(INFO)
    assert len(enter(admission, *[Asked(100, 200, 200)] * 6)) < 4
    assert admission.tokens <= admission.token_limit


def test_a_request_larger_than_the_cache_runs_alone_or_with_one_other():
    admission = Admission(INFO)
    moon = work_of(admission, 0, Asked(5000, 10**9, 10**9))
    assert admission.enter(moon)
    assert admission.tokens == admission.token_limit // 2
    assert len(enter(admission, *[Asked(5000, 10**9, 10**9)] * 3, first=1)) == 1
    admission.leave(moon)
    assert admission.in_flight == 1


def test_a_request_of_more_sequences_than_the_batch_has_is_let_in():
    admission = Admission(ROOMY)
    work = work_of(admission, 0, Asked(10, 10, 10))
    work.estimate.sequences = 4096
    assert admission.enter(work)
    assert admission.sequences == admission.sequence_limit // 2


def test_what_was_learned_of_a_job_lets_more_of_it_in():
    admission = Admission(EngineInfo(("m",), frozenset(Endpoint), "f", kv_tokens=2000, max_sequences=64))
    before = enter(admission, *[Asked(40, 10, 4096)] * 64)
    for work in before:
        admission.leave(work)
        work.estimate.learn(Usage(40, 10))
    assert len(enter(admission, *[Asked(40, 10, 4096)] * 64, first=100)) > 2 * len(before)


def test_a_shared_prefix_counts_once_and_only_within_a_tenant():
    info = EngineInfo(("m",), frozenset(Endpoint), "f", kv_tokens=3000, max_sequences=64)
    alone, shared = Admission(info), Admission(info)
    apart = [Asked(660, 10, 10, shared=number + 1, shared_tokens=640) for number in range(16)]
    together = [Asked(660, 10, 10, shared=1, shared_tokens=640)] * 16
    assert len(enter(shared, *together)) > 3 * len(enter(alone, *apart))
    foreign = work_of(shared, 99, together[0])
    foreign.run.envelope = foreign.run.envelope.model_copy(update={"tenant": "other"})
    assert not shared.fits(foreign)


def test_a_limit_that_was_raised_is_told():
    admission = Admission(ROOMY)
    enter(admission, *[Asked(10, 10, 10)] * 20)
    assert not admission.observe(EngineLoad(running=4, steps=100), 1.0)
    assert admission.observe(EngineLoad(running=2, steps=200, vacant=200), 2.0)
    assert admission.open


@given(
    st.lists(st.tuples(st.integers(1, 800), st.integers(1, 3000), st.integers(0, 2)), max_size=40),
    st.integers(0, 3),
    st.randoms(),
)
def test_never_more_in_flight_than_the_limits_and_nothing_left_at_the_end(asked, concurrency, chance):
    admission = Admission(INFO, concurrency)
    inside = []
    for number, (prompt, answer, prefix) in enumerate(asked):
        work = work_of(admission, number, Asked(prompt, answer, answer, shared=prefix, shared_tokens=prompt // 2))
        fits = admission.fits(work)
        assert admission.enter(work) == fits
        if fits:
            inside.append(work)
        assert inside, "an empty engine takes anything"
        assert admission.sequences <= admission.sequence_limit
        if admission.token_limit and len(inside) > 1:
            assert admission.tokens <= admission.token_limit
        if inside and chance.random() < 0.3:
            gone = inside.pop(chance.randrange(len(inside)))
            admission.leave(gone)
            gone.estimate.learn(Usage(prompt, answer))
    for work in inside:
        admission.leave(work)
    assert (admission.in_flight, admission.sequences, admission.tokens) == (0, 0, 0)


@pytest.mark.parametrize("concurrency", [0, 3])
def test_an_empty_engine_is_open(concurrency):
    assert Admission(INFO, concurrency).open


def test_a_request_fits_whose_prefix_is_there_already():
    admission = Admission(EngineInfo(("m",), frozenset(Endpoint), "f", kv_tokens=3000, max_sequences=64))
    assert len(enter(admission, *[Asked(1060, 10, 10, 1, 1030)] * 3)) == 3


def test_requests_of_several_sequences_meet_the_limit_before_it_is_full():
    admission = Admission(ROOMY)
    works = [work_of(admission, number, Asked(10, 10, 10)) for number in range(4)]
    for work in works:
        work.estimate.sequences = 4
    assert [admission.enter(work) for work in works] == [True, True, False, False]
    assert admission.sequences == admission.sequence_limit
    admission.leave(works[0])
    single = work_of(admission, 9, Asked(10, 10, 10))
    assert admission.enter(single)
    assert not admission.enter(works[2])
    assert admission.sequences < admission.sequence_limit
    assert not admission.observe(EngineLoad(running=4, steps=100), 1.0)
    assert admission.observe(EngineLoad(running=2, steps=200, vacant=200), 2.0)


def test_by_hand_each_request_counts_as_one():
    admission = Admission(INFO, concurrency=3)
    works = [work_of(admission, number, Asked(10, 10)) for number in range(3)]
    for work in works:
        work.estimate.sequences = 4
        assert admission.enter(work)
    assert (admission.sequences, admission.sequence_limit) == (3, 3)
    for work in works:
        admission.leave(work)
    assert admission.sequences == 0
