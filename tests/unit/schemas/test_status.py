"""What a job is doing and how it ends: the decision table, and a model that is too plain to be wrong."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import (
    Counts,
    Cursor,
    Estimate,
    InputError,
    JobManifest,
    JobState,
    Sealed,
    StoredInput,
    Summary,
    UsageTotals,
    Waiting,
    WaitReason,
)
from backburner_schemas.keys import SegmentName
from backburner_schemas.segment import Line, digest_of
from backburner_schemas.segment_tally import SegmentTally
from backburner_schemas.status import (
    ABANDONED_AFTER_SECONDS,
    MAX_UNCONFIRMED_REQUESTS,
    Clock,
    JobView,
    Usage,
    decide_freeze,
    derive,
    must_read_digests,
)

CREATED, DEADLINE, GRACE = 1_000.0, 5_000.0, 180.0


def watched(now, **changes):
    """The clock of an observer that has seen all there is to see for the whole grace."""
    return Clock(now, GRACE, **{"cancelled_for": GRACE, "overdue_for": GRACE, **changes})


EARLY, LATE = watched(CREATED + 60), watched(DEADLINE + GRACE + 1)
OUTCOMES = ["ok", "engine_error", "expired", "cancelled"]


def job(segments=(), *, total=None, count=None, cancelled_at=None, summary=None, stored=None, planned=None):
    """A view of a job and its segments' digests; a segment is a list of (index, outcome)."""
    digests = [
        digest_of([Line(index, b"{}", None if outcome == "ok" else outcome) for index, outcome in lines])
        for lines in segments
    ]
    names = tuple(
        str(SegmentName("0" * 26, number, ok, len(lines) - ok, 7, 3, 1500))
        for number, lines in enumerate(segments)
        for ok in [sum(outcome == "ok" for _, outcome in lines)]
    )
    view = JobView(
        manifest=JobManifest(
            id="batch_1", tenant="t", created_at=CREATED, deadline=DEADLINE, metadata={"k": "v"}, stored=stored
        ),
        cursor=Cursor(count=count, total=planned) if count is not None else None,
        sealed=Sealed(total=total, sha256="", sealed_at=CREATED + 1) if total is not None else None,
        cancelled_at=cancelled_at,
        segments=names,
        summary=summary,
    )
    return view, digests


def tallied(view, digests):
    tally = SegmentTally(view.manifest.id, below=view.most)
    for digest in digests:
        tally.add(digest)
    return tally


def frozen(*segments, clock=EARLY, **facts):
    view, digests = job(segments, **facts)
    return decide_freeze(view, tallied(view, digests), clock)


# --- the decision table -----------------------------------------------------------------------------------


def test_a_whole_sealed_job_is_completed_at_once():
    summary = frozen([(0, "ok"), (2, "ok")], [(1, "ok")], total=3)
    assert summary.state is JobState.COMPLETED
    assert summary.counts == Counts(total=3, completed=3, failed=0)
    assert (summary.missing, summary.missing_code) == (IndexSet(), None)
    assert len(summary.segments) == 2
    assert summary.usage == UsageTotals(prompt_tokens=14, completion_tokens=6, engine_seconds=3.0)
    assert summary.finalized_at == EARLY.now


def test_a_job_is_completed_however_many_failed():
    summary = frozen([(0, "engine_error"), (1, "engine_error")], total=2)
    assert (summary.state, summary.counts) == (JobState.COMPLETED, Counts(total=2, completed=0, failed=2))


def test_an_empty_sealed_job_is_completed():
    assert frozen(total=0).state is JobState.COMPLETED


def test_records_beyond_the_first_of_their_index_are_counted_as_duplicates():
    assert frozen([(0, "ok"), (1, "ok")], [(2, "ok")], total=3).duplicates == 0
    twice = [(0, "ok"), (1, "engine_error")]
    assert frozen(twice, [(0, "ok"), (1, "ok"), (2, "ok")], [(0, "ok")], total=3).duplicates == 3
    # A stray is no record of the job.
    assert frozen([(0, "ok"), (9, "ok")], [(9, "ok")], total=1).duplicates == 0


