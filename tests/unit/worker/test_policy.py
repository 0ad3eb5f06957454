"""The policy: which deliveries run, and how the others end."""

import math
from dataclasses import replace

import pytest

from backburner_schemas.codec import Origin, Refused, Unaddressed
from backburner_schemas.envelope import Address, AnswerMode, DeliveryFacts, Envelope
from backburner_schemas.errors import (
    Cancelled,
    EngineError,
    EngineLost,
    Expired,
    GenerationTooLong,
    PoisonRequest,
    RequestRefused,
    RunsElsewhere,
    Undeliverable,
    cut,
)
from backburner_schemas.job import JobManifest, Sealed
from backburner_schemas.names import Lane
from backburner_schemas.request import Endpoint
from backburner_worker.policy import (
    Complete,
    DeadLettered,
    Drop,
    JobFacts,
    Retry,
    RetryRules,
    Run,
    after_engine_death,
    after_failure,
    among_fewer,
    convicted,
    judge,
    runs_elsewhere,
)
from backburner_worker.sources.base import Delivery

MANIFEST = JobManifest(id="batch_1", tenant="t", created_at=0, deadline=1000)
SEALED = Sealed(total=10, sha256="", sealed_at=0)
FACTS = JobFacts.of(MANIFEST, SEALED)


def envelope(index: int | str = 3, deadline: float | None = None) -> Envelope:
    return Envelope(
        tenant="t",
        job="batch_1",
        index=index,
        custom_id="c",
        url=Endpoint.CHAT,
        body={"model": "m", "messages": []},
        deadline=deadline,
    )


def delivery(message: Envelope | Refused | Unaddressed) -> Delivery:
    return Delivery(message, b"raw", Origin("q", "0-1", 0.0), Lane.NORMAL, DeliveryFacts(), token=None)


def test_of_a_jobs_objects_what_decides_is_kept() -> None:
    manifest = MANIFEST.model_copy(update={"created_at": 5})
    assert JobFacts.of(manifest, SEALED, frozen=True) == JobFacts(5, 1000, 10, True)
    assert JobFacts.of(manifest) == JobFacts(5, 1000, None, False)


def test_what_is_known_of_a_job_without_a_manifest_is_kept_too() -> None:
    assert JobFacts.of(None, SEALED, frozen=True) == JobFacts(None, math.inf, 10, True)
    assert JobFacts.of(None) == JobFacts()


def test_a_good_request_runs() -> None:
    verdict = judge(delivery(envelope()), FACTS, now=999)
    assert verdict == Run(envelope(), AnswerMode.SEGMENT, deadline=1000)


def test_a_message_without_an_address_is_a_dead_letter() -> None:
    error = Undeliverable()
    assert judge(delivery(Unaddressed(error)), JobFacts(), now=0) == DeadLettered(None, error)


def test_a_refused_message_ends_as_one_error_record() -> None:
    refused = Refused(Address("t", "batch_1", 3, None), RequestRefused())
    assert judge(delivery(refused), FACTS, now=0) == Complete(refused.address, refused.error)


@pytest.mark.parametrize("index", [10, 11, "abc"])
def test_an_index_that_the_job_does_not_have_is_a_dead_letter(index: int | str) -> None:
    verdict = judge(delivery(envelope(index)), FACTS, now=0)
    assert isinstance(verdict, DeadLettered)
    assert verdict.address is None


def test_a_string_index_is_fine_in_a_stream() -> None:
    assert isinstance(judge(delivery(envelope("0-7")), JobFacts(), now=0), Run)


def test_a_cancelled_job_drops_what_waits() -> None:
    verdict = judge(delivery(envelope()), replace(FACTS, cancelled=True), now=0)
    assert isinstance(verdict, Complete)
    assert isinstance(verdict.error, Cancelled)


@pytest.mark.parametrize(("deadline", "now"), [(None, 1001), (5, 6), (2000, 1001)])
def test_an_expired_request_is_never_run(deadline: float | None, now: float) -> None:
    verdict = judge(delivery(envelope(deadline=deadline)), FACTS, now=now)
    assert isinstance(verdict, Complete)
    assert isinstance(verdict.error, Expired)


