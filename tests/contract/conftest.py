"""Real brokers for the contract tests: each its own process, folder and port; and pools and members upon them."""

import asyncio
import contextlib
import importlib.util
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.record.util import calc_crc32c

from backburner.local import broker as tansu_broker
from backburner.local.child import Child, Program, clean_environment
from backburner.local.ports import LOOPBACK, PortLeases
from backburner.local.probe import speaks_kafka
from backburner.publishers.base import Message
from backburner.publishers.kafka import KafkaPublisher, ensure_topics, kafka_connection
from backburner.settings import Settings
from backburner_schemas import routing
from backburner_schemas.codec import Rules
from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import QueueError, SettingsError
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, RevokedCallback
from backburner_worker.sources.kafka import KafkaSource

PARTITIONS = 4
PATIENCE = 60.0
"""Seconds that anything may take on a busy machine, before it counts as never."""


class Noida:
    """The broker `noida-db`, which does what Kafka does where Tansu does not. It can be restarted in place."""

    def __init__(self, program: Path, data: Path, leases: PortLeases) -> None:
        self.port = leases.take()
        self.bootstrap = f"{LOOPBACK}:{self.port}"
        port = str(self.port)
        argv = (str(program), "start", "--data-dir", str(data), "--only", "kafka", "--kafka-port", port)
        self._child = Child(
            Program(name="noida", argv=argv, env=clean_environment(), log=data / "noida.log", error=QueueError)
        )

    def start(self) -> None:
        self._child.start()
        self._child.wait_until(lambda: speaks_kafka(self.port), seconds=PATIENCE)

    def stop(self) -> None:
        self._child.stop(grace=10.0)

    @contextlib.contextmanager
    def silenced(self) -> Iterator[None]:
        """It keeps its connections and answers nothing."""
        assert self._child.pid is not None
        os.killpg(self._child.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._child.pid, signal.SIGCONT)


async def nothing() -> None:
    """A revocation callback for a pipeline that holds nothing."""


