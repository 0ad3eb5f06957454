"""The servers of a run, each its own process behind a proxy of ours, so that each can fail alone, and die."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from apache_kafka.cluster import Cluster
from backburner.local.programs.broker import find_tansu
from backburner.local.programs.child import Child, Program, clean_environment
from backburner.local.programs.emulator import Emulator
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.probe import speaks_kafka
from backburner.local.programs.store import BROKER_BUCKET, REGION, RESULTS_BUCKET, Store
from backburner_schemas.errors import QueueError
from chaos.objects import S3Address
from chaos.proxy import Proxy
from chaos.sandbox import sandbox
from chaos.server import ChildServer, KafkaServer, Server
from chaos.sqs_client import SqsAddress

PARTITION_COUNT = 8
"""Of each lane."""

_READY_SECONDS = 60.0
_STOP_SECONDS = 5.0
_ROOT = "chaos"
# The shortest visibility that there is, so that what a killed worker held comes back soon.
_SQS_SETTINGS = {"BACKBURNER_SQS_VISIBILITY_SECONDS": "10", "BACKBURNER_SQS_WAIT_SECONDS": "1"}

_OUTSIDE = ("AWS_", "BACKBURNER_KAFKA_", "BACKBURNER_SQS_", "BACKBURNER_TOPIC_")
"""Variables that lead to servers of others, or say what these can bear."""


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker of the queue, or all that there is of it."""

    link: Proxy
    """What all clients reach it through."""
    server: Server | None = None
    """None for one that cannot bear to end."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Queue and store of a run. What is None belongs to somebody else: it is not killed, and no proxy is before it."""

    settings: Mapping[str, str]
    """Variables for clients and workers; their addresses are the proxies'."""
    address: S3Address
    """Where the checker finds the objects, by the direct way."""
    sqs: SqsAddress | None = None
    """Where the checker finds the queues, by the direct way; None on Kafka."""
    brokers: Sequence[Broker] = ()
    store: Server | None = None
    store_link: Proxy | None = None
    model: str = "fake"
    """What the fake engine is to serve: on servers of others a name of the run's own, and so a pool of its own."""
    keeps_marks: bool = False
    """Whether the broker keeps commit metadata, so that what is redone has a bound."""

    @property
    def patience(self) -> float:
        """Seconds after which the queue redelivers a silent worker's requests to others."""
        name = "SQS_VISIBILITY" if self.sqs is not None else "KAFKA_SESSION"
        return float(self.settings[f"BACKBURNER_{name}_SECONDS"])

    @property
    def bootstrap(self) -> str:
        """Kafka's bootstrap servers."""
        return urlsplit(self.settings["BACKBURNER_QUEUE_URL"]).netloc


@contextlib.contextmanager
def tansu(folder: Path) -> Iterator[Servers]:
    """Tansu, durable on SeaweedFS, which it reaches directly; both behind a proxy for everybody else."""
    with _store(folder) as (store, store_link, leases, stack):
        port, front = leases.take(), leases.take()
        program = Program(
            name="the broker",
            argv=(
                find_tansu(),
                "broker",
                f"--listener-url=tcp://{LOOPBACK}:{port}",
                # Clients follow the advertised address, so it has to be the proxy's.
                f"--advertised-listener-url=tcp://{LOOPBACK}:{front}",
                f"--storage-engine=s3://{BROKER_BUCKET}/",
            ),
            env=clean_environment(**store.environment, AWS_ENDPOINT=store.endpoint, AWS_ALLOW_HTTP="true"),
            log=folder / "logs" / "broker.log",
            error=QueueError,
        )
        server = _started(stack, program, lambda: speaks_kafka(port))
        broker = Broker(stack.enter_context(Proxy(front, port)), server)
        settings = {
            **_kafka_settings(front, session=3),
            # Of two members that leave at once, this broker keeps a ghost.
            "BACKBURNER_KAFKA_LEAVE_GROUP": "false",
            "BACKBURNER_KAFKA_IDEMPOTENCE": "false",
        }
        yield _servers(store, store_link, settings, brokers=[broker])


@contextlib.contextmanager
def apache(folder: Path, *, brokers: int) -> Iterator[Servers]:
    """Apache Kafka, each broker behind a proxy for all clients; with three of them, one at a time may be missing."""
    with _store(folder) as (store, store_link, leases, stack):
        fronts = {number: leases.take() for number in range(1, brokers + 1)}
        cluster = Cluster(folder / "kafka", leases, brokers=brokers, fronts=fronts)
        stack.callback(cluster.kill)
        cluster.start()
        found = [
            Broker(stack.enter_context(Proxy(fronts[number], cluster.ports[number])), KafkaServer(node))
            for number, node in cluster.nodes.items()
        ]
        settings = {
            **_kafka_settings(*fronts.values(), session=6),
            "BACKBURNER_TOPIC_REPLICATION": str(min(brokers, 3)),
        }
        yield _servers(store, store_link, settings, brokers=found, keeps_marks=True)


