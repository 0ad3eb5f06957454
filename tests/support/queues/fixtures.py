"""Queues for tests, as fixtures: servers, harnesses on them, and settings. A conftest imports what its folder uses.

`BACKBURNER_TEST_QUEUE_URL` names a queue that runs already: then the tests of harnesses judge this one alone, under the
id `outside`. What needs a server of its own, such as one to stop, starts it then too. docs/certify.md tells users how.
"""

import contextlib
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

import pytest

from apache_kafka import broker as apache_broker
from apache_kafka import cluster as apache_cluster
from apache_kafka.cluster import Cluster
from apache_kafka.release import KafkaMissing
from backburner.local.programs import broker as tansu_broker
from backburner.local.programs import emulator as sqs_emulator
from backburner_schemas.errors import SettingsError
from backburner_schemas.request import DEFAULT_MAX_BODY_BYTES
from backburner_worker.settings import WorkerSettings
from queues import judges
from queues.fake import FakeHarness
from queues.harness import QueueHarness
from queues.kafka import PARTITIONS, KafkaHarness
from queues.sqs import SqsHarness

OUTSIDE_QUEUE = os.environ.get("BACKBURNER_TEST_QUEUE_URL", "")
LACKS = os.environ.get("BACKBURNER_TEST_QUEUE_LACKS", "")
OUTSIDE_SETTINGS = [name for name in os.environ if name.startswith(("BACKBURNER_KAFKA_", "BACKBURNER_TOPIC_"))]
"""How the outside queue is spoken to. Servers of the tests' own are not spoken to so."""
KINDS = (judges.OUTSIDE,) if OUTSIDE_QUEUE else ("kafka-tansu", "kafka-apache", "sqs", "fake")
KAFKA_KINDS = [kind for kind in KINDS if kind.startswith("kafka") or OUTSIDE_QUEUE.startswith("kafka:")]
WHOLE_KAFKA_KINDS = [kind for kind in KAFKA_KINDS if kind != "kafka-tansu"]
"""Those that lack nothing of what Kafka does: Apache Kafka itself, or the outside broker that is judged."""
_DELETED = (judges.OUTSIDE, "kafka-apache")
"""Queues that others use as well: what a test made there goes with it."""
_BROKERS = 3
"""Of the cluster."""

T = TypeVar("T")

_numbers = itertools.count()
_SESSION = {"kafka-tansu": 2.0, "kafka-apache": 6.0, "kafka-cluster": 6.0, judges.OUTSIDE: 6.0}
"""Seconds: Tansu stands still for half of it at each rebalance; Kafka allows no less than 6."""


# --- servers ---


@pytest.fixture(scope="session")
def tansu(tmp_path_factory, missing_server) -> Iterator[str]:
    """Tansu in memory, for the whole session: its address."""
    try:
        tansu_broker.find_tansu()
    except SettingsError as error:
        missing_server(str(error))
    with tansu_broker.start(tmp_path_factory.mktemp("tansu"), storage=None) as running:
        yield running.bootstrap


@pytest.fixture(scope="session")
def apache_kafka(missing_server) -> Callable[[AbstractContextManager[T]], AbstractContextManager[T]]:
    """Wraps what starts Apache Kafka: where that is not on this machine, the test is skipped, and fails in CI."""

    @contextlib.contextmanager
    def there(starting: AbstractContextManager[T]) -> Iterator[T]:
        with contextlib.ExitStack() as stack:
            try:
                running = stack.enter_context(starting)
            except KafkaMissing as error:
                missing_server(str(error))
            yield running

    return there


@pytest.fixture(scope="session")
def apache(tmp_path_factory, apache_kafka) -> Iterator[str]:
    """Apache Kafka, for the whole session: its address. No test stops it."""
    with apache_kafka(apache_broker.start(tmp_path_factory.mktemp("apache"))) as running:
        yield running.bootstrap


@pytest.fixture(scope="module")
def file_apache(tmp_path_factory, apache_kafka) -> Iterator[apache_broker.ApacheKafka]:
    """An Apache Kafka of the test file's own, as the test before left it: ask for `spare_apache`."""
    with apache_kafka(apache_broker.start(tmp_path_factory.mktemp("spare"))) as running:
        yield running


@pytest.fixture
def spare_apache(file_apache: apache_broker.ApacheKafka) -> apache_broker.ApacheKafka:
    """An Apache Kafka of the test file's own, running, which a test may stop, kill and pause."""
    file_apache.start()
    return file_apache


@pytest.fixture(scope="session")
def session_cluster(tmp_path_factory, apache_kafka) -> Iterator[Cluster]:
    """Three brokers for the whole session, as the test before left them: ask for `cluster`."""
    with apache_kafka(apache_cluster.start(tmp_path_factory.mktemp("cluster"), brokers=_BROKERS)) as running:
        yield running


@pytest.fixture
def cluster(session_cluster: Cluster) -> Cluster:
    """Three brokers of Apache Kafka, all running, which a test may stop, kill and pause."""
    session_cluster.start()
    return session_cluster


@pytest.fixture(scope="session")
def emulator(tmp_path_factory, missing_server) -> Iterator[str]:
    """The SQS emulator, for the whole session: its URL. It takes any credentials; these are in the environment."""
    try:
        sqs_emulator.check_emulator()
    except SettingsError as error:
        missing_server(str(error))
    with pytest.MonkeyPatch.context() as patch, sqs_emulator.start(tmp_path_factory.mktemp("sqs")) as running:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, os.environ.get(name, "test"))
        yield running.url


# --- settings and harnesses ---