def test_a_delivery_of_a_frozen_job_is_dropped() -> None:
    assert judge(delivery(envelope()), JobFacts.of(MANIFEST, SEALED, frozen=True), now=0) == Drop()


def test_a_record_of_a_job_with_a_manifest_goes_into_a_segment_whatever_the_envelope_asks() -> None:
    asked = envelope().model_copy(update={"answer": AnswerMode.OBJECT})
    assert judge(delivery(asked), FACTS, now=0) == Run(asked, AnswerMode.SEGMENT, deadline=1000)
    assert judge(delivery(asked), JobFacts(), now=0) == Run(asked, AnswerMode.OBJECT)


def test_a_job_whose_objects_cannot_be_read_has_no_place_for_a_request() -> None:
    assert isinstance(judge(delivery(envelope()), JobFacts(unreadable=True), now=0), DeadLettered)


@pytest.mark.parametrize(("own", "jobs", "first"), [(None, 1000, 1000), (5, 1000, 5), (2000, 1000, 1000)])
def test_the_earlier_of_two_deadlines_counts(own: float | None, jobs: float, first: float) -> None:
    manifest = MANIFEST.model_copy(update={"deadline": jobs})
    verdict = judge(delivery(envelope(deadline=own)), JobFacts.of(manifest, SEALED), now=0)
    assert isinstance(verdict, Run)
    assert verdict.deadline == first


def test_by_a_clock_that_is_not_known_nothing_is_late() -> None:
    assert isinstance(judge(delivery(envelope(deadline=1.0)), FACTS, now=-math.inf), Run)


@pytest.mark.parametrize(("trusted", "kind"), [(True, DeadLettered), (False, Retry)])
def test_a_retry_is_held_against_the_deadline_where_the_clock_is_trusted(trusted: bool, kind: type) -> None:
    run = Run(envelope(), AnswerMode.SEGMENT, deadline=1000.0)
    ending = after_failure(
        run, EngineError(), DeliveryFacts(), now=5000.0, trusted=trusted, rules=RetryRules(), chance=0.5
    )
    assert isinstance(ending, kind)


def test_a_failure_of_the_engine_that_no_attempt_would_mend_is_a_dead_letter() -> None:
    run, error = Run(envelope(), AnswerMode.OBJECT), PoisonRequest()
    ending = after_failure(run, error, DeliveryFacts(), now=0.0, rules=RetryRules(), chance=0.5)
    assert ending == DeadLettered(run.envelope.address, error, AnswerMode.OBJECT)


def test_a_suspect_needs_no_time_for_a_wait_before_its_deadline() -> None:
    run, facts = Run(envelope(), AnswerMode.SEGMENT, deadline=1000.0), DeliveryFacts(attempt=4, suspect=True)
    ending = after_failure(run, EngineError(), facts, now=999.0, rules=RetryRules(), chance=1.0)
    assert isinstance(ending, Retry)


# --- to the letter ----------------------------------------------------------------------------------------

OBJECT = envelope().model_copy(update={"answer": AnswerMode.OBJECT})
NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("index", "facts", "message"),
    [
        (
            3,
            JobFacts(unreadable=True),
            "the objects of job batch_1 in the store cannot be read; check its job.json and sealed.json",
        ),
        ("abc", JobFacts.of(MANIFEST), "job batch_1 has a manifest, so its indexes are integers; 'abc' is none"),
        (10, FACTS, "job batch_1 has 10 requests; there is no index 10"),
    ],
)
def test_a_dead_letter_says_why_its_job_has_no_place_for_it(index: int | str, facts: JobFacts, message: str) -> None:
    verdict = judge(delivery(envelope(index)), facts, now=0)
    assert isinstance(verdict, DeadLettered)
    assert isinstance(verdict.error, Undeliverable)
    assert verdict.error.message == message


