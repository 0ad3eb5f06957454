"""Whose turn it is: fair between tenants, earliest deadline first within one, and nobody starves."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from backburner.dispatcher.sharing.scheduler import BORROWED_REQUESTS, TURN_REQUESTS, Scheduler
from backburner_schemas.names import Lane

NORMAL = ("fake", Lane.NORMAL)
FAR = 1e9
NOW = 1000.0


@dataclass(eq=False)
class Job:
    tenant: str
    deadline: float = FAR
    queue: tuple = NORMAL
    created_at: float = NOW
    left: int = 10**9


def serve(scheduler, jobs, turns, sizes=None):
    """So many turns; what each tenant got. `sizes` are those of the turns, in rotation."""
    got = Counter()
    for turn in range(turns):
        job = scheduler.pick([job for job in jobs if job.left > 0], NOW)
        if job is None:
            break
        size = min(sizes[turn % len(sizes)] if sizes else TURN_REQUESTS, job.left)
        job.left -= size
        got[job.tenant] += size
        scheduler.charge(job.tenant, job.queue, size)
    return got


@given(
    st.lists(st.sampled_from([0.5, 1.0, 2.0, 5.0]), min_size=1, max_size=8),
    st.lists(st.integers(1, TURN_REQUESTS), min_size=1, max_size=20),
    st.integers(1, 400),
)
def test_tenants_that_always_have_work_get_it_by_weight_to_within_a_turn(weights, sizes, turns):
    tenants = {f"t{place}": weight for place, weight in enumerate(weights)}
    got = serve(Scheduler(tenants.__getitem__), [Job(name) for name in tenants], turns, sizes)
    shares = {name: got[name] / weight for name, weight in tenants.items()}
    # Each is within the largest turn of each other, in units of the smaller weight of the two.
    assert max(shares.values()) - min(shares.values()) <= TURN_REQUESTS / min(weights)


def test_a_tenant_with_a_hundred_times_the_work_gets_no_more_while_others_have_some():
    small = [Job(f"t{place:02}", left=10_000) for place in range(19)]
    big = [Job("big", left=10_000) for _ in range(100)]
    got = serve(Scheduler(lambda _: 1.0), [*big, *small], 380)
    assert max(got.values()) - min(got.values()) <= TURN_REQUESTS
    assert len(got) == 20


def test_who_comes_late_has_saved_nothing_up():
    scheduler = Scheduler(lambda _: 1.0)
    early = Job("early")
    serve(scheduler, [early], 1000)
    got = serve(scheduler, [early, Job("late")], 100)
    assert abs(got["early"] - got["late"]) <= TURN_REQUESTS


def test_a_job_that_cannot_be_sent_for_a_moment_keeps_its_tenants_account():
    scheduler = Scheduler(lambda _: 1.0)
    first, second = Job("first"), Job("second")
    got = Counter()
    for turn in range(200):
        got += serve(scheduler, [first, second] if turn % 2 else [second], 1)
    # It was there in half of the turns, so it can have had them all.
    assert abs(got["first"] - got["second"]) <= 2 * TURN_REQUESTS


def test_within_a_tenant_the_earliest_deadline_goes_first():
    jobs = [Job("t", deadline=FAR + place, left=TURN_REQUESTS) for place in (3, 1, 2)]
    scheduler, order = Scheduler(lambda _: 1.0), []
    for _ in jobs:
        job = scheduler.pick([one for one in jobs if one not in order], NOW)
        order.append(job)
        scheduler.charge("t", NORMAL, TURN_REQUESTS)
    assert [job.deadline - FAR for job in order] == [1, 2, 3]


def test_an_urgent_job_goes_first_but_its_tenant_borrows_only_so_much():
    # 5 seconds are left of the 100 that it had.
    urgent = Job("urgent", created_at=NOW - 95, deadline=NOW + 5)
    scheduler = Scheduler(lambda _: 1.0)
    others = [Job("a"), Job("b")]
    got = serve(scheduler, [urgent, *others], BORROWED_REQUESTS // TURN_REQUESTS)
    assert got == {"urgent": BORROWED_REQUESTS}
    got += serve(scheduler, [urgent, *others], 300)
    assert got["urgent"] - min(got["a"], got["b"]) <= BORROWED_REQUESTS + TURN_REQUESTS
    assert min(got["a"], got["b"]) > 80 * TURN_REQUESTS


@given(st.integers(10, 500))
def test_no_lane_starves_and_each_gets_its_weight(turns):
    jobs = [Job("t", queue=("fake", lane)) for lane in (Lane.HIGH, Lane.NORMAL, Lane.LOW)]
    scheduler, got = Scheduler(lambda _: 1.0), Counter()
    for _ in range(turns):
        job = scheduler.pick(jobs, NOW)
        got[job.queue[1]] += 1
        scheduler.charge("t", job.queue, TURN_REQUESTS)
    assert abs(got[Lane.HIGH] / 8 - got[Lane.LOW]) <= 1.2
    assert abs(got[Lane.NORMAL] / 4 - got[Lane.LOW]) <= 1.2


def test_a_lane_that_had_no_room_for_long_does_not_hold_up_the_others_when_it_has():
    scheduler = Scheduler(lambda _: 1.0)
    low, high = Job("t", queue=("fake", Lane.LOW)), Job("t", queue=("fake", Lane.HIGH))
    serve(scheduler, [high], 1000)
    picked = []
    for _ in range(20):
        job = scheduler.pick([low, high], NOW)
        picked.append(job.queue[1])
        scheduler.charge("t", job.queue, TURN_REQUESTS)
    assert picked.count(Lane.LOW) <= 3
