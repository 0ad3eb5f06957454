"""What a user may do on topics and with a group, asked of the broker itself, which tells everybody of their own rights.

Without it a right that is missing shows when it is needed first: on the lane `retry`, hours after the start.
"""

from collections.abc import Collection, Mapping
from enum import IntEnum

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import GroupAuthorizationFailedError, IncompatibleBrokerVersion, KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

_NOT_TOLD_CODE = -(2**31)
_OK_CODE = 0


class Right(IntEnum):
    """An operation of Kafka's access control; its value is the bit in what a broker answers."""

    READ = 3
    WRITE = 4


async def missing_rights(
    client: AIOKafkaClient, topics: Mapping[str, Collection[Right]], group: str | None = None
) -> list[str]:
    """Rights that this client's user lacks of those on the topics, and to read with the group, one text each.

    None where the broker is too old to tell, or tells nothing. Raises what aiokafka raises, and `TimeoutError`, where
    no broker answers.
    """
    try:
        lacking = await _on_topics(client, topics)
        return lacking if group is None else lacking + await _on_group(client, group)
    except (IncompatibleBrokerVersion, NotImplementedError):
        return []


async def _on_topics(client: AIOKafkaClient, topics: Mapping[str, Collection[Right]]) -> list[str]:
    answer = await client.send(client.get_random_node(), _TopicRights(list(topics)))
    lacking = []
    for found in answer.to_object()["topics"]:
        allowed = found["authorized_operations"]
        if found["error_code"] == _OK_CODE and allowed != _NOT_TOLD_CODE:
            wanted = sorted(topics[found["topic"]])
            lacking += [f"{one.name.title()} on {found['topic']}" for one in wanted if not allowed & 1 << one]
    return sorted(lacking)


async def _on_group(client: AIOKafkaClient, group: str) -> list[str]:
    lacking = [f"Read on the group {group}"]
    try:
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
        request = DescribeGroupsRequest([group], include_authorized_operations=True)
        answer = await client.send(coordinator, request, group=ConnectionGroup.COORDINATION)
    except GroupAuthorizationFailedError:
        return lacking
    except KafkaError:
        # A cluster that has had no group yet makes the topic for them first; joining waits for it, and tells then.
        return []
    found = answer.to_object()["groups"][0]
    allowed = found.get("authorized_operations", _NOT_TOLD_CODE)
    told = found["error_code"] == _OK_CODE and allowed != _NOT_TOLD_CODE
    return lacking if told and not allowed & 1 << Right.READ else []


class _TopicRightsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    """Metadata of topics, with what the caller may do on each: aiokafka's own stop at version 5."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8")))),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _TopicRightsStruct(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _TopicRightsResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _TopicRights(Request[_TopicRightsStruct]):  # type: ignore[misc]  # aiokafka has no types
    """Asks for the topics with rights. Creates none."""

    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, struct: type[_TopicRightsStruct]) -> _TopicRightsStruct:
        """The request as it goes out."""
        return struct(self._topics, False, False, True)  # noqa: FBT003 - fields by their place
