"""The pipeline on a queue in memory: what a cancel and a deadline end, and when."""

from pipeline_bench import JOB, TENANT, Bench, CountingEngine, running, until

from backburner.storage import Storage
from backburner_schemas import keys


async def test_a_cancelled_job_is_not_run_and_ends_cancelled(bench: Bench) -> None:
    await bench.make_job(total=3)
    await bench.storage.put(keys.cancelled(TENANT, JOB), b"")
    async with running(bench):
        await until(lambda: bench.worker._jobs.facts((TENANT, JOB)).cancelled)
        for index in range(3):
            bench.send(index)
        await until(bench.summary)
    summary = await bench.summary()
    assert summary is not None
    assert summary.state == "cancelled"
    assert bench.engine.answered == 0


async def test_an_expired_request_is_not_run_and_its_job_ends_expired(bench: Bench) -> None:
    await bench.make_job(total=1, deadline=1.0)
    async with running(bench):
        bench.send(0)
        await until(bench.summary)
    summary = await bench.summary()
    assert summary is not None
    assert summary.state == "expired"
    assert bench.engine.answered == 0


async def test_what_is_done_of_a_job_is_stored_when_the_job_is_cancelled(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(), segment_min_age_seconds=60.0, segment_max_age_seconds=60.0)
    await bench.make_job(total=2)
    async with running(bench):
        bench.send(0)
        bench.send(1, "[[slow:3600]]")
        await until(lambda: bench.engine.answered == 1)
        assert await bench.records() == []
        await bench.storage.put(keys.cancelled(TENANT, JOB), b"")
        await until(bench.records)
        for delivery in bench.source.held():
            delivery.lease.lose()


async def test_what_is_cancelled_while_it_waits_for_room_never_reaches_the_engine(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=3600, kv_tokens=100))
    await bench.make_job()
    async with running(bench):
        large = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000}
        # Each counts as half of the tokens that there are.
        bench.send(0, job="single-first", body=large)
        bench.send(0, job="single-second", body=large)
        await until(lambda: bench.in_engine == 2)
        first, second = bench.source.held()
        bench.send(0, body=large)
        await until(lambda: len(bench.source.held()) == 3)
        await bench.storage.put(keys.cancelled(TENANT, JOB), b"")
        await until(lambda: bench.pipeline._jobs.facts((TENANT, JOB)).cancelled)
        first.lease.lose()
        second.lease.lose()
        await until(bench.records)
    assert bench.engine.answered == 0
    [record] = await bench.records()
    assert record.error is not None
    assert record.error.code == "cancelled"
