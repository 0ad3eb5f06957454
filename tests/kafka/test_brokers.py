"""A pool on three brokers, of which any one may go at a time: nothing is lost, and all goes on."""

import asyncio

import pytest
from waiting import until

from apache_kafka.replicas import are_whole, replicas
from backburner_schemas.names import Lane
from backburner_worker.sources.base import LogLosses

pytestmark = pytest.mark.broker

PATIENCE = 120.0
NOTHING_LOST = LogLosses(records_lost={}, logs_restarted={})
"""However leaders move while replicas are in sync."""


async def flow(pool, publisher, source, first: int, count: int = 40) -> None:
    """Publish that many, and settle each as it comes."""
    await publisher.publish([pool.message(first + index) for index in range(count)])
    async with asyncio.timeout(PATIENCE):
        seen: set[int] = set()
        while len(seen) < count:
            for one in await source.pull(dict.fromkeys(Lane, 100)):
                await source.settle(one)
                seen.add(one.message.index)
    assert seen == set(range(first, first + count))


async def own_replicas(pool):
    return [one for one in await replicas(pool.settings.queue_url.removeprefix("kafka://")) if one.topic in pool.topics]


async def test_a_pools_partitions_are_on_three_brokers(cluster, cluster_pool):
    found = await own_replicas(cluster_pool)
    assert {one.all for one in found} == {frozenset(cluster.nodes)}
    assert {one.leader for one in found} == set(cluster.nodes)


async def test_a_rolling_restart_is_ridden_out(cluster, cluster_pool):
    pool = cluster_pool
    publisher, source = await pool.started_publisher(), await pool.member()
    await flow(pool, publisher, source, 0)
    for turn, node in enumerate(cluster.nodes.values(), start=1):
        await asyncio.to_thread(node.stop)
        await flow(pool, publisher, source, 1000 * turn)
        node.start()
        await until(lambda: are_whole(cluster.bootstrap), "all replicas in sync", PATIENCE)
    await flow(pool, publisher, source, 5000)
    await pool.owes(0)
    assert source.log_losses() == NOTHING_LOST


async def test_a_broker_that_dies_takes_nothing_with_it(cluster, cluster_pool):
    pool = cluster_pool
    publisher, source = await pool.started_publisher(), await pool.member()
    await flow(pool, publisher, source, 0)
    await publisher.publish([pool.message(1000 + index) for index in range(40)])
    cluster.nodes[1].kill()
    seen: set[int] = set()
    async with asyncio.timeout(PATIENCE):
        while len(seen) < 40:
            for one in await source.pull(dict.fromkeys(Lane, 100)):
                await source.settle(one)
                seen.add(one.message.index)
    assert seen == set(range(1000, 1040))
    await pool.owes(0)


async def test_leaders_move_under_a_running_pool(cluster, cluster_pool):
    pool = cluster_pool
    publisher, source = await pool.started_publisher(), await pool.member()
    await flow(pool, publisher, source, 0)
    cluster.nodes[2].kill()
    await until(lambda: _led_by_others(pool, 2), "other leaders", PATIENCE)
    await flow(pool, publisher, source, 1000)
    cluster.nodes[2].start()
    await until(lambda: are_whole(cluster.bootstrap), "all replicas in sync", PATIENCE)
    await asyncio.to_thread(
        cluster.tool, "LeaderElectionCommand", "--election-type", "preferred", "--all-topic-partitions"
    )
    assert 2 in {one.leader for one in await own_replicas(pool)}
    await flow(pool, publisher, source, 2000)
    await pool.owes(0)
    assert source.log_losses() == NOTHING_LOST


async def test_the_groups_coordinator_moves_under_a_running_pool(cluster, cluster_pool):
    pool = cluster_pool
    publisher, source = await pool.started_publisher(), await pool.member()
    await flow(pool, publisher, source, 0)
    coordinator = source._consumer._coordinator.coordinator_id
    cluster.nodes[coordinator].kill()
    await flow(pool, publisher, source, 1000)
    await pool.owes(0)
    assert source._consumer._coordinator.coordinator_id != coordinator
    assert source.log_losses() == NOTHING_LOST


async def _led_by_others(pool, node: int) -> bool:
    return all(one.leader not in {node, -1} for one in await own_replicas(pool))
