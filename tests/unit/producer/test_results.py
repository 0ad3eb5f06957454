"""Reading records: while a job runs, when it is frozen, what was cut off, and beside the input."""

import asyncio
import json
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from segments import answered, failed, store

from backburner import JobConflict, JobNotFound, JobState, ResultTimeout
from backburner.jobs import seen_indexes
from backburner.jobs.record_reader import RecordReader, records_of
from backburner.jobs.seen_indexes import SeenIndexes
from backburner.runtime.memory_budget import MemoryBudget
from backburner.storage import Storage
from backburner.storage.parse import read_manifest
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import Cancelled, EngineError, Expired, StoreDenied, StoredObjectBroken, StoreError
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import Sealed
from backburner_schemas.result import ResultRecord, encode_record


def lines(count):
    return [
        {
            "custom_id": f"r{number}",
            "url": "/v1/chat/completions",
            "body": {"model": "fake", "messages": [{"role": "user", "content": f"hello {number}"}]},
        }
        for number in range(count)
    ]


async def test_each_record_is_given_once_while_the_job_runs(system):
    system.hold()
    job = await system.client.submit(lines(1000), job_id="mine")
    results = job.results()
    await system.release(10)
    got = [await anext(results) for _ in range(10)]
    await store(system, [answered(0), answered(500)])
    assert (await anext(results)).backburner.index == 500
    await system.release()
    got += [record async for record in results]
    assert len(got) == 999
    assert {record.backburner.index for record in got} == set(range(1000)) - {500}
    assert (await job.status()).status is JobState.COMPLETED


async def test_without_following_the_records_are_those_that_are_there(system):
    system.hold()
    job = await system.client.submit(lines(20))
    assert [record async for record in job.results(follow=False)] == []
    await system.release(5)
    assert len([record async for record in job.results(follow=False)]) == 5


async def test_a_response_comes_before_an_error_of_the_same_index(system):
    system.hold()
    await system.client.submit(lines(3), job_id="mine")
    await store(system, [failed(0, EngineError()), failed(1, EngineError()), answered(2)], writer="0" * 26)
    job = system.client.job("mine")
    live = {record.backburner.index: record.ok async for record in job.results(follow=False)}
    assert live == {0: False, 1: False, 2: True}
    await store(system, [answered(1)], writer="1" * 26)
    assert (await job.wait(timeout=5)).request_counts.failed == 1
    frozen = {record.backburner.index: record.ok async for record in job.results()}
    assert frozen == {0: False, 1: True, 2: True}


async def test_of_two_responses_the_first_in_key_order_counts(system):
    system.hold()
    await system.client.submit(lines(1), job_id="mine")
    await store(system, [answered(0, "second")], writer="1" * 26)
    await store(system, [answered(0, "first")], writer="0" * 26)
    await system.client.job("mine").wait(timeout=5)
    assert [record.text async for record in system.client.job("mine").results()] == ["first"]


async def test_a_frozen_job_is_read_from_the_segments_of_its_summary_alone(system):
    job = await system.client.submit(lines(2), job_id="mine")
    await job.wait(timeout=5)
    await store(system, [answered(0, "late"), answered(7, "stray")], writer="0" * 26)
    records = [record async for record in job.results()]
    assert sorted(record.backburner.index for record in records) == [0, 1]
    assert not {record.text for record in records} & {"late", "stray"}


async def test_records_that_cannot_belong_to_the_job_are_passed_over(system):
    system.hold()
    await system.client.submit(lines(2), job_id="mine")
    await store(system, [answered(0), answered(2), answered("0-17")])
    job = system.client.job("mine")
    assert [record.backburner.index async for record in job.results(follow=False)] == [0]


async def test_what_a_deadline_cut_off_has_one_error_record_each(system):
    system.hold()
    job = await system.client.submit(lines(600))
    await system.release(100)
    assert await system.expire(job.id) is JobState.EXPIRED
    records = [record async for record in job.results()]
    assert len(records) == len({record.backburner.index for record in records}) == 600
    cut_off = [record for record in records if not record.ok]
    assert {record.error.code for record in cut_off} == {"expired"}
    assert {record.custom_id for record in cut_off} == {None}
    assert len({record.id for record in records}) == 600
    status = await job.wait(timeout=5)
    assert (status.status, status.request_counts.completed, status.request_counts.failed) == (
        JobState.EXPIRED,
        100,
        500,
    )


