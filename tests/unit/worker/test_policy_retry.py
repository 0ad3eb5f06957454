"""The policy of retries: error, attempt, deadline and suspect, over the whole space."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.envelope import MAX_ATTEMPTS, AnswerMode, DeliveryFacts, Envelope
from backburner_schemas.errors import (
    BackburnerError,
    ContextLengthExceeded,
    EngineBusy,
    EngineError,
    EngineLost,
    GenerationAborted,
    PoisonRequest,
    RequestRefused,
)
from backburner_worker.policy import (
    Complete,
    DeadLettered,
    Retry,
    RetryRules,
    Run,
    after_engine_death,
    after_failure,
)

ENVELOPE = Envelope(tenant="t", job="batch_1", index=3, custom_id="c", url="/v1/completions", body={"model": "m"})
FOR_NOW = (EngineError, EngineBusy, GenerationAborted)
FOR_GOOD = (RequestRefused, ContextLengthExceeded, BackburnerError)
NOW = 1_000_000.0

errors = st.sampled_from([*FOR_NOW, *FOR_GOOD, PoisonRequest, EngineLost]).map(lambda kind: kind("it failed"))
facts = st.builds(
    DeliveryFacts,
    attempt=st.integers(1, MAX_ATTEMPTS),
    suspect=st.booleans(),
    not_before=st.none() | st.floats(0, 2 * NOW),
    traceparent=st.none() | st.text(min_size=1, max_size=5),
    among=st.integers(0, 300),
)
rules = st.builds(
    RetryRules, max_attempts=st.integers(1, MAX_ATTEMPTS), base=st.floats(0.001, 1000), longest=st.floats(0.001, 60)
)
runs = st.builds(
    Run,
    st.just(ENVELOPE),
    st.sampled_from(AnswerMode),
    st.just(math.inf) | st.floats(NOW - 100, NOW + 100),
)
chances = st.floats(0, 1)


@given(runs, errors, facts, rules, chances)
def test_every_failure_ends_or_is_tried_again_within_its_bounds(
    run: Run, error: BackburnerError, facts: DeliveryFacts, rules: RetryRules, chance: float
) -> None:
    verdict = after_failure(run, error, facts, now=NOW, rules=rules, chance=chance)
    if isinstance(error, FOR_GOOD) and not isinstance(error, EngineError):
        assert verdict == Complete(ENVELOPE.address, error, run.answer)
    elif isinstance(error, PoisonRequest):
        assert verdict == DeadLettered(ENVELOPE.address, error, run.answer)
    elif isinstance(error, EngineLost):
        assert type(verdict) is type(after_engine_death(run, facts))
    elif isinstance(verdict, Retry):
        _check_retry(verdict, run, facts, rules)
    else:
        assert isinstance(verdict, DeadLettered)
        assert (verdict.address, verdict.answer) == (ENVELOPE.address, run.answer)
        assert type(verdict.error) is type(error)
        assert error.message in verdict.error.message
        assert f"{facts.attempt} attempt" in verdict.error.message
        spent = facts.attempt >= rules.max_attempts
        assert spent or run.deadline < NOW + rules.longest


def _check_retry(retry: Retry, run: Run, facts: DeliveryFacts, rules: RetryRules) -> None:
    assert retry.envelope is ENVELOPE
    assert retry.facts.attempt == facts.attempt + 1 <= rules.max_attempts
    assert retry.facts.suspect is facts.suspect
    assert retry.facts.traceparent == facts.traceparent
    assert retry.facts.among == facts.among
    if facts.suspect:
        assert retry.facts.not_before is None
        assert run.deadline >= NOW
    else:
        assert retry.facts.not_before is not None
        assert NOW <= retry.facts.not_before <= min(run.deadline, NOW + rules.longest)


@given(runs, facts, chances)
def test_a_request_is_tried_as_often_as_the_rules_allow_and_no_more(
    run: Run, first: DeliveryFacts, chance: float
) -> None:
    rules = RetryRules(max_attempts=MAX_ATTEMPTS)
    run = Run(run.envelope, run.answer)
    tried, verdict = first, None
    while not isinstance(verdict, DeadLettered):
        verdict = after_failure(run, EngineBusy(), tried, now=NOW, rules=rules, chance=chance)
        if isinstance(verdict, Retry):
            tried = verdict.facts
    assert tried.attempt == MAX_ATTEMPTS


@given(runs, facts, st.integers(1, 300))
def test_an_engines_death_convicts_a_suspect_that_was_alone_and_makes_suspects_of_all_others(
    run: Run, facts: DeliveryFacts, together: int
) -> None:
    verdict = after_engine_death(run, facts, together)
    if facts.suspect and together == 1:
        assert isinstance(verdict, DeadLettered)
        assert (verdict.address, verdict.answer) == (ENVELOPE.address, run.answer)
        assert isinstance(verdict.error, PoisonRequest)
    else:
        assert isinstance(verdict, Retry)
        # Bounded as headers are, and looked at by nobody else: an innocent is put back however often it comes.
        assert verdict.facts == DeliveryFacts(
            min(facts.attempt + 1, MAX_ATTEMPTS),
            suspect=True,
            not_before=None,
            traceparent=facts.traceparent,
            among=together,
        )
        assert verdict.code == "engine_lost"


def test_a_suspect_waits_for_nothing_and_so_not_past_its_deadline() -> None:
    run, rules = Run(ENVELOPE, AnswerMode.SEGMENT, NOW + 5), RetryRules(base=60.0)
    others, suspects = (
        after_failure(run, EngineBusy(), DeliveryFacts(suspect=suspect), now=NOW, rules=rules, chance=1.0)
        for suspect in (False, True)
    )
    assert isinstance(others, DeadLettered)
    assert isinstance(suspects, Retry)


@given(rules, st.integers(1, 10_000), chances)
def test_the_wait_is_never_longer_than_it_may_be(rules: RetryRules, attempt: int, chance: float) -> None:
    assert 0 <= rules.delay(attempt, chance) <= rules.longest
    assert rules.delay(attempt, 1.0) <= rules.delay(attempt + 1, 1.0)


@pytest.mark.parametrize(("attempt", "most"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (99, 60)])
def test_the_wait_doubles_with_full_jitter(attempt: int, most: float) -> None:
    rules = RetryRules(base=1.0, longest=60.0)
    assert rules.delay(attempt, 1.0) == most
    assert rules.delay(attempt, 0.5) == most / 2
    assert rules.delay(attempt, 0.0) == 0