@dataclass(frozen=True)
class Pool:
    """Fresh topics on a broker, and what reaches them."""

    settings: Settings
    name: str
    members: contextlib.AsyncExitStack
    session_seconds: float

    @property
    def topics(self) -> dict[str, Lane]:
        return routing.topics(self.settings.prefix, self.name)

    async def publish(self, count: int, *, lane: Lane = Lane.NORMAL, first: int = 0, step: int = 1) -> None:
        """That many requests, by the real publisher."""
        publisher = KafkaPublisher(self.settings)
        await publisher.start()
        try:
            await publisher.publish([self.message(first + number * step, lane=lane) for number in range(count)])
        finally:
            await publisher.close()

    async def send(
        self,
        value: bytes | None,
        *,
        lane: Lane = Lane.NORMAL,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> int:
        """A message as a raw producer sends it; its offset."""
        connection = kafka_connection(self.settings)
        async with AIOKafkaProducer(**connection, acks="all", max_request_size=30_000_000) as producer:
            topic = routing.topic(self.settings.prefix, self.name, lane)
            sent = await producer.send_and_wait(topic, value, b"key", partition=partition, headers=list(headers))
            return int(sent.offset)

    async def send_with_bad_header(self, *, partition: int, lane: Lane = Lane.NORMAL) -> None:
        """A record whose header has a name that is not UTF-8, as a client in another language can write it."""
        connection = kafka_connection(self.settings)
        async with AIOKafkaProducer(**connection, acks="all") as producer:
            topic = routing.topic(self.settings.prefix, self.name, lane)
            batch = producer.create_batch()
            batch.append(timestamp=None, key=b"key", value=b"bad", headers=[("name", b"value")])
            batch.close()
            content = bytearray(batch._build())
            at = content.index(b"name")
            content[at : at + 4] = b"\xff\xfe\xff\xfe"
            # The checksum covers everything from the attributes on, which begin at byte 21.
            content[17:21] = calc_crc32c(bytes(content[21:])).to_bytes(4, "big")
            batch._buffer = bytearray(content)
            await (await producer.send_batch(batch, topic, partition=partition))

    async def committed(self) -> dict[tuple[str, int], int]:
        """What the group has committed, by topic and partition."""
        admin = AIOKafkaAdminClient(**kafka_connection(self.settings))
        await admin.start()
        try:
            wanted = [TopicPartition(topic, number) for topic in self.topics for number in range(PARTITIONS)]
            group = routing.group(self.settings.prefix, self.name)
            found = await admin.list_consumer_group_offsets(group, partitions=wanted)
        finally:
            await admin.close()
        return {(at.topic, at.partition): one.offset for at, one in found.items() if one.offset >= 0}

    def message(self, index: int, *, lane: Lane = Lane.NORMAL) -> Message:
        body = {"model": "fake", "messages": [{"role": "user", "content": f"prompt {index}"}]}
        envelope = Envelope(
            tenant="t", job="job", index=index, custom_id=f"c{index}", url="/v1/chat/completions", body=body
        )
        return Message(self.name, lane, envelope)

    async def member(self, revoked: RevokedCallback | None = None, **kind: Any) -> KafkaSource:
        """A member of the pool's group that has been started."""
        source = self.source(**kind)
        await source.start(revoked or nothing)
        return source

    async def pull(self, source: KafkaSource, count: int, budget: Mapping[Lane, int] | None = None) -> list[Delivery]:
        """Deliveries until there are that many."""
        found: list[Delivery] = []
        async with asyncio.timeout(PATIENCE):
            while len(found) < count:
                found += await source.pull(budget or dict.fromkeys(Lane, count - len(found)))
        return found

    def source(
        self, *, session: float | None = None, instance_id: str | None = None, rules: Rules | None = None
    ) -> KafkaSource:
        """A member of the pool's group, not started; it is closed when the test ends."""
        source = KafkaSource(
            connection=kafka_connection(self.settings),
            topics=self.topics,
            group=routing.group(self.settings.prefix, self.name),
            rules=rules or Rules(),
            session_seconds=session or self.session_seconds,
            rebalance_seconds=20.0,
            instance_id=instance_id,
            client_id="test",
        )
        self.members.push_async_callback(source.close)
        return source


@pytest.fixture(scope="session")
def tansu(tmp_path_factory: pytest.TempPathFactory, missing_server: Callable[[str], NoReturn]) -> Iterator[str]:
    """Tansu in memory, for the whole session: its address."""
    try:
        tansu_broker.find_tansu()
    except SettingsError as error:
        missing_server(str(error))
    with tansu_broker.start(tmp_path_factory.mktemp("tansu"), storage=None) as running:
        yield running.bootstrap


@pytest.fixture(scope="session")
def start_noida(
    tmp_path_factory: pytest.TempPathFactory, missing_server: Callable[[str], NoReturn]
) -> Iterator[Callable[[], Noida]]:
    """Starts a broker of one's own, for tests that stop it; it ends with the session."""
    package = importlib.util.find_spec("noida_db")
    if package is None or package.origin is None:
        missing_server("noida-db is not installed; run `make setup`")
    program = Path(package.origin).parent / "noida-db"
    started: list[Noida] = []
    with PortLeases() as leases:

        def start() -> Noida:
            one = Noida(program, tmp_path_factory.mktemp("noida"), leases)
            started.append(one)
            one.start()
            return one

        try:
            yield start
        finally:
            for one in started:
                one.stop()


@pytest.fixture(scope="session")
def noida(start_noida: Callable[[], Noida]) -> str:
    """Noida, for the whole session: its address."""
    return start_noida().bootstrap


@pytest.fixture(params=["tansu", "noida"])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """The address of each broker in turn."""
    address: str = request.getfixturevalue(request.param)
    return address


_numbers = itertools.count()


@pytest.fixture
def settings_for() -> Callable[[str], Settings]:
    """Settings for the broker at an address, with a prefix of their own, so that tests do not meet."""

    def make(address: str, **more: object) -> Settings:
        return Settings.load(
            queue_url=f"kafka://{address}",
            store_url="file:///unused",
            prefix=f"p{next(_numbers)}",
            topic_partitions=PARTITIONS,
            topic_replication=1,
            **more,
        )

    return make


@pytest.fixture
async def pool_at(
    settings_for: Callable[[str], Settings], tansu: str
) -> AsyncIterator[Callable[[str], Awaitable[Pool]]]:
    """Makes a pool on the broker at an address."""
    async with contextlib.AsyncExitStack() as members:

        async def make(address: str) -> Pool:
            settings = settings_for(address)
            await ensure_topics(settings, "fake")
            # Tansu stands still for half of it at each rebalance; Kafka and noida allow no less than 6 s.
            return Pool(settings, "fake", members, session_seconds=4.0 if address == tansu else 6.0)

        yield make


@pytest.fixture
async def pool(bootstrap: str, pool_at) -> Pool:
    """A pool on each broker in turn."""
    made: Pool = await pool_at(bootstrap)
    return made
