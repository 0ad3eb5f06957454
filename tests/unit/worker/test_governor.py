"""The governor: its limits come to what keeps the engine busy with little waiting in it, and stay within bounds."""

import random

import pytest
from admission_simulation import Asked, pace_info, simulate, spread
from hypothesis import given
from hypothesis import strategies as st

from backburner_worker.admission.admission import Admission
from backburner_worker.admission.governor import Bound, Governor
from backburner_worker.engine.base import EngineLoad
from backburner_worker.engine.fake.model import Pace

BATCH = Pace(sequences=64, kv=65_536)
TIGHT = Pace(sequences=64, kv=8192)
HANDS = (8, 16, 32, 64, 128)


def short_answers():
    chance = random.Random(1)
    return [Asked(chance.randint(20, 60), spread(chance, 60, 256), 256) for _ in range(1000)]


def long_answers():
    chance = random.Random(2)
    return [Asked(chance.randint(100, 300), spread(chance, 200, 4096)) for _ in range(600)]


def long_prompts():
    chance = random.Random(3)
    return [Asked(chance.randint(600, 1800), spread(chance, 20, 256), 256) for _ in range(600)]


def shared_prefixes():
    chance = random.Random(4)
    return [
        Asked(650, spread(chance, 60, 256), 256, shared=1 + number // 16, shared_tokens=600) for number in range(800)
    ]


def two_jobs():
    chance = random.Random(5)
    short = lambda: Asked(chance.randint(20, 60), spread(chance, 40, 256), 256, job="short")  # noqa: E731
    long = lambda: Asked(chance.randint(300, 600), spread(chance, 200, 4096), job="long")  # noqa: E731
    return [short() if chance.random() < 0.5 else long() for _ in range(800)]


@pytest.mark.parametrize(
    ("pace", "requests"),
    [
        (BATCH, short_answers),
        (TIGHT, long_answers),
        (TIGHT, long_prompts),
        (Pace(sequences=64, kv=4096), shared_prefixes),
        (TIGHT, two_jobs),
    ],
)
def test_auto_is_within_three_percent_of_the_best_hand_setting(pace, requests):
    best = min(simulate(pace, requests(), hand).seconds for hand in HANDS)
    assert best / simulate(pace, requests()).seconds >= 0.97


def test_where_prefill_is_slow_the_cache_is_not_crowded():
    pace = Pace(prefill=600, step=0.03, sequence=0.0005, sequences=64, kv=8192)
    requests = [Asked(200, 500, 500) for _ in range(600)]
    crowded = simulate(pace, requests, 64).seconds
    assert crowded / simulate(pace, requests).seconds >= 1.1


def test_what_always_waits_in_the_engine_is_taken_out():
    admission = Admission(pace_info(BATCH))
    found = simulate(BATCH, short_answers() * 4, admission=admission)
    settled = found.waiting[len(found.waiting) // 2 : -40]
    assert max(settled) <= 12
    assert admission.sequence_limit < 80


def test_equal_answers_that_end_all_at_once_find_the_next_ones_waiting():
    pace = Pace(sequences=16, kv=65_536)
    requests = [Asked(20, 30, 30)] * 800
    assert simulate(pace, requests, 32).seconds / simulate(pace, requests).seconds >= 0.97


def test_an_engine_that_holds_far_less_than_expected_is_not_left_with_a_queue():
    admission = Admission(pace_info(TIGHT))
    admission._governor.tokens = TIGHT.kv * 16
    found = simulate(TIGHT, long_answers() * 2, admission=admission)
    assert max(found.waiting[-200:-40]) <= 24


def load(steps, **told):
    return EngineLoad(steps=steps, **told)


def test_places_that_stand_empty_for_want_of_requests_raise_the_bound_that_holds_back():
    for bound in Bound:
        governor = Governor(pace_info(BATCH))
        before = (governor.sequences, governor.tokens)
        governor.observe(load(0, kv_used=0.3), bound, 0.0, ended=0, inside=50, tokens=1000)
        assert governor.observe(load(100, kv_used=0.3, vacant=1400), bound, 1.0, ended=40, inside=50, tokens=1000)
        after = (governor.sequences, governor.tokens)
        assert [now > then for now, then in zip(after, before, strict=True)] == [
            bound is Bound.SEQUENCES,
            bound is Bound.TOKENS,
        ]


def test_nothing_moves_while_nothing_is_held_back():
    governor = Governor(pace_info(BATCH))
    before = (governor.sequences, governor.tokens)
    for step in range(100):
        assert not governor.observe(load(step * 10, vacant=600 * step), None, step, ended=step, inside=1, tokens=10)
    assert (governor.sequences, governor.tokens) == before


def test_a_queue_that_was_needed_once_in_a_turn_stays():
    governor = Governor(pace_info(BATCH))
    for step in range(1, 40):
        least = 0 if step % 4 == 0 else 30
        told = load(step * 10, running=64, waiting=32, least_waiting=least)
        governor.observe(told, Bound.SEQUENCES, step, ended=step * 24, inside=96, tokens=9000)
    assert governor.sequences == 96


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, *Bound]),
            st.integers(0, 200),
            st.integers(0, 300),
            st.floats(0, 1),
            st.floats(0, 1),
            st.integers(0, 100),
        ),
        max_size=60,
    )
)
def test_limits_stay_within_their_bounds_whatever_is_told(told):
    governor = Governor(pace_info(BATCH))
    steps = vacant = ended = generated = 0
    for number, (bound, more, waiting, kv_used, empty, done) in enumerate(told):
        steps += more
        vacant += int(more * empty * BATCH.sequences)
        ended += done
        generated += done * 50
        now = load(steps, waiting=waiting, least_waiting=waiting, kv_used=kv_used, vacant=vacant, generated=generated)
        governor.observe(now, bound, number, ended=ended, inside=96, tokens=5000)
        assert BATCH.sequences <= governor.sequences <= 4 * BATCH.sequences
        assert BATCH.kv // 4 <= governor.tokens <= 16 * BATCH.kv
