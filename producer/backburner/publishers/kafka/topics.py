"""The Kafka topics of a pool: created here, and only here; publishing never creates one.

This decides by what the controller has, and returns when every broker knows it: what brokers show of a topic lags
behind both its creation and its deletion.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code

from backburner.logs import get_logger
from backburner.publishers.kafka.connection import kafka_connection
from backburner.publishers.kafka.metadata import Leaders, brokers_of, topics_at
from backburner.settings import Settings
from backburner_schemas import routing
from backburner_schemas.errors import QueueDenied, QueueError
from backburner_schemas.names import Lane

log = get_logger(__name__)

_STEP_SECONDS = 60.0
"""Bounds one step: four topics of 64 partitions take a broker a few seconds."""
_AGREE_SECONDS = 30.0
"""How long the brokers' metadata may take to follow the controller's."""
_POLL_SECONDS = 0.1
_HEADROOM_BYTES = 64 * 1024
"""Bytes that an envelope, its headers and the batch around it may take beyond the body."""
_OK_CODE = 0
_DENIED_CODE = 29
_EXISTS_CODE = 36
_CONFIG_CODES = frozenset({40, 44})
"""Invalid configuration, and against the cluster's policy: some services know fewer settings than Kafka."""


async def ensure_topics(settings: Settings, pool: str) -> list[str]:
    """Create the topics of the pool's lanes that do not exist yet. Returns the names of all of them.

    Returns when every broker knows a leader of each partition, so that they can be used at once. Topics that exist
    are left as they are, with a line in the log. Raises `QueueError`.
    """
    names = list(routing.topics(settings.prefix, pool))
    connection = kafka_connection(settings)
    await connection.check()
    admin = connection.following(AIOKafkaAdminClient(**connection, client_id="backburner", request_timeout_ms=30_000))
    client: AIOKafkaClient = admin._client  # noqa: SLF001 - the public ways ask one broker, whichever
    try:
        async with asyncio.timeout(_STEP_SECONDS):
            await admin.start()
        missing = await _missing(admin, client, settings, names)
        if missing:
            async with asyncio.timeout(_STEP_SECONDS):
                await _make(admin, settings, missing)
            log.info("topics created", pool=pool, topics=missing)
        await _until_nothing(lambda: _not_ready(client, names))
    except (KafkaError, OSError, TimeoutError) as error:
        raise await connection.failure(error) from error
    finally:
        await admin.close()
    return names


async def _missing(
    admin: AIOKafkaAdminClient, client: AIOKafkaClient, settings: Settings, names: Sequence[str]
) -> list[str]:
    """Those that the controller does not have, once no broker shows them any more.

    A topic that was deleted and created again at once would look ready on a broker that still shows the old one.
    """
    shown: dict[str, Leaders] = {}

    async def ghosts() -> str:
        shown.clear()
        for topics in (await _views(client, names)).values():
            shown.update(topics or {})
        deleted = await _deleted(admin, settings, [name for name in names if name in shown])
        return f"{', '.join(deleted)} (deleted, and brokers still show it)" if deleted else ""

    await _until_nothing(ghosts)
    for name, partitions in shown.items():
        log.info("topic exists; leaving it as it is", topic=name, partitions=len(partitions))
    return [name for name in names if name not in shown]


async def _deleted(admin: AIOKafkaAdminClient, settings: Settings, names: Sequence[str]) -> list[str]:
    """Those that the controller would create, though a broker shows them.

    One that it does not report counts as there: this user may not create topics, and need not.
    """
    if not names:
        return []
    answer = await admin.create_topics([_new(name, settings) for name in names], validate_only=True)
    return [found["topic"] for found in answer.to_object()["topic_errors"] if found["error_code"] == _OK_CODE]