async def test_what_a_cancel_cut_off_has_one_error_record_each(system):
    system.hold()
    job = await system.client.submit(lines(3))
    await job.cancel()
    assert (await job.wait(timeout=5)).status is JobState.CANCELLED
    assert [record.error.code async for record in job.results()] == ["cancelled"] * 3


async def test_cancelling_a_frozen_job_changes_nothing(system):
    job = await system.client.submit(lines(3))
    await job.wait(timeout=5)
    assert (await job.cancel()).status is JobState.COMPLETED
    assert await system.storage.get(keys.cancelled("default", job.id)) is None


@pytest.mark.parametrize("read", ["results", "result_lines"])
@pytest.mark.parametrize("end", ["whole", "cancelled", "expired"])
async def test_reading_ends_the_job_where_nobody_else_does(system, monkeypatch, end, read):
    # The worker died before the summary, or there is none: without an end the reader would follow for ever.
    system.hold()
    job = await system.client.submit(lines(3), job_id="mine", deadline=60)
    if end == "whole":
        await store(system, [answered(index) for index in range(3)])
    elif end == "cancelled":
        await system.storage.create(keys.cancelled("default", "mine"), b"")
    else:
        later = time.time() + 3600
        monkeypatch.setattr("time.time", lambda: later)
    async with asyncio.timeout(30):
        count = sum([getattr(one, "count", 1) async for one in getattr(job, read)()])
    assert count == 3
    assert await system.storage.modified(keys.summary("default", "mine")) is not None


async def test_who_may_only_read_reads_what_is_there_and_leaves_the_end_to_others(system, monkeypatch):
    system.hold()
    job = await system.client.submit(lines(3), job_id="mine")
    await store(system, [answered(index) for index in range(3)])
    real, denied = Storage.create, asyncio.Event()

    async def create(self, key, data):
        denied.set()
        raise StoreDenied

    monkeypatch.setattr(Storage, "create", create)
    results = job.results()
    got = [await anext(results) for _ in range(3)]
    following = asyncio.create_task(anext(results, None))
    denied.clear()
    await denied.wait()
    monkeypatch.setattr(Storage, "create", real)
    assert await following is None
    assert len(got) == 3


async def test_a_follower_gets_what_the_freeze_cut_off(system):
    system.hold()
    job = await system.client.submit(lines(4))
    results = job.results()
    await system.release(1)
    assert (await anext(results)).ok
    await system.expire(job.id)
    assert [(record.backburner.index, record.error.code) async for record in results] == [
        (1, "expired"),
        (2, "expired"),
        (3, "expired"),
    ]


@pytest.mark.parametrize("as_file", [True, False])
async def test_joining_gives_each_record_its_request(system, tmp_path, as_file):
    system.hold()
    sent = [*lines(700), "x", lines(1)[0], {**lines(1)[0], "custom_id": "last"}]
    job = await system.client.submit(sent, skip_invalid=True)
    await system.release(100)
    await system.expire(job.id)
    source = sent
    if as_file:
        source = tmp_path / "in.jsonl"
        source.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in sent))
    records = [record async for record in job.results(join=source)]
    assert len(records) == 701
    assert {record.custom_id for record in records} == {*(f"r{number}" for number in range(700)), "last"}
    for record in records:
        assert record.request.custom_id == record.custom_id
    assert "request" not in json.loads(encode_record(records[0]))


async def test_joining_skips_lines_as_the_submit_did(system):
    sent = [{**lines(1)[0], "custom_id": "a", "body": {"model": "nope", "messages": []}}, *lines(2)]
    job = await system.client.submit(sent, skip_invalid=True)
    joined = {record.custom_id: record.request.custom_id async for record in job.results(join=sent)}
    assert joined == {"r0": "r0", "r1": "r1"}