def _settings(queue_url: str, kind: str, **more: object) -> WorkerSettings:
    """Settings with a prefix of their own, so that tests do not meet."""
    own: dict[str, object] = {
        "prefix": f"p{next(_numbers)}",
        "topic_replication": _BROKERS if kind == "kafka-cluster" else 1,
        "kafka_idempotence": kind != "kafka-tansu",
    }
    if kind == judges.OUTSIDE:
        # Replication, security and idempotence are the user's own, from the environment.
        own = {"prefix": f"certify-{secrets.token_hex(4)}"}
    with pytest.MonkeyPatch.context() as patch:
        for name in OUTSIDE_SETTINGS if kind != judges.OUTSIDE else ():
            patch.delenv(name)
        settings = WorkerSettings.load(
            queue_url=queue_url,
            store_url="memory:///test",
            engine="fake",
            model="fake",
            topic_partitions=PARTITIONS,
            kafka_session_seconds=_SESSION.get(kind),
            kafka_rebalance_seconds=20.0,
            # Members that say goodbye to Tansu together can leave its group standing still for ever.
            kafka_leave_group=kind != "kafka-tansu",
            sqs_wait_seconds=1,
            **{"max_body_bytes": 1024 * 1024, **own, **more},
        )
    # Shorter than a user may set it.
    return settings.model_copy(update={"sqs_visibility_seconds": 10 if kind == judges.OUTSIDE else 3})


@pytest.fixture
def settings_for() -> Callable[..., WorkerSettings]:
    """Settings for the Kafka broker at an address."""

    def make(address: str, **more: object) -> WorkerSettings:
        return _settings(f"kafka://{address}", "kafka-apache", **more)

    return make


@pytest.fixture
async def make_harness(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Awaitable[QueueHarness]]]:
    """Makes a harness on a kind of queue; members are closed and what an outside server holds is deleted afterwards."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(kind: str, address: str | None = None, **more: object) -> QueueHarness:
            made: QueueHarness
            if kind == "fake":
                made = FakeHarness(kind, _settings("kafka://fake:1", kind, **more))
            elif kind.startswith("kafka"):
                address = address or request.getfixturevalue(kind.removeprefix("kafka-"))
                made = KafkaHarness(kind, _settings(f"kafka://{address}", kind, **more))
            elif kind == judges.OUTSIDE and OUTSIDE_QUEUE.startswith("kafka:"):
                made = KafkaHarness(kind, _settings(OUTSIDE_QUEUE, kind, **more))
            else:
                url = OUTSIDE_QUEUE if kind == judges.OUTSIDE else request.getfixturevalue("emulator")
                made = SqsHarness(kind, _settings(url, kind, **more))
            if isinstance(made, KafkaHarness):
                made.nameless = judges.gap("static membership", kind, "kafka", LACKS) is not None
            await made.prepare()
            if kind in _DELETED and address is None:
                stack.push_async_callback(made.delete)
            await stack.enter_async_context(made.members)
            return made

        yield make


def _skip_where_it_lacks(request: pytest.FixtureRequest, kind: str) -> None:
    for mark in request.node.iter_markers("needs"):
        for power in mark.args:
            if (gap := judges.gap(power, kind, OUTSIDE_QUEUE.partition(":")[0], LACKS)) is not None:
                pytest.skip(str(gap))


@pytest.fixture(params=KINDS)
async def harness(request: pytest.FixtureRequest, make_harness) -> QueueHarness:
    """A harness on each kind of queue in turn."""
    kind: str = request.param
    _skip_where_it_lacks(request, kind)
    made: QueueHarness = await make_harness(kind)
    return made


# --- for the tests of Kafka's own ---


@pytest.fixture
def kafka_pool(make_harness) -> Callable[..., Awaitable[KafkaHarness]]:
    """Makes a pool on that kind of Kafka broker, or on the one at an address."""

    async def make(kind: str, address: str | None = None, **more: object) -> KafkaHarness:
        made = await make_harness(kind, address, **{"max_body_bytes": DEFAULT_MAX_BODY_BYTES, **more})
        assert isinstance(made, KafkaHarness)
        return made

    return make


@pytest.fixture(params=KAFKA_KINDS)
async def pool(request: pytest.FixtureRequest, kafka_pool) -> KafkaHarness:
    """A pool on each Kafka broker in turn."""
    made: KafkaHarness = await kafka_pool(request.param)
    return made


@pytest.fixture(params=WHOLE_KAFKA_KINDS)
async def whole_pool(request: pytest.FixtureRequest, kafka_pool) -> KafkaHarness:
    """A pool on a broker that lacks nothing of what Kafka does, unless an outside one does."""
    _skip_where_it_lacks(request, request.param)
    made: KafkaHarness = await kafka_pool(request.param)
    return made


@pytest.fixture
async def spare_pool(spare_apache: apache_broker.ApacheKafka, kafka_pool) -> KafkaHarness:
    """A pool on the broker that a test may stop. Its topics stay, since at the test's end nobody may be there."""
    made: KafkaHarness = await kafka_pool("kafka-apache", spare_apache.bootstrap)
    return made


@pytest.fixture
async def cluster_pool(cluster: Cluster, kafka_pool) -> KafkaHarness:
    """A pool on three brokers, any of which a test may stop. Its topics stay."""
    made: KafkaHarness = await kafka_pool("kafka-cluster", cluster.bootstrap)
    return made


@pytest.fixture(params=["tansu", "apache"])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """The address of each broker in turn."""
    address: str = request.getfixturevalue(request.param)
    return address
