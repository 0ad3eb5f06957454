"""What a Kafka cluster is like where Backburner uses it, as facts. Nothing is judged here, and nothing changed.

But for one commit, in a group that nobody works in: whether a broker keeps what is committed beside an offset shows in
no setting that every service tells.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    OffsetMetadataTooLargeError,
    TopicAuthorizationFailedError,
)

from backburner.publishers.kafka.connection import KafkaConnection, kafka_connection
from backburner.publishers.kafka.metadata import brokers_of
from backburner.publishers.kafka.rights import Right, missing_rights
from backburner.settings import Settings

T = TypeVar("T")

METADATA_BYTES = 4096
"""What a worker may have to store beside an offset; Kafka's own default for the most."""
_CALL_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
_OK_CODE = 0


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as the cluster shows it."""

    partitions: int
    replicas: int
    """The fewest of any partition."""
    in_sync: int
    """The fewest of any partition that are in sync."""
    leaderless: int
    """Partitions without a leader."""
    settings: Mapping[str, str] | None
    """By Kafka's names, such as `retention.ms`; None where this user may not read them."""


@dataclass(frozen=True, slots=True)
class KafkaFacts:
    """What was seen of a cluster."""

    brokers: int
    topics: Mapping[str, TopicFacts]
    """Those that exist."""
    broker_settings: Mapping[str, str] | None
    """Of one broker, by Kafka's names; None where this user may not read them."""
    lacking: Sequence[str] = field(default=())
    """Rights that this user lacks, such as `Write on backburner.fake.high`."""


async def survey(settings: Settings, topics: Collection[str], groups: Collection[str]) -> KafkaFacts:
    """Look at the cluster, those topics, and what this user may do with them and the groups.

    Bounded by 10 seconds for each call. Raises `QueueError` where no broker answers or lets this user in.
    """
    connection = kafka_connection(settings)
    await connection.check()
    admin = connection.following(
        AIOKafkaAdminClient(**connection, client_id="backburner-doctor", request_timeout_ms=int(_CALL_SECONDS * 1000))
    )
    try:
        async with asyncio.timeout(_CALL_SECONDS):
            await admin.start()
        client = admin._client  # noqa: SLF001 - what asks for rights is not in the public part
        found = await _bounded(admin.list_topics())
        present = sorted(set(topics).intersection(found))
        described = await _bounded(admin.describe_topics(present)) if present else []
        configs = await _settings(admin, [ConfigResource(ConfigResourceType.TOPIC, name) for name in present])
        brokers = brokers_of(client)
        of_broker = await _settings(admin, [ConfigResource(ConfigResourceType.BROKER, str(brokers[0]))])
        lacking: list[str] = []
        if present:
            both = dict.fromkeys(present, (Right.READ, Right.WRITE))
            lacking += await _bounded(missing_rights(client, both))
            for group in groups:
                lacking += await _bounded(missing_rights(client, {}, group))
        return KafkaFacts(
            brokers=len(brokers),
            topics={one["topic"]: _facts(one, configs.get(one["topic"])) for one in described},
            broker_settings=next(iter(of_broker.values()), None),
            lacking=tuple(lacking),
        )
    except (KafkaError, OSError, TimeoutError) as error:
        raise await connection.failure(error) from error
    finally:
        with suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await admin.close()


class MetadataUnknown(Exception):
    """Whether metadata is kept could not be tried, for the reason that it says."""


async def keeps_metadata(settings: Settings, topic: str, group: str) -> bool:
    """Whether the broker stores 4,096 bytes beside an offset that the group commits. Nobody may work in that group.

    It is left to the broker to forget, which does so with the group's last commit. Raises `MetadataUnknown`.
    """
    connection = kafka_connection(settings)
    partition = TopicPartition(topic, 0)
    text = "." * METADATA_BYTES
    try:
        await _with_consumer(connection, group, partition, lambda one: one.commit({partition: (0, text)}))
        found: Mapping[Any, Any] = await _with_consumer(
            connection,
            group,
            partition,
            # The public way returns no metadata.
            lambda one: one._coordinator.fetch_committed_offsets([partition]),  # noqa: SLF001
        )
    except OffsetMetadataTooLargeError:
        return False
    except (GroupAuthorizationFailedError, TopicAuthorizationFailedError) as error:
        raise MetadataUnknown(f"this user may not commit in the group {group}") from error
    except (KafkaError, OSError, TimeoutError) as error:
        raise MetadataUnknown(str(error) or type(error).__name__) from error
    return partition in found and found[partition].metadata == text


async def _with_consumer(
    connection: KafkaConnection,
    group: str,
    partition: TopicPartition,
    call: Callable[[AIOKafkaConsumer], Awaitable[T]],
) -> T:
    """What the call returns of a consumer of its own, so that nothing is remembered from one to the next."""
    consumer = connection.following(
        AIOKafkaConsumer(**connection, group_id=group, client_id="backburner-doctor", enable_auto_commit=False)
    )
    try:
        async with asyncio.timeout(_CALL_SECONDS):
            await consumer.start()
            consumer.assign([partition])
            return await call(consumer)
    finally:
        with suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await consumer.stop()


def _facts(described: Mapping[str, Any], settings: Mapping[str, str] | None) -> TopicFacts:
    partitions = described["partitions"]
    return TopicFacts(
        partitions=len(partitions),
        replicas=min((len(one["replicas"]) for one in partitions), default=0),
        in_sync=min((len(one["isr"]) for one in partitions), default=0),
        leaderless=sum(one["leader"] < 0 for one in partitions),
        settings=settings,
    )


async def _settings(admin: AIOKafkaAdminClient, resources: Sequence[ConfigResource]) -> dict[str, dict[str, str]]:
    """The settings of those of which this user may read them, by name."""
    found: dict[str, dict[str, str]] = {}
    if not resources:
        return found
    try:
        answers = await _bounded(admin.describe_configs(list(resources)))
    except (KafkaError, TimeoutError):
        return found
    for answer in answers:
        for one in answer.to_object()["resources"]:
            if one["error_code"] == _OK_CODE:
                entries = one["config_entries"]
                found[one["resource_name"]] = {
                    entry["config_names"]: entry["config_value"] or "" for entry in entries if "config_names" in entry
                }
    return found


async def _bounded(call: Awaitable[T]) -> T:
    async with asyncio.timeout(_CALL_SECONDS):
        return await call
