"""What a user's program looks like to a type checker. mypy reads this file; nothing runs it."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import assert_type

from backburner import (
    BatchStatus,
    Client,
    DeadLetter,
    Endpoint,
    Handle,
    InvalidInput,
    Job,
    JoinedResult,
    Lane,
    PoolStatus,
    Reconciliation,
    RedrivenJob,
    RedriveResult,
    RequestFailed,
    ResultRecord,
    SkippedLine,
    StreamStatus,
    SubmitProgress,
    SyncClient,
    SyncHandle,
    SyncJob,
)
from backburner.testing import FakeSystem


async def single(client: Client) -> None:
    """One request."""
    handle = await client.enqueue(
        "hello", model="fake", endpoint=Endpoint.CHAT, priority=Lane.HIGH, deadline=timedelta(hours=1), max_tokens=8
    )
    assert_type(handle, Handle)
    assert_type(handle.id, str)
    assert_type(await handle.peek(), ResultRecord | None)
    try:
        record = await handle.result(timeout=5)
    except RequestFailed as error:
        assert_type(error.record, ResultRecord)
    else:
        assert_type(record.text, str)


async def many(client: Client, lines: AsyncIterator[bytes]) -> None:
    """A job."""

    def tell(progress: SubmitProgress) -> None:
        assert_type(progress.total, int | None)

    try:
        job = await client.submit(Path("in.jsonl"), skip_invalid=True, on_progress=tell)
    except InvalidInput as error:
        assert_type(error.findings, Sequence[SkippedLine])
        return
    assert_type(job, Job)
    assert_type(job.skipped, Sequence[SkippedLine])
    await client.submit([{"custom_id": "a"}])
    await client.submit(lines, priority="low")
    stored = await client.submit(lines, stored=True, window="22:00-06:00", timezone="Europe/Berlin")
    assert_type(await stored.pause(), BatchStatus)
    assert_type(await stored.resume(), BatchStatus)
    async with aclosing(job.results()) as records:
        async for record in records:
            assert_type(record, ResultRecord)
    async for joined in job.results(join="in.jsonl"):
        assert_type(joined, JoinedResult)
    assert_type(await job.wait(timeout=1), BatchStatus)
    assert_type(await job.reconcile(), Reconciliation)
    assert_type(await client.pools(), list[PoolStatus])
    assert_type((await client.remove_pool("old")).model, str)
    assert_type((await client.add_aliases("fake", ["gpt-4o-mini"])).aliases, tuple[str, ...])
    await client.submit(lines, model="fake")
    async with aclosing(client.jobs(limit=5)) as statuses:
        async for status in statuses:
            assert_type(status, BatchStatus)
    async with aclosing(client.streams()) as streams:
        async for stream in streams:
            assert_type(stream, StreamStatus)
    assert_type(await client.stream("stream-mine"), StreamStatus)


def blocking() -> None:
    """The twin."""
    with SyncClient(store_url="memory:///") as client:
        handle = client.enqueue("hello", endpoint="/v1/completions", priority="high")
        assert_type(handle, SyncHandle)
        assert_type(handle.result(), ResultRecord)
        job = client.submit({"custom_id": str(number)} for number in range(3))
        assert_type(job, SyncJob)
        assert_type(job.results(), Iterator[ResultRecord])
        assert_type(client.submit("in.jsonl", stored=True).pause(), BatchStatus)
        assert_type(job.results(join=["{}"]), Iterator[JoinedResult])


async def fake() -> None:
    """A user's own test."""
    async with FakeSystem(lambda envelope: envelope.custom_id) as system:
        assert_type(system.client, Client)
        assert_type(await system.release(), int)


async def dead_letters(client: Client, sync_client: SyncClient) -> None:
    """What could not be answered."""
    async with aclosing(client.dead_letters("batch_1", stale=True)) as letters:
        async for letter in letters:
            assert_type(letter, DeadLetter)
            assert_type(letter.problem, str | None)
    assert_type(await client.dead_letter("batch_1/7"), DeadLetter)
    done = await client.redrive(job="batch_1", deadline=timedelta(hours=1))
    assert_type(done, RedriveResult)
    assert_type(done.jobs, list[RedrivenJob])
    assert_type(await client.purge_dead_letters(all=True), int)
    assert_type(await client.retry_failed("batch_1", input=Path("in.jsonl"), priority="low"), Job)
    assert_type(sync_client.dead_letters(), Iterator[DeadLetter])
    assert_type(sync_client.redrive(all=True), RedriveResult)
    assert_type(sync_client.retry_failed("batch_1", input=[{"custom_id": "a"}]), SyncJob)