@pytest.mark.parametrize("as_file", [True, False])
@pytest.mark.parametrize("stored", [True, False])
async def test_joining_skips_what_the_submit_skipped_whichever_pools_came_and_went_since(
    system, tmp_path, stored, as_file
):
    sent = [
        one | {"body": {"model": "later", "messages": []}} if number % 3 == 1 else one
        for number, one in enumerate(lines(9))
    ]
    sent += [
        one | {"custom_id": f"g{number}", "body": {"model": "gone", "messages": []}}
        for number, one in enumerate(lines(2))
    ]
    sent.append({"custom_id": "no body"})
    await system.client.register_pool("gone")
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in sent))
    system.hold()
    job = await system.client.submit(path if as_file else sent, skip_invalid=True, stored=stored)
    if stored:
        # What its dispatcher and a worker do.
        manifest = await read_manifest(system.storage, "default", job.id)
        sealed = Sealed(total=8, sha256=manifest.stored.sha256, sealed_at=0.0, skipped=manifest.stored.skipped)
        await system.storage.put(keys.sealed("default", job.id), sealed.model_dump_json().encode())
        names = [f"r{number}" for number in range(9) if number % 3 != 1] + ["g0", "g1"]
        await store(
            system,
            [answered(index).model_copy(update={"custom_id": name}) for index, name in enumerate(names)],
            job=job.id,
        )
    await system.release()
    await system.client.register_pool("later")
    await system.client.remove_pool("gone")
    joined = {one.custom_id: one.request async for one in system.new_client().job(job.id).results(join=sent)}
    assert {name: request.custom_id for name, request in joined.items()} == {name: name for name in joined}
    assert joined.keys() == {f"r{number}" for number in range(9) if number % 3 != 1} | {"g0", "g1"}


@pytest.mark.parametrize("as_file", [True, False])
async def test_joining_with_a_job_that_was_never_sealed_skips_what_its_submit_skipped(
    system, tmp_path, monkeypatch, as_file
):
    def unknown(number):
        return {**lines(1)[0], "custom_id": f"u{number}", "body": {"model": f"u{number % 2}", "messages": []}}

    sent = [unknown(0), *lines(600), unknown(1), *lines(1200)[600:], unknown(2)]

    def items():
        yield from sent
        raise KeyError

    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in sent))

    real = Storage.create

    async def create(self, key, data):
        if key == keys.sealed("default", "mine"):
            raise KeyError
        return await real(self, key, data)

    monkeypatch.setattr(Storage, "create", create)
    with pytest.raises(KeyError):
        await system.client.submit(path if as_file else items(), job_id="mine", skip_invalid=True)
    job = system.client.job("mine")
    await job.cancel()
    assert (await job.wait(timeout=10)).request_counts.completed >= 1000
    found = {one.index: one.request.custom_id async for one in job.results(join=sent)}
    assert found == {index: f"r{index}" for index in found}


async def test_joining_with_another_input_is_a_conflict(system):
    job = await system.client.submit(lines(5))
    for other in (lines(4), list(reversed(lines(5)))):
        with pytest.raises(JobConflict):
            _ = [record async for record in job.results(join=other)]


async def test_a_stored_input_names_what_was_cut_off(system):
    system.hold()
    job = await system.client.submit(lines(5))
    await system.storage.put(
        keys.stored_input("default", job.id), "".join(json.dumps(one) + "\n" for one in lines(5)).encode()
    )
    await system.release(2)
    await system.expire(job.id)
    records = [record async for record in job.results()]
    assert {record.custom_id for record in records} == {f"r{number}" for number in range(5)}
    assert not hasattr(records[0], "request")


async def test_streams_are_read_without_a_manifest(system):
    name = "stream-backburner.fake.normal-2026-01-01"
    await store(system, [answered("0-1"), answered("0-2")], job=name)
    await store(system, [answered("0-2"), answered("1-0")], job=name)
    job = system.client.job(name)
    found = [record.backburner.index async for record in job.results(follow=False)]
    assert sorted(found) == ["0-1", "0-2", "1-0"]
    with pytest.raises(JobNotFound, match="follow=False"):
        await anext(job.results())


async def test_a_job_that_is_not_there_has_no_results(system):
    for follow in (True, False):
        with pytest.raises(JobNotFound, match="nope"):
            await anext(system.client.job("nope").results(follow=follow))


async def test_a_segment_that_cannot_be_read_is_an_error(system):
    system.hold()
    await system.client.submit(lines(2), job_id="mine")
    name = keys.SegmentName("0" * 26, 0, 1, 0, 0, 0, 0)
    await system.storage.put(keys.segment("default", "mine", name), b"no json\n")
    with pytest.raises(StoreError, match=str(name)):
        await anext(system.client.job("mine").results(follow=False))


async def test_many_segments_are_read_to_the_end(system):
    system.hold()
    await system.client.submit(lines(50), job_id="mine")
    for index in range(50):
        await store(system, [answered(index)], writer="0" * 26, sequence=index)
    job = system.client.job("mine")
    assert [record.backburner.index async for record in job.results(follow=False)] == list(range(50))


async def test_waiting_ends_at_the_time_out(system):
    system.hold()
    job = await system.client.submit(lines(1))
    with pytest.raises(ResultTimeout, match=job.id):
        await job.wait(timeout=0.05)


