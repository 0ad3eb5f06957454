"""Since when a process sees what may end a job: by its monotonic clock alone."""

import gc
import math
import weakref
from dataclasses import replace

import pytest
from clock import Clock
from pydantic import ValidationError

from backburner.jobs.job_watch import JobWatch
from backburner_schemas.job import Cursor, JobManifest, Sealed
from backburner_schemas.status import JobView

DEADLINE = 5_000.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(clock):
    return JobWatch(clock, max_jobs=2)


def view(*, job="batch_1", tenant="t", count=0, cancelled_at=None):
    manifest = JobManifest(id=job, tenant=tenant, created_at=0, deadline=DEADLINE)
    return JobView(manifest=manifest, cursor=Cursor(count=count), cancelled_at=cancelled_at)


def test_each_thing_counts_from_when_it_was_seen_first(watch, clock):
    watch.observe(view(), 0.0)
    clock.now += 10
    watch.observe(view(cancelled_at=7.0), DEADLINE + 1)
    clock.now += 5
    seen = watch.observe(view(cancelled_at=7.0), DEADLINE + 1)
    assert (seen.cursor_unchanged, seen.cancelled, seen.overdue) == (15, 5, 5)


def test_graces_begin_anew_where_the_store_was_away(watch, clock):
    watch.observe(view(cancelled_at=7.0), DEADLINE + 1)
    clock.now += 3_700
    seen = watch.observe(view(cancelled_at=7.0), DEADLINE + 1, back_at=clock.now - 2)
    assert (seen.cursor_unchanged, seen.cancelled, seen.overdue) == (2, 2, 2)
    clock.now += 10
    seen = watch.observe(view(cancelled_at=7.0), DEADLINE + 1, back_at=clock.now - 12)
    assert (seen.cursor_unchanged, seen.cancelled, seen.overdue) == (12, 12, 12)


def test_a_cursor_that_moves_shows_that_its_producer_lives(watch, clock):
    watch.observe(view(), 0.0)
    clock.now += 10
    assert watch.observe(view(count=1), 0.0).cursor_unchanged == 0
    clock.now += 10
    assert watch.observe(view(count=1), 0.0).cursor_unchanged == 10


def test_no_cursor_is_kept_of_which_somebody_else_chose_the_size(watch):
    seen = view()
    cursor = weakref.ref(seen.cursor)
    watch.observe(seen, 0.0)
    del seen
    gc.collect()
    assert cursor() is None


def test_what_is_remembered_of_a_job_has_a_size_that_its_maker_does_not_choose():
    much = "x" * 100_000
    for model, fields in (
        (JobManifest, {"id": "j", "tenant": "t", "created_at": 1, "deadline": 2}),
        (Cursor, {}),
        (Sealed, {"total": 1, "sha256": "", "sealed_at": 1}),
    ):
        texts = [name for name, field in model.model_fields.items() if field.annotation in (str, str | None)]
        assert texts
        for name in texts:
            with pytest.raises(ValidationError):
                model(**{**fields, name: much})


def test_what_is_so_no_more_begins_anew(watch, clock):
    watch.observe(view(), DEADLINE + 1)
    clock.now += 10
    # The clock is not known, or was set back.
    assert watch.observe(view(), -math.inf).overdue == 0
    clock.now += 10
    assert watch.observe(view(), DEADLINE + 1).overdue == 0


def test_a_job_that_is_missing_is_counted_until_it_is_there(watch, clock):
    job = ("t", "batch_1")
    assert watch.missing_seconds(job) == 0
    watch.observe_missing(job)
    clock.now += 3_600
    watch.observe_missing(job)
    assert watch.missing_seconds(job) == 3_600
    watch.observe_missing(job, back_at=clock.now - 10)
    assert watch.missing_seconds(job) == 10
    watch.observe(view(), 0.0)
    assert watch.missing_seconds(job) == 0


def test_of_more_jobs_than_it_remembers_those_seen_first_go_on_and_make_room(watch, clock):
    names = [f"batch_{number}" for number in range(5)]
    ended = []
    # A sweep that looks at all of them in turns, as a worker's does.
    for _ in range(10):
        for job in [job for job in names if job not in ended]:
            if watch.observe(view(job=job), 0.0).cursor_unchanged >= 20:
                watch.forget(("t", job))
                ended.append(job)
        clock.now += 10
    assert ended == names


def test_one_tenants_many_jobs_keep_no_other_tenants_from_ending(clock):
    watch = JobWatch(clock, max_jobs=10)
    many = [view(job=f"batch_{number}", tenant="many") for number in range(50)]
    few = [view(job=f"batch_{number}", tenant="few") for number in range(3)]
    for _ in range(3):
        seen = [watch.observe(one, 0.0).cursor_unchanged for one in (*many, *few)]
        clock.now += 10
    assert seen[-3:] == [20, 20, 20]
    # Nor does it lose its own first ones.
    assert seen[:7] == [20] * 7
    assert not any(seen[7:-3])


def test_what_nobody_looks_at_any_more_makes_room(watch, clock):
    for job in ("batch_1", "batch_2"):
        watch.observe(view(job=job), 0.0)
    clock.now += 25 * 3600
    watch.observe(view(job="batch_2"), 0.0)
    watch.observe(view(job="batch_3"), 0.0)
    clock.now += 10
    assert watch.observe(view(job="batch_3"), 0.0).cursor_unchanged == 10
    assert watch.observe(view(job="batch_2"), 0.0).cursor_unchanged == 25 * 3600 + 10


def test_a_job_that_nothing_may_end_takes_no_place(watch, clock):
    sealed = Sealed(total=1, sha256="", sealed_at=1)
    for number in range(5):
        watch.observe(replace(view(job=f"sealed_{number}"), sealed=sealed), 0.0)
    for job in ("batch_1", "batch_2"):
        watch.observe(view(job=job), 0.0)
    clock.now += 10
    assert [watch.observe(view(job=job), 0.0).cursor_unchanged for job in ("batch_1", "batch_2")] == [10, 10]


def test_those_that_are_not_named_are_forgotten(watch, clock):
    for job in ("batch_1", "batch_2"):
        watch.observe(view(job=job), 0.0)
    watch.keep_only({("t", "batch_1")})
    clock.now += 10
    assert watch.observe(view(job="batch_1"), 0.0).cursor_unchanged == 10
    assert watch.observe(view(job="batch_2"), 0.0).cursor_unchanged == 0
