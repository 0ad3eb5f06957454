"""The Kafka topics of a pool: made here, and only here; publishing never makes one."""

import asyncio

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code

from backburner.logs import get_logger
from backburner.publishers.kafka_connect import kafka_connection, unreachable
from backburner.settings import Settings
from backburner_schemas import routing
from backburner_schemas.errors import QueueError

log = get_logger(__name__)

_SECONDS = 60.0
"""For the whole of it: four topics of 64 partitions take a broker a few seconds."""
_HEADROOM = 64 * 1024
"""Bytes that an envelope, its headers and the batch around it may take beyond the body."""
_OK = 0
_EXISTS = 36


async def ensure_topics(settings: Settings, pool: str) -> list[str]:
    """Make the topics of the pool's lanes that do not exist yet; the names of all of them.

    Topics that exist are left as they are, with a line in the log. Raises `QueueError`.
    """
    admin = AIOKafkaAdminClient(**kafka_connection(settings), client_id="backburner", request_timeout_ms=30_000)
    try:
        async with asyncio.timeout(_SECONDS):
            await admin.start()
            return await _ensure(admin, settings, pool)
    except (KafkaError, OSError, TimeoutError) as error:
        raise unreachable(settings, error) from error
    finally:
        await admin.close()


async def _ensure(admin: AIOKafkaAdminClient, settings: Settings, pool: str) -> list[str]:
    names = list(routing.topics(settings.prefix, pool))
    present = {found["topic"]: found for found in await admin.describe_topics()}
    for name in names:
        if name in present:
            log.info("the topic exists and is left as it is", topic=name, partitions=len(present[name]["partitions"]))
    missing = [name for name in names if name not in present]
    if not missing:
        return names
    await _check_replication(admin, settings)
    answer = await admin.create_topics([_new(name, settings) for name in missing])
    for found in answer.to_object()["topic_errors"]:
        code = found["error_code"]
        if code == _EXISTS:  # Another process made it between the look and the making.
            log.info("the topic exists and is left as it is", topic=found["topic"])
        elif code != _OK:
            why = found.get("error_message") or for_code(code).__name__
            raise QueueError(
                f"the broker did not make the topic {found['topic']}: {why}; check BACKBURNER_TOPIC_PARTITIONS, "
                "BACKBURNER_TOPIC_REPLICATION and that this user may create topics"
            )
    log.info("topics made", pool=pool, topics=missing)
    return names


async def _check_replication(admin: AIOKafkaAdminClient, settings: Settings) -> None:
    """Some brokers take any replication factor and keep one replica: that would be a promise broken in silence."""
    brokers = len((await admin.describe_cluster())["brokers"])
    if brokers < settings.topic_replication:
        raise QueueError(
            f"{settings.topic_replication} replicas of each topic were asked for and the cluster has {brokers} "
            f"broker(s); set BACKBURNER_TOPIC_REPLICATION={brokers}, or add brokers"
        )


def _new(name: str, settings: Settings) -> NewTopic:
    return NewTopic(
        name,
        settings.topic_partitions,
        settings.topic_replication,
        topic_configs={
            "cleanup.policy": "delete",
            "retention.ms": str(int(settings.topic_retention_seconds * 1000)),
            "max.message.bytes": str(settings.max_body_bytes + _HEADROOM),
        },
    )
