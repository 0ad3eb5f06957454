"""Results of a job whose stored objects are hostile: the gateway goes on, in bounded memory and turns of its loop."""

import asyncio
from contextlib import aclosing

import pytest

from backburner.gateway.answer_memory import AnswerMemory
from backburner.gateway.batches import results
from backburner.gateway.batches.results import BatchResults, ResultFile, ResultKind
from backburner_schemas import keys
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import Counts, JobManifest, JobState, StoredInput, Summary
from backburner_schemas.names import MAX_INDEX

TENANT, JOB = "acme", "batch_evil"
FILE = ResultFile(JOB, ResultKind.ERRORS)


async def make(storage, data=None):
    """A job that claims that all of the indexes that can be are missing."""
    source = StoredInput(key=keys.stored_input(TENANT, JOB), bytes=MAX_INDEX)
    manifest = JobManifest(id=JOB, tenant=TENANT, created_at=1, deadline=2, stored=source)
    everything = IndexSet.below(MAX_INDEX + 1)
    counts = Counts(total=len(everything), failed=len(everything))
    summary = Summary(state=JobState.EXPIRED, counts=counts, missing=everything, missing_code="expired", finalized_at=1)
    await storage.put(keys.manifest(TENANT, JOB), manifest.model_dump_json().encode())
    await storage.put(keys.summary(TENANT, JOB), summary.model_dump_json().encode())
    if data is not None:
        await storage.put(source.key, data)


async def first_blocks(storage, count):
    reading = BatchResults(storage, TENANT)
    view = await reading.find(FILE)
    found = []
    async with asyncio.timeout(30), aclosing(reading.lines(FILE, view, AnswerMemory(seconds=1.0))) as lines:
        async for block in lines:
            found.append(block)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("data", [None, b'{"custom_id":"first"}\n'], ids=["no input", "a short input"])
async def test_more_missing_requests_than_can_be_counted_are_told_block_by_block(storage, data):
    await make(storage, data)
    blocks = await first_blocks(storage, 5)
    assert all(len(block) < 2 * results._BLOCK_BYTES for block in blocks)
    assert (b'"custom_id":"first"' in blocks[0]) is (data is not None)
    assert blocks[0].count(b"\n") > 100


async def test_an_input_that_is_one_endless_line_is_not_held(storage, monkeypatch):
    monkeypatch.setattr(results, "_MAX_LINE_BYTES", 1 << 20)
    read = 0
    await make(storage, b"")
    pieces = b"x" * (1 << 18)

    async def endless(_key):
        nonlocal read
        while True:
            read += len(pieces)
            yield pieces

    reading = BatchResults(storage, TENANT)
    monkeypatch.setattr(reading._storage, "stream", endless)
    view = await reading.find(FILE)
    async with asyncio.timeout(30), aclosing(reading.lines(FILE, view, AnswerMemory(seconds=1.0))) as lines:
        assert await anext(aiter(lines))
    assert read < 4 << 20
