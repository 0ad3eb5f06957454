"""What makes a canary worse: which runs count for whom, how likely they are by chance, and what is read."""

import math
import time
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.canary import survey as surveying
from backburner.canary.comparison import Rules, Verdict, chance, compare
from backburner.canary.survey import survey
from backburner.canary.tally import Release, Tallies, Tally
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.envelope import Address
from backburner_schemas.errors import Cancelled, EngineError, ModelNotFound
from backburner_schemas.result import ResponseBody, ResultFacts, ResultRecord, encode_record, error_record
from backburner_schemas.segment import Line, encode_segment

POOL = "fake"


def line(index, group, *, release=None, error=None, engine_s=0.5, pool=POOL, **facts):
    found = ResultFacts(index=index, pool=pool, group=group, release=release, engine_s=engine_s, **facts)
    if error is not None:
        data = encode_record(error_record(Address("t", "j", index, f"c{index}"), error, found))
        return Line(index, data, error.code)
    body = ResponseBody(status_code=200, request_id="r", body={})
    return Line(index, encode_record(ResultRecord(id="r", custom_id=f"c{index}", response=body, backburner=found)))


def tallies(*lines):
    found = Tallies()
    for one in encode_segment(lines).splitlines():
        found.count(one)
    return found


# --- which runs count -------------------------------------------------------------------------------------


def test_runs_are_counted_by_release_and_what_nobody_is_to_blame_for_is_no_run():
    found = tallies(
        line(0, "a", release="r1"),
        line(1, "a", release="r2", error=EngineError("x")),
        line(2, "a", release="r2", error=ModelNotFound()),
        line(3, "b", error=Cancelled()),
        line(4, None, pool=None, error=Cancelled()),
    )
    counted = {(one.group, one.release): (tally.ok, tally.failed, tally.refused) for one, tally in found.items()}
    assert counted == {("a", "r1"): (1, 0, 0), ("a", "r2"): (0, 1, 1), ("b", ""): (0, 0, 1)}


def test_an_attempt_counts_where_it_failed_whoever_answered_in_the_end():
    found = tallies(line(0, "stable", release="r1", attempt=3, failed_at=("can%20ary/r2", "can%20ary/r2", "no place")))
    assert found[Release(POOL, "can ary", "r2")].failed == 2
    assert (found[Release(POOL, "stable", "r1")].ok, found[Release(POOL, "stable", "r1")].failed) == (1, 0)


def test_a_record_cannot_claim_more_failures_than_are_kept():
    found = tallies(line(0, "stable", failed_at=("canary/",) * 100))
    assert found[Release(POOL, "canary", "")].failed == 8


def test_the_quantiles_are_of_responses_from_the_engine():
    found = tallies(
        *(line(index, "a", engine_s=float(index)) for index in range(100)),
        line(100, "a", engine_s=99_999.0, cached=True),
        line(101, "a", error=EngineError("x"), engine_s=99_999.0),
    )[Release(POOL, "a", "")]
    assert (found.engine_quantile(0.5), found.engine_quantile(0.95), found.engine_quantile(1.0)) == (49.0, 94.0, 99.0)
    assert Tally().engine_quantile(0.5) is None


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"backburner":{}}', b'{"backburner":{"index":"a"},"error":7}'])
def test_what_is_no_record_is_refused(junk):
    with pytest.raises(ValueError, match="validation error"):
        Tallies().count(junk)


# --- the test ---------------------------------------------------------------------------------------------


@given(st.data())
def test_the_probability_is_that_of_drawing_by_lot(data):
    runs, others = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    failed, other_failed = data.draw(st.integers(0, runs)), data.draw(st.integers(0, others))
    failures, total = failed + other_failed, runs + others
    exact = sum(
        Fraction(comb(failures, hit) * comb(total - failures, runs - hit), comb(total, runs))
        for hit in range(failed, min(failures, runs) + 1)
        if runs - hit >= 0
    )
    assert math.isclose(chance(failed, runs, other_failed, others), exact, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("canary", "stable", "verdict"),
    [
        ((100, 500), (0, 4_500), Verdict.WORSE),
        ((5, 5), (0, 1_000), Verdict.WORSE),  # a few are enough, if all of them fail
        ((0, 500), (0, 4_500), Verdict.FINE),
        ((10, 500), (90, 4_500), Verdict.FINE),
        ((0, 500), (900, 4_500), Verdict.FINE),  # better is no worse
        ((30, 10_000), (9, 10_000), Verdict.FINE),  # certain, and too little to matter
        ((0, 99), (0, 4_500), Verdict.UNDECIDED),
        ((0, 4_500), (0, 99), Verdict.UNDECIDED),
        ((1, 1), (0, 0), Verdict.UNDECIDED),
        ((0, 0), (0, 0), Verdict.UNDECIDED),
        ((4_000, 20_000), (0, 30_000), Verdict.WORSE),
    ],
)
def test_a_canary_is_worse_if_its_failures_are_more_than_chance_and_more_than_allowed(canary, stable, verdict):
    (failed, runs), (other_failed, others) = canary, stable
    found = compare(Tally(runs - failed, failed), Tally(others - other_failed, other_failed), Rules())
    assert found.verdict is verdict
    assert not found.refuses_more


