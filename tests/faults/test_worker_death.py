"""Workers that die or leave in the middle of a job: nothing accepted is lost, and little of what is done is redone."""

import os
import signal

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from live import lines
from processes import is_running
from waiting import until

from backburner_schemas import keys

pytestmark = [pytest.mark.broker, pytest.mark.store]

BOUND = 90


async def settled(job, count):
    """Whether that many requests have their record."""
    counts = (await job.status()).request_counts
    return counts.completed + counts.failed >= count


async def distinct(job):
    found = [record.custom_id async for record in job.results()]
    assert len(found) == len(set(found))
    return set(found)


async def committed(stack, pool, lane):
    """How many messages of a lane the pool's group has committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.broker.bootstrap)
    await admin.start()
    try:
        partitions = [TopicPartition(f"backburner.{pool}.{lane}", number) for number in range(8)]
        found = await admin.list_consumer_group_offsets(f"backburner.{pool}", partitions=partitions)
    finally:
        await admin.close()
    return sum(max(one.offset, 0) for one in found.values())


async def test_a_job_survives_kill_9_of_one_of_its_workers(stack, client):
    await stack.make_pool("killed")
    first, second = stack.worker("killed"), stack.worker("killed")
    await stack.warm(first, second)
    # A latency that leaves time to kill it in the middle, on whatever machine.
    job = await client.submit(lines(20_000, "{} [[slow:0.2]]", model="killed"))
    await until(lambda: settled(job, 2_000), "the first results")
    assert first.metric("backburner_deliveries_in_flight") > 0
    first.send(signal.SIGKILL)
    await until(lambda: first.exit_status is not None, "its end")
    assert not await settled(job, 20_000)
    third = stack.worker("killed")
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed) == ("completed", 20_000)
    assert await distinct(job) == {f"r{number}" for number in range(20_000)}
    books = await job.reconcile()
    assert books.agrees
    assert (books.ok, books.failed, books.pending) == (20_000, 0, 0)
    # Each of the three had its share.
    writers = {record.backburner.worker async for record in job.results()}
    assert len(writers) == 3
    assert books.duplicates < 200
    assert third.is_warm()


async def test_what_is_stored_and_not_committed_is_not_run_again(stack, client):
    await stack.make_pool("redone")
    first = stack.worker("redone")
    await stack.warm(first)
    # The slow ones come first and hold the low-water marks back.
    requests = [*lines(64, "{} [[slow:5]]", model="redone", prefix="slow"), *lines(2_000, model="redone")]
    job = await client.submit(requests)
    await until(lambda: settled(job, 1_500), "the quick ones")
    first.send(signal.SIGKILL)
    second = stack.worker("redone")
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed) == ("completed", 2_064)
    # This broker drops commit metadata, so that the low-water mark alone would send nearly all of it back.
    assert (await job.reconcile()).duplicates == 0
    assert second.metric('backburner_deliveries_settled_total{code="",outcome="already_answered"}') > 0
    assert await distinct(job) == {request["custom_id"] for request in requests}


async def test_nothing_is_committed_before_it_is_durable(stack, client):
    await stack.make_pool("waiting")
    # Segments that wait for long, and a request that does not end, so that the job is not written out at once.
    ages = dict.fromkeys(("BACKBURNER_SEGMENT_MIN_AGE_SECONDS", "BACKBURNER_SEGMENT_MAX_AGE_SECONDS"), "60")
    worker = stack.worker("waiting", **ages, BACKBURNER_FREEZE_GRACE_SECONDS="90")
    await stack.warm(worker)
    job = await client.submit([*lines(500, model="waiting"), *lines(1, "[[hang]]", model="waiting", prefix="hang")])
    await until(
        lambda: worker.metric('backburner_deliveries_in_flight{stage="storing"}') == 500, "500 that wait to be written"
    )
    # A request of another lane, durable at once, shows that commits are made.
    handle = await client.enqueue("later", model="waiting", priority="high")
    await handle.result(timeout=BOUND)

    async def high_committed():
        return await committed(stack, "waiting", "high") == 1

    await until(high_committed, "a commit")
    assert await committed(stack, "waiting", "normal") == 0
    assert (await job.reconcile()).ok == 0

    worker.send(signal.SIGTERM)
    await until(lambda: worker.exit_status is not None, "its end")
    assert worker.exit_status == 0
    assert (await job.reconcile()).ok == 500
    # All but those behind the one that hangs, in its partition.
    assert 0 < await committed(stack, "waiting", "normal") < 501
    await job.cancel()


async def test_sigterm_stores_and_settles_what_is_finished_and_nothing_is_lost(stack, client):
    await stack.make_pool("drained")
    first = stack.worker("drained")
    await stack.warm(first)
    job = await client.submit(lines(4_000, "{} [[slow:0.3]]", model="drained"))
    await until(lambda: settled(job, 500), "the first results")
    first.send(signal.SIGTERM)
    await until(lambda: first.exit_status is not None, "its end")
    assert first.exit_status == 0
    assert first.said("draining")
    # What was in the engine got its drain time; what was not went back.
    (draining,) = first.said("draining")
    assert draining["running"] > 0
    left = await job.status()
    assert left.status == "in_progress"
    stack.worker("drained")
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed) == ("completed", 4_000)
    assert await distinct(job) == {f"r{number}" for number in range(4_000)}
    books = await job.reconcile()
    assert books.agrees
    assert books.duplicates == 0


async def test_a_request_longer_than_the_drain_goes_back_and_is_run_by_the_next_worker(stack, client):
    await stack.make_pool("long")
    first = stack.worker("long", BACKBURNER_DRAIN_SECONDS="0.5")
    await stack.warm(first)
    job = await client.submit([*lines(10, model="long"), *lines(1, "[[slow:4]]", model="long", prefix="long")])
    await until(lambda: settled(job, 10), "the short ones")
    first.send(signal.SIGTERM)
    await until(lambda: first.exit_status is not None, "its end")
    assert first.exit_status == 0
    assert (await job.reconcile()).pending == 1
    stack.worker("long")
    assert (await job.wait(timeout=BOUND)).request_counts.completed == 11


async def test_a_second_sigterm_ends_a_drain_at_once(stack, client):
    await stack.make_pool("hurried")
    first = stack.worker("hurried", BACKBURNER_DRAIN_SECONDS="30", BACKBURNER_FREEZE_GRACE_SECONDS="40")
    await stack.warm(first)
    job = await client.submit(lines(3, "[[hang]]", model="hurried"))
    await until(lambda: first.metric("backburner_deliveries_in_flight") == 3, "three that run")
    first.send(signal.SIGTERM)
    await until(lambda: first.said("draining"), "the drain")
    first.send(signal.SIGTERM)
    await until(lambda: first.exit_status is not None, "its end", seconds=10)
    assert first.exit_status == 128 + signal.SIGTERM
    await job.cancel()


async def test_kill_9_of_the_engine_ends_the_worker_with_its_finished_work_stored(stack, client):
    await stack.make_pool("lost")
    # What was in the engine runs alone afterwards, so that is kept small.
    settings = {"BACKBURNER_FAKE_PROCESS": "true", "BACKBURNER_CONCURRENCY": "64"}
    first = stack.worker("lost", **settings)
    await stack.warm(first)
    job = await client.submit(lines(3_000, "{} [[slow:0.1]]", model="lost"))
    await until(lambda: settled(job, 500), "the first results")
    (engine,) = first.children()
    os.kill(engine, signal.SIGKILL)
    await until(lambda: first.exit_status is not None, "its end")
    assert first.exit_status == 1
    (told,) = first.said("process failed")
    assert told["code"] == "engine_lost"
    done = (await job.reconcile()).ok
    assert 500 <= done < 3_000

    second = stack.worker("lost", **settings)
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed) == ("completed", 3_000)
    assert await distinct(job) == {f"r{number}" for number in range(3_000)}
    books = await job.reconcile()
    assert books.agrees
    assert books.duplicates <= done
    # Nothing became a dead letter for the engine's death.
    assert [one async for one in stack.storage().scan(f"tenants/default/dead/{job.id}/")] == []
    (engine,) = second.children()
    second.send(signal.SIGKILL)
    await until(lambda: not is_running(engine), "the end of the engine, which its worker took along")


async def test_a_worker_of_another_model_refuses_the_pool(stack):
    await stack.make_pool("mine")
    stranger = stack.worker("other", BACKBURNER_POOL="mine")
    await until(lambda: stranger.exit_status is not None, "its end")
    assert stranger.exit_status == 1
    (told,) = stranger.said("process failed")
    assert told["code"] == "pool_not_found"
    assert "topics ensure --pool other" in told["error"]


async def test_an_announcement_goes_with_a_worker_that_left_cleanly(stack, client):
    await stack.make_pool("announced")
    one = stack.worker("announced")
    await stack.warm(one)

    async def live():
        return next(pool for pool in await client.pools() if pool.pool == "announced").workers

    (announced,) = await until(live, "its announcement")
    assert announced.models == ("announced",)
    one.send(signal.SIGTERM)
    await until(lambda: one.exit_status is not None, "its end")
    assert await live() == ()
    assert await stack.storage().get(keys.worker("announced", announced.worker)) is None
