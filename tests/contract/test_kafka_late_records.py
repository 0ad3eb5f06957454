"""A record that a broker shows after a later one: Tansu numbers records first, and stores each when it comes to it."""

import threading
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaProducer
from refusing_store import RefusingStore
from waiting import until

from backburner.local.programs import broker, store

pytestmark = [pytest.mark.broker, pytest.mark.store]

LATE = "/0000000000/records/00000000000000000001.batch"
"""Offset 1 of partition 0."""


class LateStore(RefusingStore):
    """Before a real store: writes one object when it is allowed to, and not before."""

    def __init__(self, behind: str) -> None:
        super().__init__(behind)
        self.asked, self.allowed = threading.Event(), threading.Event()
        self.refuses = self._hold

    def _hold(self, method: str, path: str) -> bool:
        if method == "PUT" and path.endswith(LATE):
            self.asked.set()
            self.allowed.wait()
        return False


@pytest.fixture
def late_store(tmp_path):
    with store.start(tmp_path) as running, LateStore(running.endpoint) as late:
        try:
            with broker.start(
                tmp_path, storage=SimpleNamespace(environment=running.environment, endpoint=late.endpoint)
            ) as tansu:
                late.bootstrap = tansu.bootstrap
                yield late
        finally:
            late.allowed.set()


async def test_a_record_that_comes_behind_a_later_one_is_given_all_the_same(late_store, kafka_pool):
    pool = await kafka_pool("kafka-tansu", late_store.bootstrap)
    source = await pool.member()
    connection = {**pool.connection, "acks": "all", "enable_idempotence": False}
    async with AIOKafkaProducer(**connection) as one, AIOKafkaProducer(**connection) as other:
        await one.send_and_wait(pool.topic(), b"first", partition=0)
        late = await one.send(pool.topic(), b"late", partition=0)
        await until(late_store.asked.is_set, "the late record on its way into the store")
        await other.send_and_wait(pool.topic(), b"next", partition=0)
        found = await pool.pull(source, 2)
        assert sorted(delivery.raw for delivery in found) == [b"first", b"next"]
        await pool.settle(source, found)
        await until(lambda: source.uncommitted() == 1, "a commit up to the gap")
        late_store.allowed.set()
        await late
        [given] = await pool.pull(source, 1)
    assert given.raw == b"late"
    await pool.settle(source, [given])
    await until(lambda: source.uncommitted() == 0, "a commit behind the gap")
    assert (await pool.committed())[pool.topic(), 0] == 3