def test_a_job_that_runs_is_not_frozen():
    assert frozen([(0, "ok")], total=2) is None
    assert frozen([(0, "ok")], count=1) is None
    assert frozen() is None


def test_a_job_that_is_frozen_is_not_frozen_again():
    done = frozen([(0, "ok")], total=1)
    assert frozen([(0, "ok")], total=1, summary=done) is None


def test_past_deadline_and_grace_what_is_missing_is_expired():
    summary = frozen([(0, "ok"), (3, "engine_error")], total=5, clock=LATE)
    assert summary.state is JobState.EXPIRED
    assert summary.counts == Counts(total=5, completed=1, failed=4)
    assert (str(summary.missing), summary.missing_code) == ("1-2,4", "expired")


def test_late_results_have_the_grace_after_a_deadline():
    assert frozen([(0, "ok")], total=2, clock=watched(DEADLINE + GRACE)) is None


def test_a_deadline_waits_for_its_grace_by_the_observers_own_clock_too():
    # Two days ahead, a clock says that every grace is over; this one has watched for less than it.
    ahead = DEADLINE + 2 * 86_400.0
    for seen_for in (0.0, GRACE - 1):
        assert frozen([(0, "ok")], total=2, clock=watched(ahead, overdue_for=seen_for)) is None
    assert frozen([(0, "ok")], total=2, clock=watched(ahead)).state is JobState.EXPIRED


def test_a_cancel_waits_for_its_grace_by_the_observers_own_clock_too():
    ahead = CREATED + 2 * GRACE
    for seen_for in (0.0, GRACE - 1):
        late = watched(ahead, cancelled_for=seen_for)
        assert frozen([(0, "ok")], total=2, cancelled_at=CREATED, clock=late) is None
    assert frozen([(0, "ok")], total=2, cancelled_at=CREATED, clock=watched(ahead)).state is JobState.CANCELLED


def test_by_a_clock_that_is_not_trusted_nothing_is_over_but_what_is_whole():
    never = watched(DEADLINE + 10 * GRACE, trusted=False)
    assert frozen([(0, "ok")], total=2, clock=never) is None
    assert frozen([(0, "ok")], total=2, cancelled_at=CREATED, clock=never) is None
    assert frozen([(0, "ok")], total=1, clock=never).state is JobState.COMPLETED


def test_a_cancel_without_a_grace_needs_no_clock():
    view, digests = job([[(0, "ok")]], total=2, cancelled_at=CREATED)
    assert decide_freeze(view, tallied(view, digests), Clock(0.0, 0.0, trusted=False)).state is JobState.CANCELLED


def test_an_expired_record_alone_makes_the_job_expired():
    summary = frozen([(0, "ok"), (1, "expired")], total=2)
    assert (summary.state, summary.missing_code) == (JobState.EXPIRED, None)


def test_a_cancel_waits_for_its_grace_and_then_takes_what_is_missing():
    assert frozen([(0, "ok")], total=2, cancelled_at=EARLY.now - GRACE) is None
    summary = frozen([(0, "ok")], total=2, cancelled_at=EARLY.now - GRACE - 1)
    assert (summary.state, str(summary.missing), summary.missing_code) == (JobState.CANCELLED, "1", "cancelled")


def test_cancelled_records_that_make_the_job_whole_end_it_without_waiting():
    summary = frozen([(0, "ok"), (1, "cancelled")], total=2, cancelled_at=EARLY.now)
    assert (summary.state, summary.missing_code) == (JobState.CANCELLED, None)


def test_a_cancel_that_came_too_late_changes_nothing():
    assert frozen([(0, "ok")], total=1, cancelled_at=EARLY.now).state is JobState.COMPLETED
    assert frozen([(0, "expired")], total=1, cancelled_at=EARLY.now).state is JobState.EXPIRED


def test_a_cancelled_record_without_a_marker_is_a_failure_like_others():
    assert frozen([(0, "cancelled")], total=1).state is JobState.COMPLETED