@contextlib.contextmanager
def emulator(folder: Path) -> Iterator[Servers]:
    """The SQS emulator behind a proxy. It forgets everything at a SIGKILL, so it is not killed."""
    with _store(folder) as (store, store_link, leases, stack):
        queue = Emulator(folder, leases)
        queue.start()
        stack.callback(queue.stop)
        link = stack.enter_context(Proxy(leases.take(), queue.port))
        settings = {
            "BACKBURNER_QUEUE_URL": f"sqs://{REGION}?endpoint=http://{LOOPBACK}:{link.port}",
            **_SQS_SETTINGS,
        }
        address = SqsAddress(REGION, queue.endpoint, store.access_key, store.secret_key)
        yield _servers(store, store_link, settings, sqs=address, brokers=[Broker(link)])


@contextlib.contextmanager
def outside(_folder: Path, *, queue_url: str, store_url: str, endpoint: str | None) -> Iterator[Servers]:
    """Servers that run somewhere; what leads to them comes from the environment, credentials by their own variables.

    The run has names of its own there, and all that it made is deleted at the end.
    """
    store, region = urlsplit(store_url), os.environ.get("AWS_REGION")
    sqs = SqsAddress.parse(queue_url) if queue_url.startswith("sqs:") else None
    with sandbox(urlsplit(queue_url).netloc, sqs, S3Address(store.netloc, store.path, endpoint, region)) as name:
        settings = {
            "BACKBURNER_QUEUE_URL": queue_url,
            "BACKBURNER_PREFIX": name,
            "BACKBURNER_STORE_URL": f"{store_url.rstrip('/')}/{name}",
            **({"BACKBURNER_STORE_ENDPOINT": endpoint} if endpoint else {}),
            "BACKBURNER_KAFKA_SESSION_SECONDS": "6",
            **_SQS_SETTINGS,
            **{variable: value for variable, value in os.environ.items() if variable.startswith(_OUTSIDE)},
        }
        address = S3Address(store.netloc, f"{store.path.rstrip('/')}/{name}", endpoint, region)
        yield Servers(settings, address, sqs, model=name)


@contextlib.contextmanager
def _store(folder: Path) -> Iterator[tuple[Store, Proxy, PortLeases, contextlib.ExitStack]]:
    with contextlib.ExitStack() as stack:
        leases = stack.enter_context(PortLeases())
        store = Store(folder, leases)
        store.start()
        stack.callback(store.stop)
        port = urlsplit(store.endpoint).port
        assert port is not None
        link = stack.enter_context(Proxy(leases.take(), port))
        yield store, link, leases, stack


def _started(stack: contextlib.ExitStack, program: Program, ready: Callable[[], bool]) -> ChildServer:
    child = Child(program)

    def start() -> None:
        child.start()
        child.wait_until(ready, seconds=_READY_SECONDS)

    stack.callback(child.stop, grace=_STOP_SECONDS)
    start()
    return ChildServer(child, start)


def _kafka_settings(*ports: int, session: int) -> dict[str, str]:
    return {
        "BACKBURNER_QUEUE_URL": "kafka://" + ",".join(f"{LOOPBACK}:{port}" for port in ports),
        "BACKBURNER_KAFKA_SESSION_SECONDS": str(session),
        "BACKBURNER_TOPIC_PARTITIONS": str(PARTITION_COUNT),
        "BACKBURNER_TOPIC_REPLICATION": "1",
    }


def _servers(
    store: Store,
    link: Proxy,
    settings: Mapping[str, str],
    *,
    sqs: SqsAddress | None = None,
    brokers: Sequence[Broker] = (),
    keeps_marks: bool = False,
) -> Servers:
    found = {
        "BACKBURNER_STORE_URL": f"s3://{RESULTS_BUCKET}/{_ROOT}",
        "BACKBURNER_STORE_ENDPOINT": f"http://{LOOPBACK}:{link.port}",
        **store.environment,
        **settings,
    }
    address = S3Address(RESULTS_BUCKET, _ROOT, store.endpoint, REGION, store.access_key, store.secret_key)
    return Servers(
        found,
        address,
        sqs,
        brokers=brokers,
        store=ChildServer(store.child, store.start),
        store_link=link,
        keeps_marks=keeps_marks,
    )