def test_the_last_index_of_a_sealed_job_and_any_of_an_open_one_run() -> None:
    assert isinstance(judge(delivery(envelope(9)), FACTS, now=0), Run)
    assert isinstance(judge(delivery(envelope(10)), JobFacts.of(MANIFEST), now=0), Run)


@pytest.mark.parametrize(
    ("facts", "now", "kind"), [(JobFacts(cancelled=True), 0.0, Cancelled), (JobFacts(), 6.0, Expired)]
)
def test_what_is_not_run_is_answered_where_its_sender_looks(facts: JobFacts, now: float, kind: type) -> None:
    asked = OBJECT.model_copy(update={"deadline": 5.0})
    verdict = judge(delivery(asked), facts, now)
    assert isinstance(verdict, Complete)
    assert (verdict.address, verdict.answer) == (asked.address, AnswerMode.OBJECT)
    assert isinstance(verdict.error, kind)


def test_a_refusal_is_answered_where_its_sender_looks() -> None:
    refused = Refused(Address("t", "single-1", 0, None), RequestRefused(), AnswerMode.OBJECT)
    assert judge(delivery(refused), JobFacts(), now=0) == Complete(refused.address, refused.error, AnswerMode.OBJECT)


def test_a_request_runs_until_its_deadline_has_passed() -> None:
    assert isinstance(judge(delivery(envelope(deadline=5.0)), JobFacts(), now=5.0), Run)
    assert isinstance(judge(delivery(envelope(deadline=5.0)), JobFacts(), now=5.5), Complete)


def failed(error: EngineError, facts: DeliveryFacts, *, deadline: float = math.inf) -> Complete | Retry | DeadLettered:
    run = Run(OBJECT, AnswerMode.OBJECT, deadline)
    return after_failure(run, error, facts, now=NOW, rules=RetryRules(max_attempts=3), chance=0.5)


def test_a_retry_keeps_all_that_is_known_and_waits_a_part_of_the_back_off() -> None:
    facts = DeliveryFacts(2, False, 7.0, "trace", ("a/1",))
    error = EngineError()
    later = DeliveryFacts(3, False, NOW + 1.0, "trace", ("a/1",))
    assert failed(error, facts) == Retry(OBJECT, later, error, AnswerMode.OBJECT)


def test_a_retry_at_the_very_deadline_is_still_tried() -> None:
    assert isinstance(failed(EngineError(), DeliveryFacts(1), deadline=NOW + 0.5), Retry)
    assert isinstance(failed(EngineError(), DeliveryFacts(1), deadline=NOW + 0.25), DeadLettered)


@pytest.mark.parametrize(
    ("error", "attempt", "deadline", "message"),
    [
        (EngineError("out", param="n"), 3, math.inf, "out (given up after 3 attempts: no more are allowed)"),
        (GenerationTooLong("long", param="n"), 2, math.inf, "long (given up after 2 attempts: no more are allowed)"),
        (
            EngineError("out", param="n"),
            1,
            NOW,
            "out (given up after 1 attempt: the next would come after the deadline)",
        ),
    ],
)
def test_a_dead_letter_says_why_it_was_given_up(
    error: EngineError, attempt: int, deadline: float, message: str
) -> None:
    verdict = failed(error, DeliveryFacts(attempt), deadline=deadline)
    assert isinstance(verdict, DeadLettered)
    assert (verdict.address, verdict.answer) == (OBJECT.address, AnswerMode.OBJECT)
    assert (type(verdict.error), verdict.error.message, verdict.error.param) == (type(error), message, "n")


def test_an_error_may_be_tried_again_less_often_than_the_rules_allow() -> None:
    assert isinstance(failed(GenerationTooLong(), DeliveryFacts(1)), Retry)


def test_a_long_error_leaves_room_for_why_it_was_given_up() -> None:
    verdict = failed(EngineError("x" * 1024), DeliveryFacts(3))
    assert isinstance(verdict, DeadLettered)
    why = " (given up after 3 attempts: no more are allowed)"
    quoted = verdict.error.message.removesuffix(why)
    assert quoted == cut("x" * 1024, 900)
    assert len(verdict.error.message.encode()) <= EngineError.max_message_bytes