def test_a_job_never_sealed_is_expired_as_abandoned():
    for clock in (LATE, watched(EARLY.now, cursor_unchanged=ABANDONED_AFTER_SECONDS + 1)):
        summary = frozen([(0, "ok")], count=3, clock=clock)
        assert (summary.state, str(summary.missing)) == (JobState.EXPIRED, "1-2")
        assert (summary.counts.total, summary.missing_code) == (3, "producer_abandoned")
    assert frozen(count=3, clock=watched(EARLY.now, cursor_unchanged=ABANDONED_AFTER_SECONDS)) is None


def test_a_sealed_job_cannot_be_abandoned():
    assert frozen(total=3, clock=watched(EARLY.now, cursor_unchanged=10 * ABANDONED_AFTER_SECONDS)) is None


def test_an_unsealed_job_counts_records_beyond_its_cursor():
    summary = frozen([(7, "ok")], count=3, clock=LATE)
    assert (summary.counts.total, str(summary.missing)) == (8, "0-6")


def test_an_unsealed_job_takes_no_index_that_cannot_have_been_sent():
    most = 3 + MAX_UNCONFIRMED_REQUESTS
    summary = frozen([(0, "ok"), (7, "engine_error"), (most, "ok")], [(2**53 - 1, "engine_error")], count=3, clock=LATE)
    assert summary.counts == Counts(total=8, completed=1, failed=7)
    assert summary.missing == IndexSet([(1, 7)])
    assert frozen([(most - 1, "ok")], count=3, clock=LATE).counts.total == most
    assert frozen([(MAX_UNCONFIRMED_REQUESTS, "ok")], clock=LATE).counts.total == 0


def test_a_sealed_job_has_the_requests_it_was_sealed_with():
    recorded = IndexSet.of([0, 7])
    assert job(total=3, count=2)[0].total_with(recorded) == 3
    assert job(count=3)[0].total_with(recorded) == 8
    assert job(count=9)[0].total_with(recorded) == 9


def test_an_unsealed_job_that_was_cancelled_is_cancelled():
    summary = frozen([(0, "ok")], count=1, cancelled_at=EARLY.now - GRACE - 1)
    assert (summary.state, summary.missing_code) == (JobState.CANCELLED, "cancelled")


def test_records_beyond_the_total_do_not_count():
    summary = frozen([(0, "ok"), (9, "ok"), (8, "expired")], total=1)
    assert (summary.state, summary.counts) == (JobState.COMPLETED, Counts(total=1, completed=1, failed=0))


def test_a_redelivery_counts_once_and_a_response_beats_an_error():
    twice = [(0, "expired"), (1, "ok")], [(0, "ok"), (1, "engine_error")], [(0, "ok")]
    summary = frozen(*twice, [(2, "ok"), (3, "engine_error")], total=4)
    assert (summary.state, summary.counts) == (JobState.COMPLETED, Counts(total=4, completed=3, failed=1))
    assert str(summary.superseded) == "0-1"


@pytest.mark.parametrize(
    ("first", "second", "state"),
    [
        ("engine_error", "expired", JobState.COMPLETED),
        ("expired", "engine_error", JobState.EXPIRED),
        ("expired", "cancelled", JobState.EXPIRED),
        ("cancelled", "expired", JobState.CANCELLED),
    ],
)
def test_of_two_errors_the_first_in_key_order_decides(first, second, state):
    assert frozen([(0, first)], [(0, second)], total=1, cancelled_at=EARLY.now).state is state


# --- a plain model ----------------------------------------------------------------------------------------

SEGMENTS = st.lists(
    st.dictionaries(st.integers(0, 6), st.sampled_from(OUTCOMES), min_size=1).map(lambda one: list(one.items())),
    max_size=4,
)


