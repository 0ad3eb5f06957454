"""The servers of a run, each its own process behind a proxy of ours, so that each can fail alone, and die."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from backburner.local.programs.broker import find_tansu
from backburner.local.programs.child import Child, Program, clean_environment
from backburner.local.programs.emulator import Emulator
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.probe import speaks_kafka
from backburner.local.programs.store import BROKER_BUCKET, REGION, RESULTS_BUCKET, Store
from backburner_schemas.errors import QueueError
from chaos.objects import S3Address
from chaos.patience import until
from chaos.proxy import Proxy
from chaos.sqs_client import SqsAddress
from measuring.noida import noida_program

PARTITION_COUNT = 8
"""Of each lane."""

_READY_SECONDS = 60.0
_STOP_SECONDS = 5.0
_ROOT = "chaos"
# The shortest visibility that there is, so that what a killed worker held comes back soon.
_SQS_SETTINGS = {"BACKBURNER_SQS_VISIBILITY_SECONDS": "10", "BACKBURNER_SQS_WAIT_SECONDS": "1"}


class Server:
    """A broker or a store that can be killed and started again where it was."""

    def __init__(self, child: Child, start: Callable[[], None]) -> None:
        self._child = child
        self._start = start

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._child.running

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        assert self._child.pid is not None
        os.kill(self._child.pid, signal.SIGKILL)
        await until(lambda: not self._child.running, "the end of a killed server", seconds=_READY_SECONDS)

    def start(self) -> None:
        """Start it, and wait until it answers. From the main thread alone; the proxies run meanwhile."""
        self._start()


@dataclass(frozen=True, slots=True)
class Servers:
    """Queue and store of a run. What is None belongs to somebody else: it is not killed, and no proxy is before it."""

    settings: Mapping[str, str]
    """Variables for clients and workers; their addresses are the proxies'."""
    address: S3Address
    """Where the checker finds the objects, by the direct way."""
    sqs: SqsAddress | None = None
    """Where the checker finds the queues, by the direct way; None on Kafka."""
    broker: Server | None = None
    store: Server | None = None
    broker_link: Proxy | None = None
    store_link: Proxy | None = None

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
        broker = _started(stack, program, lambda: speaks_kafka(port))
        broker_link = stack.enter_context(Proxy(front, port))
        settings = {
            **_kafka_settings(front, session=3),
            # Of two members that leave at once, this broker keeps a ghost.
            "BACKBURNER_KAFKA_LEAVE_GROUP": "false",
            "BACKBURNER_KAFKA_IDEMPOTENCE": "false",
        }
        yield _servers(store, store_link, settings, broker=broker, broker_link=broker_link)


@contextlib.contextmanager
def noida(folder: Path) -> Iterator[Servers]:
    """noida-db, which keeps commit metadata and static members; it advertises its own port, so no proxy before it."""
    with _store(folder) as (store, store_link, leases, stack):
        port = leases.take()
        _started(stack, noida_program(folder, port), lambda: speaks_kafka(port))
        yield _servers(store, store_link, _kafka_settings(port, session=6))


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
        yield _servers(store, store_link, settings, sqs=address, broker_link=link)


@contextlib.contextmanager
def outside(_folder: Path, *, queue_url: str, store_url: str, endpoint: str | None) -> Iterator[Servers]:
    """Servers that run somewhere; credentials come from the environment, by the providers' own variables."""
    store = urlsplit(store_url)
    settings = {
        "BACKBURNER_QUEUE_URL": queue_url,
        "BACKBURNER_STORE_URL": store_url,
        **({"BACKBURNER_STORE_ENDPOINT": endpoint} if endpoint else {}),
        **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
        "BACKBURNER_KAFKA_SESSION_SECONDS": "6",
        **_SQS_SETTINGS,
    }
    address = S3Address(store.netloc, store.path, endpoint, os.environ.get("AWS_REGION"))
    yield Servers(settings, address, SqsAddress.parse(queue_url) if queue_url.startswith("sqs:") else None)


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


def _started(stack: contextlib.ExitStack, program: Program, ready: Callable[[], bool]) -> Server:
    child = Child(program)

    def start() -> None:
        child.start()
        child.wait_until(ready, seconds=_READY_SECONDS)

    stack.callback(child.stop, grace=_STOP_SECONDS)
    start()
    return Server(child, start)


def _kafka_settings(port: int, *, session: int) -> dict[str, str]:
    return {
        "BACKBURNER_QUEUE_URL": f"kafka://{LOOPBACK}:{port}",
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
    broker: Server | None = None,
    broker_link: Proxy | None = None,
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
        broker=broker,
        store=Server(store.child, store.start),
        broker_link=broker_link,
        store_link=link,
    )