def test_a_suspect_is_convicted_with_a_record_where_its_sender_looks() -> None:
    verdict = convicted(Run(OBJECT, AnswerMode.OBJECT))
    assert (verdict.address, verdict.answer) == (OBJECT.address, AnswerMode.OBJECT)
    assert isinstance(verdict.error, PoisonRequest)


def test_an_innocent_of_an_engines_death_goes_back_as_a_suspect_at_once() -> None:
    for ending in (
        after_engine_death(Run(OBJECT, AnswerMode.OBJECT), DeliveryFacts(2, False, 7.0, "trace", ("a/1",))),
        failed(EngineLost(), DeliveryFacts(2, False, 7.0, "trace", ("a/1",))),
    ):
        assert isinstance(ending, Retry)
        assert isinstance(ending.error, EngineLost)
        assert (ending.envelope, ending.answer) == (OBJECT, AnswerMode.OBJECT)
        assert ending.facts == DeliveryFacts(3, True, None, "trace", ("a/1",), among=1)


def test_a_suspect_that_an_engine_died_under_is_convicted_only_if_it_was_alone_and_nobody_was_stopping() -> None:
    run, suspect = Run(OBJECT, AnswerMode.OBJECT), DeliveryFacts(2, True, None, "trace", ("a/1",), among=4)
    for alone in (after_engine_death(run, suspect), after_engine_death(run, suspect, 1)):
        assert isinstance(alone, DeadLettered)
        assert isinstance(alone.error, PoisonRequest)
    for together, stopping in ((2, False), (1, True)):
        ending = after_engine_death(run, suspect, together, stopping=stopping)
        assert isinstance(ending, Retry)
        assert ending.facts == replace(suspect, attempt=3, among=together)


def test_a_suspect_that_fails_otherwise_is_tried_at_once_and_among_as_few() -> None:
    error, suspect = EngineError(), DeliveryFacts(2, True, 7.0, "trace", ("a/1",), among=4)
    later = replace(suspect, attempt=3, not_before=None)
    assert failed(error, suspect) == Retry(OBJECT, later, error, AnswerMode.OBJECT)


def test_a_suspect_of_a_worker_that_vanished_runs_among_fewer_and_this_counts_no_attempt() -> None:
    suspect = DeliveryFacts(2, True, 7.0, "trace", ("a/1",), among=8)
    retry = among_fewer(Run(OBJECT, AnswerMode.OBJECT), suspect, 4)
    assert (retry.envelope, retry.answer) == (OBJECT, AnswerMode.OBJECT)
    assert retry.facts == DeliveryFacts(2, True, None, "trace", ("a/1",), among=4)
    assert isinstance(retry.error, EngineLost)


def test_a_copy_of_a_suspect_that_runs_elsewhere_waits_a_minute_and_counts_no_attempt() -> None:
    facts = DeliveryFacts(2, True, None, "trace", ("a/1",))
    retry = runs_elsewhere(Run(OBJECT, AnswerMode.OBJECT), facts, NOW)
    assert isinstance(retry.error, RunsElsewhere)
    assert (retry.envelope, retry.answer) == (OBJECT, AnswerMode.OBJECT)
    assert retry.facts == DeliveryFacts(2, True, NOW + 60.0, "trace", ("a/1",))
    assert (retry.has_failed, retry.code, retry.kind) == (False, "runs_elsewhere", "retried")
    assert Retry(OBJECT, facts, EngineError()).has_failed


def test_the_back_off_stops_doubling_before_a_float_overflows() -> None:
    rules = RetryRules(base=1.0, longest=1e12)
    assert [rules.delay(attempt, 1.0) for attempt in (32, 33, 34, 10_000)] == [2.0**31, 2.0**32, 2.0**32, 2.0**32]