@given(
    SEGMENTS,
    st.none() | st.integers(0, 6),
    st.integers(0, 6),
    st.sampled_from([None, EARLY.now - GRACE - 1, EARLY.now]),
    st.sampled_from([EARLY, LATE, watched(EARLY.now, cursor_unchanged=ABANDONED_AFTER_SECONDS + 1)]),
)
def test_freezing_agrees_with_a_record_by_record_count(segments, total, count, cancelled_at, clock):
    view, digests = job(segments, total=total, count=count, cancelled_at=cancelled_at)
    summary = decide_freeze(view, tallied(view, digests), clock)

    counting = {}
    for index, outcome in (line for lines in segments for line in lines):
        if index not in counting or (outcome == "ok" and counting[index] != "ok"):
            counting[index] = outcome
    size = total if total is not None else max([count, *(index + 1 for index in counting)])
    counting = {index: outcome for index, outcome in counting.items() if index < size}
    missing = set(range(size)) - set(counting)
    overdue = clock.now > DEADLINE + GRACE
    abandoned = total is None and clock.cursor_unchanged > ABANDONED_AFTER_SECONDS
    cancel_due = cancelled_at is not None and clock.now > cancelled_at + GRACE
    if not ((total is not None and not missing) or overdue or abandoned or cancel_due):
        assert summary is None
        return
    assert must_read_digests(view, clock)
    kinds = set(counting.values())
    if cancelled_at is not None and (missing or "cancelled" in kinds or total is None):
        assert summary.state is JobState.CANCELLED
    elif missing or "expired" in kinds or total is None:
        assert summary.state is JobState.EXPIRED
    else:
        assert summary.state is JobState.COMPLETED
    ok = sum(outcome == "ok" for outcome in counting.values())
    assert set(summary.missing) == missing
    assert summary.counts == Counts(total=size, completed=ok, failed=size - ok)
    assert Summary.model_validate_json(summary.model_dump_json()) == summary


@given(SEGMENTS, st.integers(0, 6))
def test_names_alone_never_hide_a_job_that_is_whole(segments, total):
    view, digests = job(segments, total=total)
    if decide_freeze(view, tallied(view, digests), EARLY) is not None:
        assert view.may_be_whole()


# --- status until then ------------------------------------------------------------------------------------


def state_of(*segments, **facts):
    return derive(job(segments, **facts)[0]).status


def test_states_follow_what_lies_in_the_store():
    assert state_of() is JobState.VALIDATING
    assert state_of(count=0) is JobState.VALIDATING
    assert state_of(count=2) is JobState.IN_PROGRESS
    assert state_of([(0, "ok")], total=2) is JobState.IN_PROGRESS
    assert state_of([(0, "ok"), (1, "expired")], total=2) is JobState.FINALIZING
    assert state_of(total=0) is JobState.FINALIZING
    assert state_of([(0, "ok")], total=2, cancelled_at=EARLY.now) is JobState.CANCELLING


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.EXPIRED, JobState.CANCELLED])
def test_a_summary_has_the_last_word(state):
    counts = Counts(total=9, completed=8, failed=1)
    summary = Summary(state=state, counts=counts, finalized_at=2_000.9)
    status = derive(job([[(0, "ok")]], total=2, cancelled_at=EARLY.now, summary=summary)[0])
    assert (status.status, status.request_counts, status.frozen, status.sealed) == (state, counts, True, True)
    ends = {name: getattr(status, f"{name}_at") for name in ("completed", "expired", "cancelled")}
    assert ends == {name: 2_000 if name == state else None for name in ends}


@pytest.mark.parametrize(("segments", "total"), list(product([0, 1, 5], [0, 1, 3])))
def test_provisional_counts_never_exceed_the_total(segments, total):
    status = derive(job([[(0, "ok"), (1, "expired")]] * segments, total=total)[0])
    counts = status.request_counts
    assert counts.completed + counts.failed <= counts.total == total
    assert not status.frozen


def test_the_status_is_openais_batch_object():
    found = derive(job(total=2)[0]).model_dump(mode="json")
    assert (found["id"], found["object"], found["status"]) == ("batch_1", "batch", "in_progress")
    assert found["request_counts"] == {"total": 2, "completed": 0, "failed": 0}
    assert (found["created_at"], found["expires_at"], found["metadata"]) == (1_000, 5_000, {"k": "v"})


