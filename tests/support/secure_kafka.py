"""A broker of Apache Kafka with all its ways to sign in, and good credentials for each of them. Tests make them bad."""

import asyncio
import itertools
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from authority import Authority
from tokens import Issuer

from apache_kafka.security import Kind, Operation, Rule, SecureKafka, Way
from backburner.publishers.base import Message
from backburner.publishers.kafka.publisher import KafkaPublisher
from backburner_schemas import routing
from backburner_schemas.envelope import Envelope
from backburner_schemas.names import Lane
from backburner_worker.settings import WorkerSettings
from backburner_worker.sources.factory import open_source

PASSWORD = "secret"
POOL = "fake"
PATIENCE = 60.0
_prefixes = itertools.count()


@dataclass
class Stage:
    """The broker, who signs its certificates and tokens, and settings for it."""

    kafka: SecureKafka
    authority: Authority
    stranger: Authority
    """Of no meaning to the broker; it signs in the same names."""
    issuer: Issuer
    token_url: str
    folder: Path

    def settings(self, way: Way | None, *, user: str = "worker", **more) -> WorkerSettings:
        """Settings that lead in by that way as that user, with a prefix of their own; None is the administrator's."""
        made = dict(more)
        if way is None:
            return self._load(self.kafka.admin, made)
        given = {"kafka_security_ca_file": str(self.authority.file)}
        if way is Way.MUTUAL:
            given["kafka_security_protocol"] = "SSL"
        if way is Way.MUTUAL and "kafka_security_cert_file" not in more:
            files = self.certificate(user)
            given |= {
                "kafka_security_cert_file": str(files.cert),
                "kafka_security_key_file": str(files.key),
            }
        elif way is Way.OAUTH:
            given |= {
                "kafka_security_protocol": "SASL_SSL",
                "kafka_security_mechanism": "OAUTHBEARER",
                "kafka_security_token_url": self.token_url,
                "kafka_security_client_id": user,
                "kafka_security_client_secret": self.issuer.clients[user],
            }
        elif way is not Way.MUTUAL:
            given |= {
                "kafka_security_protocol": "SASL_SSL",
                "kafka_security_username": user,
                "kafka_security_password": PASSWORD,
            }
        given = {name: value for name, value in (given | made).items() if value is not None}
        return self._load(f"127.0.0.1:{self.kafka.fronts[way]}", given)

    def _load(self, servers, given) -> WorkerSettings:
        return WorkerSettings.load(
            **{
                "queue_url": f"kafka://{servers}",
                "store_url": "memory:///test",
                "engine": "fake",
                "model": "fake",
                "prefix": f"p{next(_prefixes)}",
                "topic_partitions": 2,
                "topic_replication": 1,
                "kafka_session_seconds": 6.0,
                "kafka_rebalance_seconds": 20.0,
                **given,
            }
        )

    def certificate(self, user: str, authority: Authority | None = None, **more):
        """A certificate and key in that name."""
        return (authority or self.authority).sign(user, **more)

    async def allow(self, prefix: str, *, but: Rule | None = None) -> None:
        """The rights of docs/kafka.md, below that prefix, or all of them but one."""
        await self.kafka.allow(*(rule for rule in rules(prefix) if rule != but))


def rules(prefix: str):
    """The rights of docs/kafka.md for the pool below that prefix."""
    lanes = [routing.topic(prefix, POOL, lane) for lane in (Lane.HIGH, Lane.NORMAL, Lane.LOW)]
    retry = routing.topic(prefix, POOL, Lane.RETRY)
    for lane in lanes:
        yield Rule("producer", Operation.WRITE, Kind.TOPIC, lane)
        yield Rule("producer", Operation.DESCRIBE, Kind.TOPIC, lane)
    for topic in (*lanes, retry):
        yield Rule("worker", Operation.READ, Kind.TOPIC, topic)
        yield Rule("worker", Operation.DESCRIBE, Kind.TOPIC, topic)
    yield Rule("worker", Operation.WRITE, Kind.TOPIC, retry)
    yield Rule("worker", Operation.READ, Kind.GROUP, routing.group(prefix, POOL))
    for operation in (Operation.CREATE, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS):
        yield Rule("bootstrap", operation, Kind.TOPIC, f"{prefix}.", prefix=True)


def key_store(authority: Authority, file: Path) -> Path:
    """The broker's key and certificate, in one file as Kafka wants them."""
    files = authority.sign("broker")
    file.write_bytes(files.key.read_bytes() + files.cert.read_bytes())
    return file


def request(index: int, lane: Lane = Lane.NORMAL) -> Message:
    """A request of the pool."""
    body = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}
    url = "/v1/chat/completions"
    return Message(POOL, lane, Envelope(tenant="t", job="job", index=index, custom_id=str(index), url=url, body=body))


def source_of(settings: WorkerSettings):
    """A member of the pool, not started."""
    return open_source(settings, settings.source_options, pool=POOL, worker="one")


async def nothing() -> None:
    """What a source calls when partitions go away."""


class Line:
    """A publisher and a member of the pool: what goes in has to come out."""

    def __init__(self, publisher, source) -> None:
        self.publisher, self.source = publisher, source
        self._sent = 0

    async def carry(self, count: int = 1) -> None:
        """That many requests, one after the other, through the queue."""
        for _ in range(count):
            self._sent += 1
            async with asyncio.timeout(PATIENCE):
                await self.publisher.publish([request(self._sent)])
                seen: set[int] = set()
                while self._sent not in seen:
                    for one in await self.source.pull(dict.fromkeys(Lane, 10)):
                        seen.add(one.message.index)
                        await self.source.settle(one)


@asynccontextmanager
async def line(producer: WorkerSettings, worker: WorkerSettings):
    """A publisher and a member of the pool with these settings, started."""
    async with AsyncExitStack() as stack:
        publisher, source = KafkaPublisher(producer), source_of(worker)
        stack.push_async_callback(publisher.close)
        stack.push_async_callback(source.close)
        await publisher.start()
        await source.start(nothing)
        yield Line(publisher, source)
