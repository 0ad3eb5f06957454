"""Turns of a job: whole groups where they fit, one pool each, and acknowledged without gaps."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planned_input import PlannedInput, line_of

from backburner.dispatcher.stream import JobStream, whole_groups
from backburner.ordering.plan import Plan
from backburner.ordering.spool import Spool, SpooledLine
from backburner_schemas.errors import RequestRefused
from backburner_schemas.job import JobManifest


def lines(*groups, pool="fake", start=0):
    """Lines of groups with these sizes, the first of which is group 0."""
    found = []
    for group, size in enumerate(groups):
        for _ in range(size):
            place = start + len(found)
            found.append(SpooledLine(place, place, group, pool, b"{}", verbatim=True))
    return found


def test_a_turn_ends_with_the_last_group_that_fits():
    assert len(whole_groups(lines(4, 4, 4), 10, ends=False)) == 8
    assert len(whole_groups(lines(4, 4, 4), 8, ends=False)) == 8


def test_a_group_larger_than_the_room_is_sent_in_parts():
    assert len(whole_groups(lines(11), 10, ends=False)) == 10


def test_the_last_turn_of_a_job_takes_all():
    assert len(whole_groups(lines(4, 4), 10, ends=True)) == 8


def test_what_was_cut_off_by_its_size_ends_with_a_group_too():
    assert len(whole_groups(lines(4, 2), 10, ends=False)) == 4
    assert len(whole_groups(lines(3), 10, ends=False)) == 3


def test_a_turn_goes_to_one_pool():
    mixed = [*lines(3, 3), *lines(5, pool="other", start=6)]
    assert len(whole_groups(mixed, 8, ends=True)) == 6
    assert len(whole_groups(mixed, 4, ends=True)) == 3


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 40), st.booleans())
def test_a_turn_is_never_empty_never_too_large_and_cuts_a_group_only_if_it_is_the_first(sizes, room, ends):
    given_lines = lines(*sizes)
    seen, ends = given_lines[: room + 1], ends or len(given_lines) <= room
    if ends:
        seen = given_lines[:room]
        ends = len(seen) == len(given_lines)
    chosen = whole_groups(seen, room, ends=ends)
    assert 0 < len(chosen) <= room
    assert list(chosen) == given_lines[: len(chosen)]
    if len(chosen) < len(given_lines) and given_lines[len(chosen)].group == chosen[-1].group:
        assert chosen[0].group == chosen[-1].group


MANIFEST = JobManifest(id="job", tenant="acme", created_at=1.0, deadline=2.0)
FORGED = line_of(1, "b")[:-1] + b', "tenant": "victim", "job": "theirs", "index": 7}'


async def sent_by_a_stored_plan(given_input):
    """What a successor sends, which has the plan from the store."""
    with given_input.plan() as plan:
        data = b"".join(plan.pieces())

    async def stored():
        yield data

    plan = await Plan.read(stored(), input_bytes=len(given_input.data), max_line_bytes=1000)
    spool = await Spool.build(plan, given_input.pieces())
    with closing(JobStream(MANIFEST, plan, spool, 0, max_bytes=1000, now=lambda: 1_000.0)) as stream:
        turn = await stream.take(100)
        if turn is None:
            raise stream.failure
        return [message.envelope for message in turn.messages]


async def test_a_stored_plan_cannot_give_a_request_the_address_of_another_tenant():
    """All of the plan and of the input may be written by whoever may write this job's objects."""
    envelopes = await sent_by_a_stored_plan(PlannedInput([line_of(0, "a"), FORGED, line_of(2, "c")]))
    assert {(one.tenant, one.job) for one in envelopes} == {("acme", "job")}
    assert sorted(one.index for one in envelopes) == [0, 1, 2]


async def test_a_stored_plan_whose_line_is_no_request_stops_its_job_and_nothing_else():
    with pytest.raises(RequestRefused):
        await sent_by_a_stored_plan(PlannedInput([line_of(0, "a"), b'{"body": {"model": "m"}, "index": 3}']))