# --- stored jobs ------------------------------------------------------------------------------------------

INPUT = StoredInput(key="tenants/t/jobs/batch_1/input.jsonl", bytes=10)
UNCHANGED = watched(CREATED + 60, cursor_unchanged=ABANDONED_AFTER_SECONDS + 1)


def test_a_stored_job_that_waits_is_never_abandoned():
    view, digests = job(stored=INPUT, count=0)
    assert decide_freeze(view, tallied(view, digests), UNCHANGED) is None
    view, digests = job([[(1, "ok")]], stored=INPUT, count=1, planned=3)
    assert decide_freeze(view, tallied(view, digests), UNCHANGED) is None


def test_a_stored_job_past_its_deadline_is_expired_with_all_that_it_has():
    view, digests = job([[(1, "ok")]], stored=INPUT, count=1, planned=3)
    summary = decide_freeze(view, tallied(view, digests), LATE)
    assert summary.state is JobState.EXPIRED
    assert summary.counts == Counts(total=3, completed=1, failed=2)
    assert (list(summary.missing), summary.missing_code) == ([0, 2], "expired")


def test_requests_of_a_planned_job_count_from_its_total_whatever_its_order():
    # Sent in the plan's order, so that the last of them may have its record while the first is not sent.
    view, digests = job([[(9, "ok")]], stored=INPUT, count=1, planned=10)
    assert derive(view).request_counts == Counts(total=10, completed=1)
    cancelled, _ = job([[(9, "ok")]], stored=INPUT, count=1, planned=10, cancelled_at=CREATED)
    summary = decide_freeze(cancelled, tallied(cancelled, digests), watched(CREATED + GRACE + 1))
    assert (summary.state, summary.counts) == (JobState.CANCELLED, Counts(total=10, completed=1, failed=9))


def test_a_stored_job_waits_for_a_dispatcher_until_one_says_why_it_waits():
    view, _ = job(stored=INPUT)
    assert derive(view).waiting.reason is WaitReason.DISPATCHER
    view, _ = job(stored=INPUT, count=0)
    assert derive(replace(view, cursor=Cursor(owner="d"))).waiting is None
    told = Waiting(reason=WaitReason.PAUSED)
    assert derive(replace(view, cursor=Cursor(waiting=told))).waiting == told
    # Its last dispatcher handed it back, with nothing to say.
    assert derive(view).waiting.reason is WaitReason.DISPATCHER
    submitted, _ = job()
    assert derive(submitted).waiting is None


def test_a_failed_job_says_what_is_wrong_with_its_input():
    wrong = InputError(code="invalid_json", message="not a JSON object", line=3)
    ended = Summary(state=JobState.FAILED, counts=Counts(), finalized_at=CREATED + 5, errors=(wrong,))
    view, _ = job(stored=INPUT, summary=ended)
    status = derive(view)
    assert (status.status, status.failed_at, status.frozen) == (JobState.FAILED, int(CREATED + 5), True)
    assert status.errors.data == (wrong,)


@pytest.mark.parametrize(
    ("seconds", "window"), [(24 * 3600.0, "24h"), (5400.0, "90m"), (90.0, "90s"), (0.2, "1s"), (3600.4, "1h")]
)
def test_the_completion_window_is_told_in_the_largest_whole_unit(seconds, window):
    manifest = JobManifest(id="batch_1", tenant="t", created_at=CREATED, deadline=CREATED + seconds)
    assert derive(JobView(manifest=manifest)).completion_window == window


# --- to the letter ----------------------------------------------------------------------------------------

FULL = JobManifest(
    id="batch_1",
    tenant="t",
    created_at=CREATED + 0.5,
    deadline=DEADLINE + 0.5,
    endpoint="/v1/embeddings",
    input_file_id="file-1",
    completion_window="36h",
    model="m",
    metadata={"k": "v"},
    stored=INPUT,
)
TOLD = Waiting(reason=WaitReason.PAUSED)
ESTIMATE = Estimate(prefix_hit_ratio=0.5, prompt_tokens=9)


