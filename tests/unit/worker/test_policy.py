"""The policy: which deliveries run, and how the others end."""

import math

import pytest

from backburner_schemas.codec import Origin, Refused, Unaddressed
from backburner_schemas.envelope import Address, AnswerMode, DeliveryFacts, Envelope
from backburner_schemas.errors import (
    Cancelled,
    EngineError,
    Expired,
    RequestRefused,
    Undeliverable,
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
    after_failure,
    judge,
)
from backburner_worker.sources.base import Delivery

MANIFEST = JobManifest(id="batch_1", tenant="t", created_at=0, deadline=1000)
SEALED = Sealed(total=10, sha256="", sealed_at=0)


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


def test_a_good_request_runs() -> None:
    verdict = judge(delivery(envelope()), JobFacts(MANIFEST, SEALED), now=999)
    assert verdict == Run(envelope(), AnswerMode.SEGMENT, deadline=1000)


def test_a_message_without_an_address_is_a_dead_letter() -> None:
    error = Undeliverable()
    assert judge(delivery(Unaddressed(error)), JobFacts(), now=0) == DeadLettered(None, error)


def test_a_refused_message_ends_as_one_error_record() -> None:
    refused = Refused(Address("t", "batch_1", 3, None), RequestRefused())
    assert judge(delivery(refused), JobFacts(MANIFEST, SEALED), now=0) == Complete(refused.address, refused.error)


@pytest.mark.parametrize("index", [10, 11, "abc"])
def test_an_index_that_the_job_does_not_have_is_a_dead_letter(index: int | str) -> None:
    verdict = judge(delivery(envelope(index)), JobFacts(MANIFEST, SEALED), now=0)
    assert isinstance(verdict, DeadLettered)
    assert verdict.address is None


def test_a_string_index_is_fine_in_a_stream() -> None:
    assert isinstance(judge(delivery(envelope("0-7")), JobFacts(), now=0), Run)


def test_a_cancelled_job_drops_what_waits() -> None:
    verdict = judge(delivery(envelope()), JobFacts(MANIFEST, SEALED, cancelled=True), now=0)
    assert isinstance(verdict, Complete)
    assert isinstance(verdict.error, Cancelled)


@pytest.mark.parametrize(("deadline", "now"), [(None, 1001), (5, 6), (2000, 1001)])
def test_an_expired_request_is_never_run(deadline: float | None, now: float) -> None:
    verdict = judge(delivery(envelope(deadline=deadline)), JobFacts(MANIFEST, SEALED), now=now)
    assert isinstance(verdict, Complete)
    assert isinstance(verdict.error, Expired)


def test_a_delivery_of_a_frozen_job_is_dropped() -> None:
    assert judge(delivery(envelope()), JobFacts(MANIFEST, SEALED, frozen=True), now=0) == Drop()


def test_a_record_of_a_job_with_a_manifest_goes_into_a_segment_whatever_the_envelope_asks() -> None:
    asked = envelope().model_copy(update={"answer": AnswerMode.OBJECT})
    assert judge(delivery(asked), JobFacts(MANIFEST, SEALED), now=0) == Run(asked, AnswerMode.SEGMENT, deadline=1000)
    assert judge(delivery(asked), JobFacts(), now=0) == Run(asked, AnswerMode.OBJECT)


def test_a_job_whose_objects_cannot_be_read_has_no_place_for_a_request() -> None:
    assert isinstance(judge(delivery(envelope()), JobFacts(unreadable=True), now=0), DeadLettered)


@pytest.mark.parametrize(("own", "jobs", "first"), [(None, 1000, 1000), (5, 1000, 5), (2000, 1000, 1000)])
def test_the_earlier_of_two_deadlines_counts(own: float | None, jobs: float, first: float) -> None:
    manifest = MANIFEST.model_copy(update={"deadline": jobs})
    verdict = judge(delivery(envelope(deadline=own)), JobFacts(manifest, SEALED), now=0)
    assert isinstance(verdict, Run)
    assert verdict.deadline == first


def test_by_a_clock_that_is_not_known_nothing_is_late() -> None:
    assert isinstance(judge(delivery(envelope(deadline=1.0)), JobFacts(MANIFEST, SEALED), now=-math.inf), Run)


@pytest.mark.parametrize(("trusted", "kind"), [(True, DeadLettered), (False, Retry)])
def test_a_retry_is_held_against_the_deadline_where_the_clock_is_trusted(trusted: bool, kind: type) -> None:
    run = Run(envelope(), AnswerMode.SEGMENT, deadline=1000.0)
    ending = after_failure(
        run, EngineError(), DeliveryFacts(), now=5000.0, trusted=trusted, rules=RetryRules(), chance=0.5
    )
    assert isinstance(ending, kind)