async def _make(admin: AIOKafkaAdminClient, settings: Settings, names: Sequence[str]) -> None:
    await _check_replication(admin, settings)
    answers = await _create(admin, [_new(name, settings) for name in names])
    refused = [name for name, found in answers.items() if found["error_code"] in _CONFIG_CODES and _is_stamped(name)]
    if refused:
        log.warning("the broker does not stamp records by its own clock; creating the topic without", topics=refused)
        answers |= await _create(admin, [_new(name, settings, stamped=False) for name in refused])
    for _, found in sorted(answers.items()):
        code = found["error_code"]
        if code == _EXISTS_CODE:  # Another process created it meanwhile.
            log.info("topic exists; leaving it as it is", topic=found["topic"])
        elif code == _DENIED_CODE:
            raise QueueDenied(
                f"this user lacks rights: Create on {found['topic']}; grant them as docs/kafka.md shows, or have "
                "somebody create the topics who has them"
            )
        elif code != _OK_CODE:
            why = found.get("error_message") or for_code(code).__name__
            raise QueueError(
                f"the broker did not create the topic {found['topic']}: {why}; check BACKBURNER_TOPIC_PARTITIONS, "
                "BACKBURNER_TOPIC_REPLICATION and that this user may create topics"
            )


async def _create(admin: AIOKafkaAdminClient, topics: Sequence[NewTopic]) -> dict[str, dict[str, Any]]:
    """What the controller answers for each of them, by name."""
    answer = await admin.create_topics(list(topics))
    return {found["topic"]: found for found in answer.to_object()["topic_errors"]}


async def _not_ready(client: AIOKafkaClient, names: Sequence[str]) -> str:
    """Which broker does not know which topic, or no leader of which partitions; empty where all is there."""
    found = []
    for broker, topics in (await _views(client, names)).items():
        if topics is None:
            found.append(f"broker {broker} does not answer")
            continue
        for name in names:
            leaderless = [number for number, leader in topics.get(name, {}).items() if leader < 0]
            if not topics.get(name):
                found.append(f"{name} is unknown to broker {broker}")
            elif leaderless:
                found.append(f"{name} has no leader for the partitions {leaderless} on broker {broker}")
    return "; ".join(found)


async def _views(client: AIOKafkaClient, names: Sequence[str]) -> dict[int, dict[str, Leaders] | None]:
    """What each broker knows of these topics; None where it does not answer."""

    async def view(broker: int) -> dict[str, Leaders] | None:
        try:
            return await topics_at(client, broker, names)
        except (KafkaError, TimeoutError):
            return None

    brokers = brokers_of(client)
    return dict(zip(brokers, await asyncio.gather(*map(view, brokers)), strict=True))


async def _until_nothing(wrong: Callable[[], Awaitable[str]]) -> None:
    """Check until nothing is wrong. After the bound it raises a `QueueError` with what is."""
    until = time.monotonic() + _AGREE_SECONDS
    while problems := await wrong():
        if time.monotonic() >= until:
            raise QueueError(
                f"the brokers do not agree on the pool's topics after {_AGREE_SECONDS:.0f} s: {problems}; check these "
                "brokers, then run the same again"
            )
        await asyncio.sleep(_POLL_SECONDS)


async def _check_replication(admin: AIOKafkaAdminClient, settings: Settings) -> None:
    """Some brokers take any replication factor and keep one replica: that would be a promise broken in silence."""
    brokers, replicas = len((await admin.describe_cluster())["brokers"]), settings.topic_layout.replication
    if brokers < replicas:
        raise QueueError(
            f"{replicas} replicas of each topic were asked for and the cluster has {brokers} "
            f"broker(s); set BACKBURNER_TOPIC_REPLICATION={brokers}, or add brokers"
        )


def _new(name: str, settings: Settings, *, stamped: bool = True) -> NewTopic:
    """The topic to create; where its lane wants that, and unless not `stamped`, the broker's clock stamps records."""
    layout = settings.topic_layout
    configs = {
        "cleanup.policy": "delete",
        "retention.ms": str(int(layout.retention_seconds * 1000)),
        "max.message.bytes": str(settings.max_body_bytes + _HEADROOM_BYTES),
    }
    if stamped and _is_stamped(name):
        configs["message.timestamp.type"] = "LogAppendTime"
    return NewTopic(name, layout.partitions, layout.replication, topic_configs=configs)


def _is_stamped(name: str) -> bool:
    """Whether it is of the lane `retry`, where a worker with a wrong clock would have others wait too long."""
    return name.endswith(f".{Lane.RETRY}")