async def test_waiting_tells_what_it_sees(system):
    system.hold()
    job = await system.client.submit(lines(2))
    told = []

    def tell(status):
        told.append(status)

    with pytest.raises(ResultTimeout):
        await job.wait(timeout=0.01, progress=tell)
    await system.release()
    await job.wait(timeout=5, progress=tell)
    assert told[0].status is JobState.IN_PROGRESS
    assert told[-1].status is JobState.COMPLETED


async def test_waiting_freezes_a_job_that_has_its_records(system):
    system.hold()
    await system.client.submit(lines(2), job_id="mine")
    await store(system, [answered(0), failed(1, Expired())])
    status = await system.client.job("mine").wait(timeout=5)
    assert status.status is JobState.EXPIRED
    assert await system.storage.get(keys.open_job("default", "mine")) is None


async def test_records_that_say_cancelled_end_the_job_as_cancelled(system):
    system.hold()
    await system.client.submit(lines(1), job_id="mine")
    await store(system, [failed(0, Cancelled())])
    await system.storage.put(keys.cancelled("default", "mine"), b"")
    assert (await system.client.job("mine").wait(timeout=5)).status is JobState.CANCELLED


async def test_a_far_index_of_a_job_that_is_still_sent_harms_no_reader(system, half_sent):
    await store(system, [answered(0), answered(2**53 - 1)])
    assert 0 in [record.backburner.index async for record in half_sent.results(follow=False)]
    assert await system.expire("mine") is JobState.EXPIRED
    indexes = [record.backburner.index async for record in half_sent.results()]
    assert 0 in indexes
    assert max(indexes) < 600


def test_records_that_are_scattered_over_more_numbers_than_any_job_has_are_told(monkeypatch):
    monkeypatch.setattr(seen_indexes, "_MAX_PAGES_COUNT", 3)
    seen = SeenIndexes()
    assert all(seen.add(number << 40) for number in range(3))
    assert not seen.add(1 << 40)
    for add, index in ((seen.add, 1 << 50), (seen.add_all, IndexSet([(1 << 50, 1 << 50 | 1)]))):
        with pytest.raises(StoredObjectBroken, match="find out what wrote them"):
            add(index)


def test_a_far_index_takes_no_more_memory_than_a_near_one():
    seen = SeenIndexes()
    tracemalloc.start()
    try:
        assert [seen.add(index) for index in (0, 2**53 - 1, 2**40, 2**53 - 1)] == [True, True, True, False]
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


NUMBERS = st.one_of(st.integers(0, 150), st.integers(0, 5000), st.integers(65_530, 65_545), st.integers(0, 2**53 - 1))


@given(st.lists(st.one_of(NUMBERS, st.text(min_size=1, max_size=2))))
def test_seen_indexes_are_a_set(indexes):
    seen, known = SeenIndexes(), set()
    for index in indexes:
        assert seen.add(index) is (index not in known)
        known.add(index)


async def lines_of(job, **options):
    pieces = [piece async for piece in job.result_lines(**options)]
    found = [json.loads(line) for piece in pieces for line in piece.data.splitlines()]
    assert len(found) == sum(piece.count for piece in pieces)
    assert sum(one["error"] is not None for one in found) == sum(piece.failed for piece in pieces)
    assert all(piece.data.endswith(b"\n") for piece in pieces)
    return found


async def test_the_lines_are_those_that_the_records_have(system):
    system.fail({"r3", "r700"}, EngineError())
    job = await system.client.submit(lines(1000), job_id="mine")
    records = [record async for record in job.results()]
    found = await lines_of(job)
    assert sorted(found, key=lambda one: one["backburner"]["index"]) == [
        json.loads(encode_record(one)) for one in sorted(records, key=lambda one: one.backburner.index)
    ]
    assert {one["custom_id"] for one in found if one["error"]} == {"r3", "r700"}