def test_a_status_tells_all_that_is_known_while_the_job_runs():
    segments = (str(SegmentName("0" * 26, 1, 2, 1, 7, 3, 1500)), "x", str(SegmentName("0" * 26, 2, 1, 0, 2, 1, 250)))
    cursor = Cursor(count=9, total=10, planned_at=CREATED + 7.5, waiting=TOLD, estimate=ESTIMATE)
    view = JobView(FULL, cursor, None, CREATED + 9.5, segments)
    assert derive(view).model_dump() == {
        "id": "batch_1",
        "object": "batch",
        "endpoint": "/v1/embeddings",
        "input_file_id": "file-1",
        "completion_window": "36h",
        "status": JobState.CANCELLING,
        "request_counts": Counts(total=10, completed=3, failed=1).model_dump(),
        "created_at": 1_000,
        "expires_at": 5_000,
        "in_progress_at": 1_007,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "cancelling_at": 1_009,
        "cancelled_at": None,
        "expired_at": None,
        "errors": None,
        "model": "m",
        "output_file_id": None,
        "error_file_id": None,
        "metadata": {"k": "v"},
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 4,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 13,
            "engine_seconds": 1.75,
        },
        "tenant": "t",
        "sealed": False,
        "parent": None,
        "waiting": TOLD.model_dump(),
        "estimate": ESTIMATE.model_dump(),
    }


def test_a_status_tells_nothing_of_what_is_not_known():
    status = derive(job()[0])
    assert (status.endpoint, status.input_file_id, status.model) == ("", "", None)
    assert (status.in_progress_at, status.cancelling_at, status.estimate, status.errors) == (None,) * 4
    assert status.usage == Usage()
    assert not status.sealed
    assert derive(job(total=1)[0]).sealed


def test_a_status_prints_as_one_line_and_so_it_does_in_a_notebook():
    sealed, still_sent = derive(job(total=1_234)[0]), derive(job()[0])
    assert str(sealed) == f"{sealed.id} {sealed.status}: 0 of 1,234 answered, 0 failed"
    assert str(still_sent) == f"{still_sent.id} {still_sent.status}: 0 of 0+ answered, 0 failed"
    shown = []
    sealed._repr_pretty_(SimpleNamespace(text=shown.append), False)
    assert shown == [str(sealed)]


def test_a_job_that_retries_another_names_it():
    view = job(total=1)[0]
    child = replace(view, manifest=view.manifest.model_copy(update={"parent": "batch_0"}))
    assert (derive(view).parent, derive(child).parent) == (None, "batch_0")


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.EXPIRED, JobState.CANCELLED, JobState.FAILED])
def test_an_ended_job_has_the_times_and_the_usage_of_its_summary(state):
    ended = Summary(
        state=state,
        counts=Counts(total=1, completed=1),
        usage=UsageTotals(prompt_tokens=5, completion_tokens=6, engine_seconds=0.5),
        finalized_at=4_000.5,
        planned_at=3_000.5,
        cancelling_at=2_000.5,
    )
    cursor = Cursor(planned_at=1.0, waiting=TOLD)
    status = derive(JobView(FULL, cursor, None, 9.0, summary=ended))
    assert (status.in_progress_at, status.cancelling_at, status.waiting) == (3_000, 2_000, None)
    ends = {
        name: getattr(status, f"{name}_at") for name in ("finalizing", "completed", "failed", "cancelled", "expired")
    }
    over = {state, "finalizing"} if state is JobState.COMPLETED else {state}
    assert ends == {name: 4_000 if name in over else None for name in ends}
    assert (status.usage.input_tokens, status.usage.output_tokens, status.usage.total_tokens) == (5, 6, 11)
    assert status.usage.engine_seconds == 0.5
    assert status.sealed


