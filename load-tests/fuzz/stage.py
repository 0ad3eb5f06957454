"""What a run of the fuzzer needs around it: servers, the pool, one worker process."""

import contextlib
import os
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from apache_kafka import broker as apache_broker
from backburner import Client
from backburner.local.programs import broker, emulator, store
from backburner.local.programs.child import Child, Program, clean_environment
from backburner.publishers import ensure_topics
from backburner.settings import Settings
from backburner.settings.queue_url import QueueKind
from fuzz.parts import TENANTS

PREFIX, POOL, ROOT = "backburner", "fake", "fuzz"
PARTITION_COUNT = 8


class Queue(StrEnum):
    """What the messages lie on."""

    TANSU = "kafka"
    APACHE = "apache"
    SQS = "sqs"


_RETENTION_SECONDS = 100 * 365 * 86_400.0


async def make_pool() -> None:
    """Its topics or queues, and its description in the store."""
    settings = Settings.load()
    if settings.queue.kind is QueueKind.KAFKA:
        # What is sent has the same times in each run, and a broker would soon delete what seems to be months old.
        settings = Settings.load(topic_retention_seconds=_RETENTION_SECONDS)
    async with Client(settings) as client:
        await client.register_pool("fake")
        await ensure_topics(settings, POOL)


def start_worker(settings: dict[str, str], log: Path) -> Child:
    """One worker with the fake engine."""
    env = clean_environment(
        **settings,
        BACKBURNER_ENGINE="fake",
        BACKBURNER_MODEL="fake",
        BACKBURNER_ALLOWED_TENANTS=",".join(TENANTS),
        BACKBURNER_SEGMENT_MAX_AGE_SECONDS="2",
        BACKBURNER_SEGMENT_MIN_AGE_SECONDS="0.5",
        BACKBURNER_HTTP_HOST="127.0.0.1",
        BACKBURNER_RETRY_BASE_SECONDS="0.2",
        BACKBURNER_RETRY_MAX_SECONDS="1",
    )
    child = Child(Program(name="worker", argv=(sys.executable, "-m", "backburner_worker"), env=env, log=log))
    child.start()
    return child


@contextlib.contextmanager
def servers(folder: Path, queue: Queue) -> Iterator[dict[str, str]]:
    """Store and queue; the settings that reach them are in this process's environment too."""
    before = dict(os.environ)
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(store.start(folder / "store"))
        if queue is Queue.SQS:
            url = stack.enter_context(emulator.start(folder / "sqs")).url
        elif queue is Queue.APACHE:
            url = f"kafka://{stack.enter_context(apache_broker.start(folder / 'broker')).bootstrap}"
        else:
            url = stack.enter_context(broker.start(folder / "broker", storage=None)).url
        settings = {
            "BACKBURNER_QUEUE_URL": url,
            "BACKBURNER_STORE_URL": f"s3://{store.RESULTS_BUCKET}/{ROOT}",
            "BACKBURNER_STORE_ENDPOINT": running.endpoint,
            "BACKBURNER_KAFKA_IDEMPOTENCE": "false",
            "BACKBURNER_KAFKA_SESSION_SECONDS": "6",
            "BACKBURNER_KAFKA_LEAVE_GROUP": str(queue is not Queue.TANSU),
            "BACKBURNER_TOPIC_PARTITIONS": str(PARTITION_COUNT),
            "BACKBURNER_TOPIC_REPLICATION": "1",
            "BACKBURNER_HTTP_PORT": "0",
            "BACKBURNER_LOG_LEVEL": "error",
            **running.environment,
        }
        os.environ.update(settings)
        try:
            yield settings
        finally:
            os.environ.clear()
            os.environ.update(before)