async def test_segments_that_are_not_whole_are_looked_at_line_by_line(system):
    system.hold()
    await system.client.submit(lines(8), job_id="mine")
    bad = EngineError()
    await store(system, [failed(0, bad), answered(1), answered(2)], writer="1" * 26)
    await store(system, [answered(2), answered(3), answered(0)], writer="2" * 26)
    await store(system, [answered(4), failed(4, bad), answered(5), answered(5)], writer="3" * 26)
    await store(system, [answered(6), answered(6)], writer="4" * 26)
    await store(system, [answered(7), answered(99)], writer="5" * 26)
    job = system.client.job("mine")
    await system.expire("mine")
    found = await lines_of(job)
    assert sorted(one["backburner"]["index"] for one in found) == list(range(8))
    assert [one["custom_id"] for one in found if one["error"]] == []
    assert sorted([record.backburner.index async for record in job.results()]) == list(range(8))


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=5), max_size=5), st.booleans()
)
async def test_lines_and_records_agree_whatever_the_segments_hold(segments, frozen):
    async with FakeSystem() as system:
        system.hold()
        await system.client.submit(lines(8), job_id="mine")
        for sequence, segment in enumerate(segments):
            made = [answered(index) if ok else failed(index, EngineError()) for index, ok in segment]
            await store(system, made, writer="1" * 26, sequence=sequence)
        if frozen:
            await system.expire("mine")
        job = system.client.job("mine")
        found = [ResultRecord.model_validate(one) for one in await lines_of(job, follow=frozen)]
        assert found == [record async for record in job.results(follow=frozen)]


@pytest.mark.parametrize("junk", [b'\n{"no":', b'\nno record}\n{"id":', b'\n\n{"id":'])
async def test_lines_that_are_no_records_are_not_passed_on(system, junk):
    system.hold()
    job = await system.client.submit(lines(2), job_id="mine")
    name = await store(system, [answered(0), answered(1)])
    key = keys.segments("default", "mine") + name
    stored = (await system.storage.get(key)).data
    await system.storage.put(key, stored.replace(b'\n{"id":', junk))
    with pytest.raises(StoreError, match="not a result record"):
        await lines_of(job, follow=False)


async def test_lines_of_requests_that_were_cut_off_have_their_custom_ids(system):
    system.hold()
    job = await system.client.submit(lines(3), job_id="mine")
    text = "".join(json.dumps(one) + "\n" for one in lines(3))
    await system.storage.put(keys.stored_input("default", "mine"), text.encode())
    await system.expire("mine")
    assert [one["custom_id"] for one in await lines_of(job)] == ["r0", "r1", "r2"]


async def test_a_segments_lines_without_a_custom_id_get_it_too(system):
    system.hold()
    job = await system.client.submit(lines(2), job_id="mine")
    text = "".join(json.dumps(one) + "\n" for one in lines(2))
    await system.storage.put(keys.stored_input("default", "mine"), text.encode())
    nameless = failed(1, EngineError()).model_copy(update={"custom_id": None})
    await store(system, [answered(0), nameless])
    await system.expire("mine")
    assert {one["custom_id"] for one in await lines_of(job)} == {"r0", "r1"}


RANGES = st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 150_000)), max_size=4)


@given(st.lists(RANGES, max_size=4), st.lists(st.integers(0, 350_000), max_size=5))
def test_ranges_of_indexes_are_taken_up_as_one_by_one(sets, single):
    seen, there = SeenIndexes(), set()
    for one in single:
        assert seen.add(one) is (one not in there)
        there.add(one)
    known = IndexSet.of(there)
    for ranges in sets:
        wanted = IndexSet((start, start + length) for start, length in ranges)
        new = not wanted & known
        assert seen.add_all(wanted) is new
        known = known | wanted if new else known
    for start, stop in known.ranges:
        assert not any(seen.add(index) for index in {start, stop - 1, (start + stop) // 2})
        assert stop in known or seen.add(stop)
        known = known | IndexSet.of([stop])


async def test_readers_that_share_memory_hold_no_more_than_it_and_read_all(system, monkeypatch):
    system.hold()
    await system.client.submit(lines(12), job_id="mine")
    for index in range(12):
        await store(system, [answered(index, "x" * 10_000)], writer="0" * 26, sequence=index)
    memory, most = MemoryBudget(50_000), 0
    view = system.storage.view

    async def seen(key):
        nonlocal most
        most = max(most, memory.used)
        return await view(key)

    monkeypatch.setattr(system.storage, "view", seen)

    async def read():
        reader = RecordReader(system.storage, "default", "mine", memory=memory)
        return [one async for piece in reader.pieces(follow=False) for some in records_of(piece) for one in some]

    async with asyncio.timeout(30):
        found = await asyncio.gather(*(read() for _ in range(4)))
    assert [len(one) for one in found] == [12] * 4
    # Two segments fit, each counted twice, and one may always go on.
    assert 40_000 < most < 80_000
    assert memory.used == 0