def test_a_summary_keeps_what_its_job_had_when_it_ended():
    view, digests = job([[(0, "ok")]], total=1, cancelled_at=CREATED, planned=4, count=0)
    view = replace(view, cursor=Cursor(planned_at=CREATED + 7.5))
    summary = decide_freeze(view, tallied(view, digests), EARLY)
    assert (summary.planned_at, summary.cancelling_at, summary.finalized_at) == (CREATED + 7.5, CREATED, EARLY.now)
    assert summary.segments == view.segments
    assert frozen([(0, "ok")], total=1).planned_at is None


@pytest.mark.parametrize(
    ("sealed", "cancelled", "code"),
    [(True, False, "expired"), (False, False, "producer_abandoned"), (True, True, "cancelled")],
)
def test_what_is_missing_at_the_end_has_the_code_of_what_ended_the_job(sealed, cancelled, code):
    facts = {"total": 2} if sealed else {"count": 2}
    summary = frozen([(0, "ok")], clock=LATE, cancelled_at=CREATED if cancelled else None, **facts)
    assert summary.missing_code == code


def test_an_unsealed_job_without_requests_that_nobody_produces_any_more_has_a_code_too():
    summary = frozen(count=0, clock=LATE)
    assert (summary.state, summary.missing_code, summary.counts.total) == (JobState.EXPIRED, "producer_abandoned", 0)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_every_grace_is_over_once_it_has_passed_and_not_at_its_last_second(over):
    ended = over > 0
    assert (frozen(total=1, clock=watched(DEADLINE + GRACE + over)) is not None) is ended
    assert (frozen(total=1, cancelled_at=CREATED, clock=watched(CREATED + GRACE + over)) is not None) is ended
    abandoned = watched(EARLY.now, cursor_unchanged=ABANDONED_AFTER_SECONDS + over)
    assert (frozen(count=1, clock=abandoned) is not None) is ended


def test_a_cancel_with_the_shortest_of_graces_still_asks_the_clock():
    view, digests = job([[(0, "ok")]], total=2, cancelled_at=CREATED)
    assert decide_freeze(view, tallied(view, digests), Clock(CREATED, 0.5, cancelled_for=0.5)) is None
    assert decide_freeze(view, tallied(view, digests), Clock(CREATED, 0.0)).state is JobState.CANCELLED


def test_digests_are_read_where_the_job_may_have_ended_and_not_after_its_end():
    running, _ = job([[(0, "ok")]], total=2)
    whole, digests = job([[(0, "ok")]], total=1)
    assert not must_read_digests(running, EARLY)
    assert must_read_digests(running, LATE)
    assert must_read_digests(whole, EARLY)
    ended = replace(whole, summary=decide_freeze(whole, tallied(whole, digests), EARLY))
    assert not must_read_digests(ended, LATE)


def test_failures_beyond_the_total_are_left_out_of_an_estimate():
    view, _ = job([[(0, "ok"), (1, "expired"), (2, "expired")]], total=2)
    assert view.estimated()[0] == Counts(total=2, completed=1, failed=1)
    assert view.may_be_whole()
    assert not job([[(0, "ok")]], count=1)[0].may_be_whole()


@pytest.mark.parametrize(
    ("facts", "total"), [({}, 0), ({"count": 2}, 2), ({"count": 2, "planned": 3}, 3), ({"count": 2, "total": 4}, 4)]
)
def test_a_jobs_total_is_the_best_that_is_known(facts, total):
    assert job(**facts)[0].total == total
    assert job(**facts)[0].total_with(IndexSet()) == total


@pytest.mark.parametrize(
    ("seconds", "window"), [(0.4, "1s"), (1.6, "2s"), (60.0, "1m"), (61.0, "61s"), (3600.0, "1h"), (3660.0, "61m")]
)
def test_a_window_is_told_in_whole_units(seconds, window):
    manifest = JobManifest(id="batch_1", tenant="t", created_at=CREATED, deadline=CREATED + seconds)
    assert derive(JobView(manifest)).completion_window == window


def test_a_sealed_or_ended_job_waits_for_nobody():
    view, digests = job(stored=INPUT, total=0)
    assert derive(view).waiting is None
    assert (
        derive(replace(view, sealed=None, summary=decide_freeze(view, tallied(view, digests), EARLY))).waiting is None
    )
