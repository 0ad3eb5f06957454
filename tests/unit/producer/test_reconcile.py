"""The books of a job: in = ok + failed + pending, counted from what the segments tell."""

import pytest

from backburner import JobNotFound
from backburner_schemas import keys
from backburner_schemas.job import Summary
from backburner_schemas.result import ResponseBody, ResultFacts, ResultRecord, encode_record
from backburner_schemas.segment import Line, encode_segment


def lines(count):
    return [
        {"custom_id": f"r{number}", "url": "/v1/chat/completions", "body": {"model": "fake", "messages": []}}
        for number in range(count)
    ]


async def store(system, indexes, job="mine"):
    response = ResponseBody(status_code=200, request_id="x", body={})
    part = [
        Line(index, encode_record(ResultRecord(id="x", custom_id="x", response=response, backburner=facts)))
        for index, facts in ((index, ResultFacts(index=index)) for index in indexes)
    ]
    name = keys.SegmentName(keys.new_ulid(), 0, len(part), 0, 0, 0, 0)
    await system.storage.put(keys.segment("default", job, name), encode_segment(part))


async def test_a_running_job_balances(system):
    system.hold()
    system.fail(["r1"])
    job = await system.client.submit(lines(10))
    await system.release(4)
    books = await job.reconcile()
    assert (books.total, books.ok, books.failed, books.pending) == (10, 3, 1, 6)
    assert books.agrees
    assert books.sealed
    assert not books.frozen


async def test_a_frozen_job_balances(system):
    system.fail(["r1"])
    job = await system.client.submit(lines(10))
    books = await job.reconcile()
    assert (books.total, books.ok, books.failed, books.pending, books.duplicates) == (10, 9, 1, 0, 0)
    assert books.agrees
    assert books.frozen


async def test_what_a_freeze_cut_off_counts_as_failed(system):
    system.hold()
    job = await system.client.submit(lines(10))
    await system.release(4)
    await system.expire(job.id)
    books = await job.reconcile()
    assert (books.ok, books.failed, books.pending) == (4, 6, 0)
    assert books.agrees


async def test_redeliveries_are_told_and_change_nothing(system):
    system.hold()
    job = await system.client.submit(lines(10), job_id="mine")
    await system.release(4)
    await store(system, [2, 3, 4])
    books = await job.reconcile()
    assert (books.ok, books.pending, books.duplicates) == (5, 5, 2)
    assert books.agrees


async def test_records_without_a_request_do_not_balance(system):
    system.hold()
    job = await system.client.submit(lines(2), job_id="mine")
    await store(system, [0, 5])
    books = await job.reconcile()
    assert (books.ok, books.strays, books.agrees) == (1, 1, False)
    assert "index" in books.differences[0]


async def test_a_summary_that_lies_does_not_balance(system):
    job = await system.client.submit(lines(4))
    key = keys.summary("default", job.id)
    summary = Summary.model_validate_json((await system.storage.get(key)).data)
    lie = summary.model_copy(update={"counts": summary.counts.model_copy(update={"completed": 3, "failed": 1})})
    await system.storage.put(key, lie.model_dump_json().encode())
    books = await job.reconcile()
    assert not books.agrees
    assert any("3 answered" in one for one in books.differences)


async def test_a_lost_segment_does_not_balance(system):
    job = await system.client.submit(lines(4))
    (segment,) = [one.key async for one in system.storage.scan(keys.segments("default", job.id))]
    await system.storage.delete([segment])
    books = await job.reconcile()
    assert (books.ok, books.pending, books.agrees) == (0, 4, False)


async def test_a_job_that_is_still_sent_balances(system, half_sent):
    await store(system, range(20))
    books = await half_sent.reconcile()
    assert books.agrees
    assert not books.sealed
    assert books.ok == 20
    assert books.total >= 20


async def test_an_index_far_beyond_what_was_sent_is_a_stray(system, half_sent):
    await store(system, [0, 3_000_000])
    books = await half_sent.reconcile()
    assert books.total <= 600
    assert (books.ok, books.strays, books.agrees) == (1, 1, False)


async def test_a_stream_has_no_total(system):
    await store(system, ["0-1", "0-2"], job="stream-x-2026-01-01")
    books = await system.client.job("stream-x-2026-01-01").reconcile()
    assert (books.stream, books.ok, books.total, books.pending, books.agrees) == (True, 2, None, None, False)


async def test_a_job_that_is_not_there(system):
    with pytest.raises(JobNotFound):
        await system.client.job("nope").reconcile()