def test_a_canary_that_refuses_more_is_told_of_and_not_judged_by_it():
    found = compare(Tally(ok=500, refused=100), Tally(ok=4_000, refused=10), Rules())
    assert (found.verdict, found.refuses_more) == (Verdict.FINE, True)


# --- what is read -----------------------------------------------------------------------------------------


@pytest.fixture
def storage():
    return FakeSystem().storage


async def put(storage, tenant, job, *lines, sequence=0):
    failed = sum(one.error_code is not None for one in lines)
    name = keys.SegmentName("w" * 26, sequence, len(lines) - failed, failed, 0, 0, 0)
    await storage.put(keys.segment(tenant, job, name), encode_segment(lines))


async def test_jobs_and_streams_of_all_tenants_are_read_or_of_one(storage):
    now = time.time()
    await put(storage, "acme", keys.new_job_id(now), line(0, "a"))
    await put(storage, "other", "stream-topic-2999-01-01", line("0-1", "b"))
    await put(storage, "other", "my-own-name", line(0, "c"))
    await put(storage, "other", "single-x", line(0, "d"))
    everything = await survey(storage, None, since=3_600.0, max_records=100)
    assert {one.group for one in everything.tallies} == {"a", "b", "c"}
    assert (everything.records, everything.is_cut) == (3, False)
    of_one = await survey(storage, "acme", since=3_600.0, max_records=100)
    assert {one.group for one in of_one.tallies} == {"a"}


async def test_an_old_job_is_read_only_while_it_is_open(storage):
    old = keys.new_job_id(time.time() - 30 * 86_400)
    await put(storage, "acme", old, line(0, "a"))
    assert (await survey(storage, None, since=3_600.0, max_records=100)).records == 0
    await storage.put(keys.open_job("acme", old), b"")
    assert (await survey(storage, None, since=3_600.0, max_records=100)).records == 1


async def test_what_was_stored_before_the_time_in_question_is_left_out(storage):
    await put(storage, "acme", keys.new_job_id(), line(0, "a"))
    found = await survey(storage, None, since=-3_600.0, max_records=100)
    assert (found.records, found.oldest) == (0, None)


async def test_the_bound_cuts_the_oldest_and_says_so(storage):
    job = keys.new_job_id()
    await put(storage, "acme", job, *(line(index, "a") for index in range(60)))
    await put(storage, "acme", job, *(line(index, "b") for index in range(60, 120)), sequence=1)
    cut = await survey(storage, None, since=3_600.0, max_records=50)
    assert (cut.records, cut.is_cut, [one.group for one in cut.tallies]) == (60, True, ["b"])
    whole = await survey(storage, None, since=3_600.0, max_records=61)
    assert (whole.records, whole.is_cut) == (120, False)


async def test_of_too_many_jobs_the_latest_are_read(storage, monkeypatch):
    monkeypatch.setattr(surveying, "_MAX_JOBS", 1)
    await put(storage, "acme", keys.new_job_id(time.time() - 60), line(0, "a"))
    await put(storage, "acme", keys.new_job_id(), line(0, "b"))
    found = await survey(storage, None, since=3_600.0, max_records=100)
    assert ([one.group for one in found.tallies], found.is_cut) == (["b"], True)


async def test_a_broken_record_costs_no_other(storage):
    name = keys.SegmentName("w" * 26, 0, 2, 0, 0, 0, 0)
    await storage.put(keys.segment("acme", "job", name), line(0, "a").data + b"\n{broken\n" + line(1, "a").data + b"\n")
    assert (await survey(storage, None, since=3_600.0, max_records=100)).tallies[Release(POOL, "a", "")].ok == 2
